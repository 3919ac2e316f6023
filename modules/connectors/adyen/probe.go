package adyen

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/purser-pay/purser/modules/connector"
)

var _ connector.Prober = (*Connector)(nil)

type (
	methodsRequest struct {
		MerchantAccount string `json:"merchantAccount"`
	}
	methodsAnswer struct {
		Methods []struct {
			Type string `json:"type"`
		} `json:"paymentMethods"`
	}
)

// EncodeProbe asks which payment methods the merchant account has. Adyen keeps
// nothing of it, so it needs no Idempotency-Key.
func (a *Connector) EncodeProbe(c connector.Call) (*http.Request, error) {
	return a.request(c, "/paymentMethods", methodsRequest{a.MerchantAccount})
}

// DecodeProbe reads the list, or Adyen's refusal. Messages are left out, they may
// quote the key.
func (*Connector) DecodeProbe(_ connector.Call, r connector.Response) (connector.Probe, error) {
	if r.StatusCode == http.StatusOK {
		return decodeMethods(r.Body)
	}
	var e serviceError
	if err := parse(r.Body, &e); err != nil {
		return connector.Probe{}, fmt.Errorf("adyen: status %d: %w", r.StatusCode, err)
	}
	switch {
	case e.ErrorCode == "" && e.ErrorType == "":
		return connector.Probe{}, fmt.Errorf("adyen: status %d without an error object", r.StatusCode)
	case e.ErrorCode == "901":
		return connector.Probe{Detail: "api_key has no such merchant_account (901)"}, nil
	case r.StatusCode == http.StatusUnauthorized:
		return connector.Probe{Detail: "Adyen does not know api_key (401)"}, nil
	case r.StatusCode == http.StatusForbidden:
		return connector.Probe{Detail: fmt.Sprintf("api_key may not use Checkout for merchant_account (403, errorCode %.16q)", e.ErrorCode)}, nil
	}
	return connector.Probe{}, fmt.Errorf("adyen: status %d: errorCode %.16q", r.StatusCode, e.ErrorCode)
}

// decodeMethods takes the list as proof that the key is good for the merchant
// account, and looks whether cards are in it.
func decodeMethods(body []byte) (connector.Probe, error) {
	var m methodsAnswer
	if err := parse(body, &m); err != nil {
		return connector.Probe{}, fmt.Errorf("adyen: %w", err)
	}
	if m.Methods == nil {
		return connector.Probe{}, errors.New("adyen: the answer has no paymentMethods")
	}
	p := connector.Probe{Accepted: true, Detail: "api_key may use merchant_account"}
	for _, method := range m.Methods {
		if method.Type == cardType {
			return p, nil
		}
	}
	p.Detail += ", which has no cards"
	return p, nil
}
