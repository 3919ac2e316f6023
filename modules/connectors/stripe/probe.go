package stripe

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/purser-pay/purser/modules/connector"
)

var _ connector.Prober = (*Connector)(nil)

// probed is a PaymentIntent that cannot be: Stripe's have 24 letters and digits
// behind "pi_". Asking for it needs the right to read PaymentIntents, which a
// restricted key must have for payments as well, and shows nobody's data.
const probed = "pi_purser_connector_test"

// EncodeProbe asks for a PaymentIntent that does not exist.
func (s *Connector) EncodeProbe(c connector.Call) (*http.Request, error) {
	return s.request(c, http.MethodGet, "/v1/payment_intents/"+probed, "")
}

// DecodeProbe reads Stripe's refusal: that there is no such PaymentIntent says
// that the key may ask. Messages are left out, they may quote the key.
func (s *Connector) DecodeProbe(_ connector.Call, r connector.Response) (connector.Probe, error) {
	none := connector.Probe{}
	var body struct {
		Error *apiError `json:"error"`
	}
	if err := parse(r.Body, &body); err != nil {
		return none, fmt.Errorf("stripe: status %d: %w", r.StatusCode, err)
	}
	e := body.Error
	if e == nil || e.Type == "" {
		return none, fmt.Errorf("stripe: status %d without an error object", r.StatusCode)
	}
	switch {
	case r.StatusCode == http.StatusNotFound && e.Code == "resource_missing":
		return connector.Probe{Accepted: true, Detail: "secret_key may read PaymentIntents", Livemode: s.livemode()}, nil
	case r.StatusCode == http.StatusUnauthorized && e.Code == "api_key_expired":
		return connector.Probe{Detail: "secret_key has expired (401)"}, nil
	case r.StatusCode == http.StatusUnauthorized:
		return connector.Probe{Detail: "Stripe does not know secret_key (401)"}, nil
	case r.StatusCode == http.StatusForbidden:
		return connector.Probe{Detail: "secret_key may not read PaymentIntents (403)"}, nil
	}
	return none, fmt.Errorf("stripe: status %d: type %.32q, code %.64q", r.StatusCode, e.Type, e.Code)
}

// livemode is what the key's prefix says; nil where it says nothing.
// Source: https://docs.stripe.com/keys
func (s *Connector) livemode() *bool {
	var live bool
	switch _, rest, _ := strings.Cut(s.SecretKey.Reveal(), "_"); {
	case strings.HasPrefix(rest, "live_"):
		live = true
	case strings.HasPrefix(rest, "test_"):
	default:
		return nil
	}
	return &live
}
