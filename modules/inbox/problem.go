package inbox

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	json "github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/payment"
)

// problemBase is what the types of problems begin with: the same page as for
// merchants.
const problemBase = "https://github.com/purser-pay/purser/blob/main/docs/errors.md#"

// problem answers as RFC 9457 has it. PSPs look at the status alone; the rest
// is for whoever reads their delivery log.
func (d *delivery) problem(err error) {
	pe, ok := errors.AsType[*payment.Error](err)
	if !ok {
		pe = payment.Errorf(payment.CodeInternal, "Something failed inside the gateway.")
	}
	info := pe.Code.Info()
	body, err := json.Marshal(struct {
		Type      string       `json:"type"`
		Title     string       `json:"title"`
		Status    int          `json:"status"`
		Detail    string       `json:"detail"`
		Code      payment.Code `json:"code"`
		RequestID string       `json:"request_id"`
		Retryable bool         `json:"retryable"`
	}{problemBase + string(info.Code), info.Title, info.Status, pe.Detail, info.Code, d.reqID, info.Retryable})
	if err != nil { // a detail that is not UTF-8; the status says enough
		body = []byte("{}")
	}
	d.w.Header().Set("Content-Type", "application/problem+json")
	if info.Status == http.StatusServiceUnavailable {
		wait := max(pe.RetryAfter, time.Second)
		d.w.Header().Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
	}
	d.write(info.Status, body)
}
