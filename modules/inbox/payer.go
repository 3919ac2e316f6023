package inbox

import (
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// payer takes back the payer whom a PSP sends, lets the engine finish with the
// PSP, and sends the payer on to the merchant, or tells him that he is done where
// the merchant has no place for him.
func (i *Inbox) payer(d *delivery, token string) {
	if d.r.Method != http.MethodGet && d.r.Method != http.MethodPost {
		// Not even HEAD: a preview of the address must not finish a payment.
		d.w.Header().Set("Allow", returnMethods)
		d.problem(payment.Errorf(payment.CodeMethodNotAllowed, "This resource takes GET and POST."))
		return
	}
	query, err := d.form()
	if err != nil || !isToken(token) {
		d.page(http.StatusNotFound)
		return
	}
	location, psp, err := i.cfg.Engine.Return(d.r.Context(), token, query)
	d.psp = psp
	if err == nil && location != "" && !isDestination(location) {
		err = errors.New("the engine gave no address that a payer can be sent to")
	}
	if err != nil {
		status := pageStatus(err)
		if status >= http.StatusInternalServerError {
			i.cfg.Log.ErrorContext(d.r.Context(), "payer cannot be sent on",
				slog.String("request_id", d.reqID), slog.String("error", payment.MaskPANs(err.Error())))
		}
		d.page(status)
		return
	}
	if location == "" {
		d.page(http.StatusOK)
		return
	}
	d.w.Header().Set("Location", location)
	d.write(http.StatusSeeOther, nil) // 303: whatever brought the payer here, a GET follows
}

// form reads what the payer's browser brings: the query, and the form of a POST.
func (d *delivery) form() (url.Values, error) {
	raw := d.r.URL.RawQuery
	if len(raw) > maxQuery {
		return nil, errors.New("query too long")
	}
	values, err := url.ParseQuery(raw)
	if err != nil || d.r.Method != http.MethodPost {
		return values, err
	}
	body, err := readBody(d.w, d.r, maxReturn)
	if err != nil {
		return nil, err
	}
	if media, _, _ := strings.Cut(d.r.Header.Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(media), "application/x-www-form-urlencoded") {
		return values, nil // nothing in it that any PSP would say
	}
	posted, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	maps.Copy(values, posted)
	return values, nil
}

// isToken asks for the form alone; the engine knows which tokens are good.
func isToken(s string) bool {
	return s != "" && len(s) <= maxToken && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.~/=", r)
	})
}

func isDestination(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http")
}

func pageStatus(err error) int {
	if pe, ok := errors.AsType[*payment.Error](err); ok {
		if s := pe.Code.Info().Status; s >= http.StatusInternalServerError {
			return s
		}
		return http.StatusNotFound
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrUncertain):
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// The pages a payer may see. They hold nothing of the request.
const (
	pageHead = `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Payment</title>`
	pageGone = pageHead + `<h1>This link is not valid</h1><p>Go back to the shop to see how your payment stands.</p></html>`
	pageDone = pageHead + `<p>You may close this page.</p></html>`
	pageFail = pageHead + `<h1>One moment, please</h1><p>We cannot look up your payment right now. Reload this page in a few seconds. Your payment is safe, and you need not pay again.</p></html>`
)

func (d *delivery) page(status int) {
	text := pageGone
	switch {
	case status == http.StatusOK:
		text = pageDone
	case status >= http.StatusInternalServerError:
		text = pageFail
	}
	h := d.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "2")
	}
	d.write(status, []byte(text))
}

func (d *delivery) write(status int, body []byte) {
	d.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	d.w.Header().Set(payment.HeaderTiming, payment.ServerTiming(d.now().Sub(d.began), d.psp))
	d.w.WriteHeader(status)
	if _, err := d.w.Write(body); err != nil {
		return // the caller has gone; what was to be stored is stored
	}
}
