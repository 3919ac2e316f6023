package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	json "github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/ratelimit"
	"github.com/purser-pay/purser/modules/signature"
	"github.com/purser-pay/purser/modules/store"
)

// readyTimeout bounds the question whether the store is there: whoever asks,
// asks often.
const readyTimeout = 2 * time.Second

// accountJSON tells a caller who they are.
type accountJSON struct {
	Object   string         `json:"object"`
	Merchant string         `json:"merchant"`
	Name     string         `json:"name"`
	Mode     payment.Mode   `json:"mode"`
	Livemode bool           `json:"livemode"`
	By       access.Means   `json:"by"`
	Key      string         `json:"key,omitzero"`
	Subject  string         `json:"subject,omitzero"`
	Scopes   []access.Scope `json:"scopes"`
	Limits   []limitJSON    `json:"limits"`
	// Signing is how the caller signs, and ResponseKey what signs answers to it.
	Signing     *signingJSON     `json:"signing,omitzero"`
	ResponseKey *responseKeyJSON `json:"response_key,omitzero"`
}

type signingJSON struct {
	KeyID     string           `json:"keyid"`
	Algorithm access.Algorithm `json:"algorithm"`
}

type responseKeyJSON struct {
	KeyID     string              `json:"keyid"`
	Algorithm signature.Algorithm `json:"algorithm"`
	PublicKey string              `json:"public_key"` // PEM
}

// limitJSON is one limit that counts the caller's calls.
type limitJSON struct {
	Scope     ratelimit.Scope `json:"scope"`
	Limit     int64           `json:"limit"`
	Window    int64           `json:"window,omitzero"` // seconds; none = calls in flight
	Remaining int64           `json:"remaining"`
}

func limitsOf(states []ratelimit.State) []limitJSON {
	limits := make([]limitJSON, len(states))
	for i, s := range states {
		limits[i] = limitJSON{s.Scope, s.Rate.Limit, ratelimit.Seconds(s.Rate.Period), s.Remaining}
	}
	return limits
}

func (a *API) getAccount(rq *request) (response, error) {
	if _, err := rq.query(); err != nil {
		return response{}, err
	}
	m, _ := a.cfg.Guard.Merchant(rq.principal.Merchant)
	p := &rq.principal
	out := accountJSON{
		Object: "account", Merchant: p.Merchant, Name: m.Name, Mode: p.Mode, Livemode: p.Mode.Live(),
		By: p.By, Key: p.Key, Subject: p.Subject, Scopes: p.Scopes, Limits: limitsOf(rq.call.Limits),
	}
	if p.Signing != nil {
		out.Signing = &signingJSON{p.Signing.KeyID, p.Signing.Algorithm}
	}
	if k := a.cfg.Guard.ResponseKey(); !k.IsZero() && p.Signing.Kind() != access.HMACSHA256 {
		out.ResponseKey = &responseKeyJSON{k.ID(), k.Algorithm(), string(k.PEM())}
	}
	body, err := json.Marshal(&out)
	return response{status: 200, body: body}, err
}

// health says that the process serves, and nothing of what it stands on.
func (a *API) health(*request) (response, error) {
	body, err := json.Marshal(struct {
		Status  string `json:"status"`
		Version string `json:"version,omitzero"`
	}{"ok", a.cfg.Version})
	return response{status: 200, body: body}, err
}

// ready says whether the gateway can take payments: whether its store can be
// read and written.
func (a *API) ready(rq *request) (response, error) {
	if a.cfg.Starting != nil && a.cfg.Starting() {
		return response{status: http.StatusServiceUnavailable, body: []byte(`{"status":"starting"}`)}, nil
	}
	if a.cfg.Stopping != nil && a.cfg.Stopping(rq.http) {
		return response{status: http.StatusServiceUnavailable, body: []byte(`{"status":"stopping"}`)}, nil
	}
	ctx, cancel := context.WithTimeout(rq.http.Context(), readyTimeout)
	defer cancel()
	if err := a.cfg.Store.Ping(ctx); err != nil {
		return response{}, &payment.Error{
			Code: payment.CodeStoreUnavailable, Detail: "The store cannot be reached.",
			Err: fmt.Errorf("%w: %w", store.ErrUnavailable, err),
		}
	}
	return response{status: 200, body: []byte(`{"status":"ready"}`)}, nil
}
