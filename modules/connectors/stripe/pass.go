package stripe

import (
	"errors"
	"net/http"

	"github.com/purser-pay/purser/modules/connector"
)

var _ connector.Passer = (*Connector)(nil)

// Pass lets the caller choose the API version and the idempotency key. The
// headers that would speak for another account (Stripe-Account, Stripe-Context)
// stay behind: the account is this one.
func (*Connector) Pass() connector.Pass {
	return connector.Pass{
		RequestHeaders:  []string{"Idempotency-Key", versionHeader},
		ResponseHeaders: []string{"Idempotency-Key", "Idempotent-Replayed", "Original-Request", "Request-Id", "Stripe-Should-Retry", versionHeader},
	}
}

const versionHeader = "Stripe-Version"

// Authorize sets the secret key, and our API version where the caller names
// none: what the account's settings say would change under the caller.
func (s *Connector) Authorize(_ connector.Call, r *http.Request, _ []byte) ([]byte, error) {
	key := s.SecretKey.Reveal()
	if key == "" {
		return nil, errors.New("stripe: no secret_key")
	}
	r.Header["Authorization"] = []string{"Bearer " + key}
	if len(r.Header[versionHeader]) == 0 {
		r.Header[versionHeader] = []string{Version}
	}
	return nil, nil
}
