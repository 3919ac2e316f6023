package connectortest

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// checkRequest says what is wrong with Encode's request for c, beyond what a
// golden can tell. req is still unread.
func checkRequest(c connector.Connector, call connector.Call, req *http.Request) []string {
	var bad []string
	complain := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	spec := c.Spec()

	base, err := url.Parse(call.BaseURL)
	if err != nil || base.Host == "" {
		complain("base URL %q is no URL", call.BaseURL)
		return bad
	}
	if req.URL.Host != base.Host && !slices.Contains(spec.Hosts, req.URL.Host) {
		complain("host %q is neither that of the base URL (%q) nor in Spec.Hosts %q", req.URL.Host, base.Host, spec.Hosts)
	}
	if req.URL.Scheme != base.Scheme {
		complain("scheme %q, want that of the base URL, %q", req.URL.Scheme, base.Scheme)
	}
	hasBody := req.Body != nil && req.Body != http.NoBody
	if !hasBody && req.Method != http.MethodGet {
		// net/http repeats a request without a body behind our back.
		complain("%s without a body", req.Method)
	}
	if hasBody && req.Method == http.MethodGet {
		complain("GET with a body")
	}
	if hasBody && req.Header.Get("Content-Type") == "" {
		complain("a body without Content-Type")
	}
	for name := range req.Header {
		key := strings.HasSuffix(strings.ToLower(name), "idempotency-key")
		if key && spec.Idempotency.By != connector.ByKey {
			complain("%s is sent though Spec.Idempotency does not count on it", name)
		}
		if _, asks := c.(connector.Asker); key && call.Op.Kind() == payment.KindSync && !asks {
			complain("%s on a query", name)
		}
	}
	length := req.ContentLength
	s, err := read(req)
	if err != nil {
		complain("%v", err)
		return bad
	}
	if length != int64(len(s.Body)) {
		complain("ContentLength is %d and the body has %d bytes", length, len(s.Body))
	}
	if s.form() && bytes.ContainsAny(s.Body, "\r\n") {
		complain("a form with a raw line break")
	}
	return append(bad, checkRepeat(c, call, s)...)
}

// checkRepeat encodes the call again. The same call makes the same bytes; and a
// repeat under the PSP's own key, which comes later and with another nonce,
// must not differ either, lest the PSP call it another request.
func checkRepeat(c connector.Connector, call connector.Call, first sent) []string {
	var bad []string
	again := func(why string, call connector.Call) {
		req, err := c.Encode(call)
		if err != nil {
			bad = append(bad, fmt.Sprintf("%s: encode: %v", why, err))
			return
		}
		s, err := read(req)
		if err != nil {
			bad = append(bad, fmt.Sprintf("%s: %v", why, err))
			return
		}
		if got, want := string(s.dump()), string(first.dump()); got != want {
			bad = append(bad, fmt.Sprintf("%s: another request\ngot:\n%s\nwant:\n%s", why, got, want))
		}
	}
	again("encoded twice", call)
	if c.Spec().Idempotency.By == connector.ByKey && call.Op.Kind() != payment.KindSync {
		call.Sent, call.Now = call.Now, call.Now.Add(time.Hour)
		call.Nonce[0] ^= 0xff
		again("repeated an hour later", call)
	}
	return bad
}

// checkResult says what of a result breaks the contract of package connector.
func checkResult(c connector.Connector, call connector.Call, r connector.Result) []string {
	bad := checkState(r)
	switch {
	case r.State == connector.ActionRequired && r.Action == nil && call.Op.Kind() != payment.KindSync:
		bad = append(bad, "action_required without an action") // of a sync, it means "the same as before"
	case r.State == connector.NotFound && call.Op.Kind() != payment.KindSync:
		bad = append(bad, "not_found answers a sync alone")
	case r.State == connector.StepDone:
		steps := connector.StepsOf(c, call.Op)
		if len(steps) == 0 || steps[len(steps)-1].Name == call.Step {
			bad = append(bad, "step_done at the last step")
		}
		if r.StepReference == "" {
			bad = append(bad, "step_done without step_reference")
		}
	case r.State == connector.Rejected && call.Op.Kind() == payment.KindSync && r.PSPReference != "":
		bad = append(bad, "a query that was turned away names something")
	}
	return bad
}

// checkState checks what holds for answers and for webhooks alike.
func checkState(r connector.Result) []string {
	var bad []string
	complain := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	switch r.State {
	case connector.Declined, connector.Rejected:
		if r.Failure == nil {
			complain("%s without a failure", r.State)
		} else if info := r.Failure.Code.Info(); info.Code != r.Failure.Code {
			complain("failure code %q is not in the table", r.Failure.Code)
		}
	case connector.ActionRequired:
		if r.Action != nil && r.Action.Type == "" {
			complain("an action without a type")
		}
	case connector.Succeeded, connector.Pending, connector.Canceled, connector.NotFound, connector.StepDone:
		if r.Failure != nil {
			complain("%s with a failure", r.State)
		}
	default:
		complain("state %q is none", r.State)
	}
	if r.Payable && r.State != connector.Declined {
		complain("payable goes with declined, not with %s", r.State)
	}
	if r.Unattended && !r.Payable {
		complain("unattended goes with payable")
	}
	if r.Again && r.State != connector.Pending {
		complain("again goes with pending, not with %s", r.State)
	}
	if m := r.Amount; !m.IsZero() && (m.Minor < 0 || m.Minor > payment.MaxMinor || m.Currency.Exponent() < 0) {
		complain("amount %+v is out of bounds", m)
	}
	if ch := r.Charge; ch != nil {
		if ch.Amount.Minor < 0 || ch.Amount.Minor > payment.MaxMinor || ch.Amount.Currency.Exponent() < 0 {
			complain("charge amount %+v is out of bounds", ch.Amount)
		}
		if ch.Refunded < 0 || ch.Refunded > ch.Captured || ch.Captured > ch.Authorized || ch.Authorized > payment.MaxMinor {
			complain("refunded %d ≤ captured %d ≤ authorized %d does not hold", ch.Refunded, ch.Captured, ch.Authorized)
		}
	}
	return bad
}

// checkLeaks says which of the connector's secrets, and whether the call's card
// number, stand in text.
func checkLeaks(c any, call connector.Call, text []byte) []string {
	var bad []string
	for name, value := range secrets(reflect.ValueOf(c), "", 0) {
		if value != "" && bytes.Contains(text, []byte(value)) {
			bad = append(bad, "holds the secret "+name)
		}
	}
	if a, ok := call.Op.(payment.Authorize); ok && a.Method.Card != nil {
		if pan := a.Method.Card.Number.Reveal(); pan != "" && bytes.Contains(text, []byte(pan)) {
			bad = append(bad, "holds the card number")
		}
	}
	if token := call.Token.Reveal(); token != "" && bytes.Contains(text, []byte(token)) {
		bad = append(bad, "holds the access token")
	}
	return bad
}

// secrets finds the [connector.Secret]s among the exported fields of v.
func secrets(v reflect.Value, path string, depth int) map[string]string {
	found := map[string]string{}
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return found
		}
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct || depth > 3 {
		return found
	}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		name := strings.TrimPrefix(path+"."+field.Name, ".")
		if s, ok := reflect.TypeAssert[connector.Secret](v.Field(i)); ok {
			found[name] = s.Reveal()
			continue
		}
		maps.Copy(found, secrets(v.Field(i), name, depth+1))
	}
	return found
}
