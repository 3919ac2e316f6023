package adyen

import (
	"errors"
	"net/http"

	"github.com/purser-pay/purser/modules/connector"
)

var _ connector.Passer = (*Connector)(nil)

// Pass lets the idempotency key through. Paths begin with the API's version, as
// in /v72/paymentMethods; other versions of Checkout are reached in the same way.
func (*Connector) Pass() connector.Pass {
	return connector.Pass{
		RequestHeaders:  []string{"Idempotency-Key"},
		ResponseHeaders: []string{"Idempotency-Key", "Pspreference", "Transient-Error"},
	}
}

// Authorize sets the API key.
func (a *Connector) Authorize(c connector.Call, r *http.Request, _ []byte) ([]byte, error) {
	key := a.APIKey.Reveal()
	switch {
	case key == "":
		return nil, errors.New("adyen: no api_key")
	case c.Livemode && a.LivePrefix == "" && c.BaseURL == a.Spec().LiveURL:
		return nil, errors.New("adyen: a live account needs live_prefix")
	}
	r.Header["X-Api-Key"] = []string{key}
	return nil, nil
}
