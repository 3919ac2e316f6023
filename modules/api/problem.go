package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	json "github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

const (
	contentJSON    = "application/json"
	contentProblem = "application/problem+json"

	// ProblemBase is what the type of every problem begins with; the code
	// follows. It leads to the page that explains the code.
	ProblemBase = "https://github.com/purser-pay/purser/blob/main/docs/errors.md#"

	notFoundDetail = "There is no such object, or it is not yours, or not of this key's mode."
	internalDetail = "Something failed inside the gateway. Its log has the cause under this request's ID."
	storeDetail    = "The store cannot be reached. Repeat the call with the same Idempotency-Key."

	// retryAfter is what a caller is asked to wait where the failure does not
	// say it: long enough for a store to come back, short for a till.
	retryAfter = time.Second

	maxParam = 128 // bytes of a field's name in an answer
)

// problem is the body of RFC 9457, with our members after the standard's.
type problem struct {
	Type      string       `json:"type"`
	Title     string       `json:"title"`
	Status    int          `json:"status"`
	Detail    string       `json:"detail,omitzero"`
	Code      payment.Code `json:"code"`
	Param     string       `json:"param,omitzero"`
	Policy    string       `json:"policy,omitzero"`
	RequestID string       `json:"request_id"`
	Retryable bool         `json:"retryable"`
}

// problem turns any error into an answer, and logs what the operator must know.
func (a *API) problem(rq *request, err error) response {
	pe := classify(err)
	if pe.Code.Info().Status >= 500 && !errors.Is(err, context.Canceled) {
		a.cfg.Log.Error("request failed",
			slog.String("request_id", rq.reqID), slog.String("method", rq.http.Method),
			slog.String("route", rq.route), slog.String("merchant", rq.principal.Merchant),
			slog.String("code", string(pe.Code)), slog.String("error", payment.MaskPANs(causes(err))))
	}
	a.cfg.Guard.Report(rq.call, pe)
	return a.render(rq, pe)
}

// classify finds the error of the table that err stands for.
func classify(err error) *payment.Error {
	if pe, ok := errors.AsType[*payment.Error](err); ok {
		return pe
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return payment.Errorf(payment.CodeNotFound, notFoundDetail)
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrUncertain):
		return payment.Errorf(payment.CodeStoreUnavailable, storeDetail)
	case errors.Is(err, store.ErrCursor):
		return payment.Invalid("cursor", "The cursor is not one that this list gave.")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return payment.Errorf(payment.CodeStoreUnavailable, "The call was cut short. Repeat it with the same Idempotency-Key.")
	default:
		return payment.Errorf(payment.CodeInternal, internalDetail)
	}
}

// causes writes err with what a payment.Error keeps for the log alone.
func causes(err error) string {
	if pe, ok := errors.AsType[*payment.Error](err); ok && pe.Err != nil {
		return fmt.Sprintf("%v: %v", err, pe.Err)
	}
	return err.Error()
}

// render writes the body. A caller's own text in detail or param is made fit to
// show: it may be no UTF-8, or a card number in the place of a name.
func (a *API) render(rq *request, pe *payment.Error) response {
	info := pe.Code.Info()
	p := problem{
		Type: ProblemBase + string(info.Code), Title: info.Title, Status: info.Status, Detail: payment.MaskPANs(valid(pe.Detail)),
		Code: info.Code, Param: payment.MaskPANs(shorten(valid(pe.Param), maxParam)), Policy: pe.Policy, RequestID: rq.reqID, Retryable: info.Retryable,
	}
	if info.Code == payment.CodeNotFound && pe.Param == "" {
		p.Detail = notFoundDetail // the same for what is unknown and for what is another's
	}
	h := rq.w.Header()
	if wait := retryDelay(pe); wait > 0 {
		rq.retry = (wait + time.Second - 1).Truncate(time.Second)
		h.Set("Retry-After", strconv.FormatInt(int64(rq.retry/time.Second), 10))
	}
	if info.Status == 401 {
		h.Set("WWW-Authenticate", cmp.Or(pe.Challenge, `Bearer realm="purser"`))
	}
	body, err := json.Marshal(&p)
	if err != nil { // a policy's name, perhaps
		a.cfg.Log.Error("problem cannot be written", slog.String("request_id", rq.reqID), slog.String("error", err.Error()))
		body = []byte(`{"status":` + strconv.Itoa(info.Status) + `,"code":"` + string(info.Code) + `"}`)
	}
	return response{status: info.Status, contentType: contentProblem, body: body}
}

// retryDelay is the Retry-After of an error: its own, or a default where the
// code itself says "later".
func retryDelay(pe *payment.Error) time.Duration {
	if pe.RetryAfter > 0 {
		return pe.RetryAfter
	}
	switch pe.Code {
	case payment.CodeKeyInUse, payment.CodeStoreUnavailable, payment.CodeRateLimited, payment.CodeFrozen, payment.CodeOverloaded:
		return retryAfter
	default:
		return 0
	}
}

func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// shorten cuts s at n bytes, never inside a character.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}

func panicText(v any) string {
	if err, ok := v.(error); ok {
		return err.Error()
	}
	if s, ok := v.(string); ok {
		return s
	}
	return fmt.Sprintf("%T", v)
}
