package gateway

import (
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

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
	line := a.passedLog.Check(zapcore.InfoLevel, "audit")
	if line == nil {
		return // nobody keeps it
	}
	fields := make([]zap.Field, 0, 11)
	fields = append(fields,
		zap.String("act", "proxy.call"), zap.String("object", Scrub(p.Method+" "+p.Path)),
		zap.String("account", p.Account), zap.String("merchant", p.Merchant), zap.String("mode", string(p.Mode)),
		zap.String("request_id", p.Request), zap.Int("status", p.Status), zap.Int64("bytes", p.Bytes),
		zap.Duration("took", p.Took), zap.String("result", result),
	)
	if p.Err != nil {
		fields = append(fields, zap.String("error", Scrub(p.Err.Error())))
	}
	line.Write(fields...)
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
