package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/purser-pay/purser/modules/payment"
)

// Passed is what came of a call that was passed through to a PSP's own API. It
// holds nothing of what was said.
type Passed struct {
	Merchant        string
	Mode            payment.Mode
	Account, Method string
	Path            string // the PSP's, without its query
	Request         string // req_…
	Status          int    // as the caller saw it; 0 = it was told of Err
	Bytes           int64  // of the answer
	Took            time.Duration
	Err             error
}

// Passed writes down a call that was passed through: all of them in the audit, for
// what is done there is done in the account's name and in no payment's history.
func (a *App) Passed(p Passed) {
	class := "none"
	if p.Status > 0 {
		class = strconv.Itoa(p.Status/100) + "xx"
	}
	counters.passed.WithLabelValues(p.Account, passedMethod(p.Method), class).Inc()
	result := actDone
	if p.Err != nil || p.Status >= http.StatusInternalServerError {
		result = actFailed
	}
	attrs := []slog.Attr{
		slog.String("act", "proxy.call"), slog.String("object", p.Method+" "+payment.MaskPANs(scrub(p.Path))),
		slog.String("account", p.Account), slog.String("merchant", p.Merchant), slog.String("mode", string(p.Mode)),
		slog.String("request_id", p.Request), slog.Int("status", p.Status), slog.Int64("bytes", p.Bytes),
		slog.Duration("took", p.Took), slog.String("result", result),
	}
	if p.Err != nil {
		attrs = append(attrs, slog.String("error", payment.MaskPANs(scrub(p.Err.Error()))))
	}
	a.auditLog.LogAttrs(context.Background(), slog.LevelInfo, "audit", attrs...)
}

// passedMethod bounds the label.
func passedMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return method
	default:
		return "other"
	}
}
