package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/transport"
)

// busyRetry is what a caller is asked to wait where all places are taken: when
// one comes free, nobody knows.
const busyRetry = time.Second

// problem words a call that yielded no answer.
func problem(err error, method string) *payment.Error {
	e := &payment.Error{Err: err}
	if refused, ok := errors.AsType[*connector.PassError](err); ok {
		e.Code, e.Param, e.Detail = payment.CodeInvalidRequest, refused.Param, refused.Detail
		return e
	}
	switch {
	case errors.Is(err, connector.ErrUnsupported):
		e.Code, e.Detail = payment.CodeNotSupported, "The connector does not pass this through."
	case errors.Is(err, transport.ErrTooLarge):
		e.Code, e.Detail = payment.CodeBodyTooLarge, "The body is larger than the connector passes through."
	case errors.Is(err, transport.ErrBody):
		e.Code, e.Param, e.Detail = payment.CodeInvalidRequest, "body", "The body broke off, or is malformed."
	case errors.Is(err, transport.ErrHost):
		e.Code, e.Detail = payment.CodeInternal, "The request could not be passed through."
	case errors.Is(err, transport.ErrBusy):
		e.Code, e.RetryAfter, e.Detail = payment.CodePSPUnavailable, busyRetry, "Too many requests to the account are under way. Nothing was sent."
	case !errors.Is(err, transport.ErrInDoubt):
		e.Code, e.Detail = payment.CodePSPUnavailable, "The payment provider could not be reached. Nothing was sent."
	case reads(method):
		e.Code, e.Detail = payment.CodePSPUnavailable, "The payment provider gave no answer."
	case errors.Is(err, context.Canceled):
		e.Code, e.Detail = payment.CodePSPNoAnswer, "The caller has gone."
	default:
		e.Code = payment.CodePSPNoAnswer
		e.Detail = "The payment provider gave no answer. It may have acted: ask it, or repeat the request with its own idempotency key."
	}
	return e
}
