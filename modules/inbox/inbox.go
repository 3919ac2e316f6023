// Package inbox is the PSPs' door: their webhooks, and the payers they send
// back. It believes nobody: a webhook acts only once the PSP's own signature
// has been verified over its raw bytes, and a payer who comes back only makes
// the engine ask the PSP.
package inbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

const (
	webhooksPath = "/webhooks/"
	returnPath   = "/return/"

	webhookMethods = http.MethodPost
	returnMethods  = "GET, POST"

	maxWebhook = 256 << 10 // bytes; the largest that PSPs tell of is 64 KiB, and Adyen batches
	maxReturn  = 64 << 10  // bytes of a form that the payer's browser brings
	maxToken   = 512       // characters
	maxAccount = 64        // characters of an account's name
	maxQuery   = 16 << 10  // bytes; redirect results are long
)

// Engine is what the door needs of package engine.
type Engine interface {
	Receive(ctx context.Context, account string, events []connector.Event) error
	// Return gives no location where the merchant has no place for the payer.
	Return(ctx context.Context, token string, query map[string][]string) (location string, psp time.Duration, err error)
}

// Config is what the door stands on. All fields are required.
type Config struct {
	Engine Engine
	// Account finds a connector account by its name.
	Account func(name string) (*connector.Account, bool)
	IDs     *payment.IDs
	Now     func() time.Time
	Log     *slog.Logger
}

// Inbox serves PSPs and payers. It is safe for concurrent use.
type Inbox struct {
	cfg    Config
	forged trickle
}

// New returns the door.
func New(cfg Config) *Inbox {
	return &Inbox{cfg: cfg, forged: trickle{accounts: map[string]*drops{}}}
}

// delivery is one request on its way through the door.
type delivery struct {
	w     http.ResponseWriter
	r     *http.Request
	reqID string
	now   func() time.Time
	began time.Time
	psp   time.Duration // spent waiting for PSPs
}

// ServeHTTP answers POST /webhooks/{account} and GET or POST /return/{token}.
func (i *Inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d := &delivery{w: w, r: r, reqID: i.cfg.IDs.New(payment.PrefixRequest), now: i.cfg.Now, began: i.cfg.Now()}
	h := w.Header()
	h.Set("Request-Id", d.reqID)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer") // the address of a return holds a token
	if r.ProtoMajor == 1 && len(r.TransferEncoding) > 0 {
		h.Set("Connection", "close") // RFC 9112 §6.1
	}
	defer i.recover(d)
	path := r.URL.EscapedPath()
	if account, ok := strings.CutPrefix(path, webhooksPath); ok {
		i.webhook(d, account)
		return
	}
	if token, ok := strings.CutPrefix(path, returnPath); ok {
		i.payer(d, token)
		return
	}
	d.problem(payment.Errorf(payment.CodeNotFound, "There is nothing here."))
}

// Allow is the Allow field for what a request asks for; "" = there is no such
// resource.
func (i *Inbox) Allow(r *http.Request) string {
	switch path := r.URL.EscapedPath(); {
	case strings.HasPrefix(path, webhooksPath):
		return webhookMethods
	case strings.HasPrefix(path, returnPath):
		return returnMethods
	default:
		return ""
	}
}

func (i *Inbox) recover(d *delivery) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v) // net/http's own way to cut a connection
	}
	i.cfg.Log.Error("panic while serving", slog.String("request_id", d.reqID),
		slog.String("panic", payment.MaskPANs(fmt.Sprint(v))), slog.String("stack", string(debug.Stack())))
	d.problem(payment.Errorf(payment.CodeInternal, "Something failed inside the gateway."))
}

// webhook verifies, reads and stores one delivery. Only what is stored is
// acknowledged: PSPs repeat everything else.
func (i *Inbox) webhook(d *delivery, name string) {
	if d.r.Method != http.MethodPost {
		d.w.Header().Set("Allow", webhookMethods)
		d.problem(payment.Errorf(payment.CodeMethodNotAllowed, "This resource takes POST."))
		return
	}
	account, decoder, ok := i.find(name)
	if !ok {
		d.problem(payment.Errorf(payment.CodeNotFound, "There is no such account, or it has no webhooks."))
		return
	}
	body, err := readBody(d.w, d.r, maxWebhook)
	if err != nil {
		d.problem(err)
		return
	}
	raw := connector.Delivery{
		Method: d.r.Method, URL: d.r.URL.RequestURI(), Header: d.r.Header, Body: body, Now: i.cfg.Now(),
	}
	log := i.cfg.Log.With(slog.String("request_id", d.reqID), slog.String("account", account.Name))
	ctx := d.r.Context()
	if err := decoder.VerifyWebhook(raw); err != nil {
		// It changes nothing: recovery asks the PSP by itself about all that is open.
		i.forgery(ctx, log, account.Name, raw.Now, err)
		d.w.Header().Set("WWW-Authenticate", "Signature")
		d.problem(payment.Errorf(payment.CodeUnauthenticated, "The signature of the webhook does not verify."))
		return
	}
	events, err := decoder.DecodeWebhook(raw)
	if err != nil {
		// It is the PSP's, and we cannot read it: 500 makes the PSP try again,
		// perhaps against a newer gateway.
		log.ErrorContext(ctx, "webhook cannot be read", slog.String("error", payment.MaskPANs(err.Error())))
		d.problem(payment.Errorf(payment.CodeInternal, "The webhook cannot be read."))
		return
	}
	if len(events) > 0 {
		// The PSP hanging up must not undo what it has told.
		if err := i.cfg.Engine.Receive(context.WithoutCancel(ctx), account.Name, events); err != nil {
			log.ErrorContext(ctx, "webhook cannot be stored", slog.String("error", payment.MaskPANs(err.Error())))
			d.problem(classify(err))
			return
		}
	}
	d.acknowledge(decoder.Acknowledge())
}

// forgery logs a webhook that does not verify, unless there was one just now.
func (i *Inbox) forgery(ctx context.Context, log *slog.Logger, account string, now time.Time, err error) {
	told, skipped := i.forged.take(account, now)
	if !told {
		return
	}
	if skipped > 0 {
		log = log.With(slog.Int64("not_told_before", skipped))
	}
	log.WarnContext(ctx, "webhook does not verify", slog.String("error", payment.MaskPANs(err.Error())))
}

// find returns the account of a name if it takes webhooks.
func (i *Inbox) find(name string) (*connector.Account, connector.WebhookDecoder, bool) {
	if name == "" || len(name) > maxAccount {
		return nil, nil, false
	}
	account, ok := i.cfg.Account(name)
	if !ok {
		return nil, nil, false
	}
	decoder, ok := account.Connector.(connector.WebhookDecoder)
	return account, decoder, ok
}

// acknowledge answers in the PSP's own dialect; the zero value is a bare 200.
func (d *delivery) acknowledge(a connector.Acknowledgement) {
	if a.StatusCode == 0 {
		a.StatusCode = http.StatusOK
	}
	if a.ContentType != "" {
		d.w.Header().Set("Content-Type", a.ContentType)
	}
	d.write(a.StatusCode, []byte(a.Body))
}

// readBody reads a whole body of at most limit bytes.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	tooLarge := payment.Errorf(payment.CodeBodyTooLarge, "A body has at most %d bytes here.", limit)
	if r.ContentLength > limit {
		return nil, tooLarge
	}
	if r.Body == nil {
		return nil, nil
	}
	var buf bytes.Buffer
	if r.ContentLength > 0 {
		buf.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	if _, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, limit)); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, tooLarge
		}
		return nil, payment.Errorf(payment.CodeInvalidRequest, "The body ended early.")
	}
	return buf.Bytes(), nil
}

// classify finds the error of the table that err stands for. Whatever it is,
// its status makes PSPs repeat.
func classify(err error) error {
	switch {
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrUncertain), errors.Is(err, store.ErrConflict),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return payment.Errorf(payment.CodeStoreUnavailable, "The store cannot be reached. Deliver again.")
	}
	if pe, ok := errors.AsType[*payment.Error](err); ok && pe.Code.Info().Status >= 500 {
		return pe
	}
	return payment.Errorf(payment.CodeInternal, "Something failed inside the gateway. Deliver again.")
}
