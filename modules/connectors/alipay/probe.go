package alipay

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

var _ connector.Prober = (*Connector)(nil)

// probed is an out_trade_no that cannot be: the gateway's own have no underscore.
const probed = "purser_connector_test"

// EncodeProbe asks for a trade that does not exist.
func (c *Connector) EncodeProbe(call connector.Call) (*http.Request, error) {
	r, err := c.post(call, message{method: methodQuery, content: content{OutTradeNo: probed}})
	if err != nil {
		return nil, fmt.Errorf("alipay: %w", err)
	}
	return r, nil
}

// DecodeProbe reads the answer. Only one that Alipay signed says that all three
// credentials are right: it knew the application, our signature verified there,
// and its own verifies here.
func (c *Connector) DecodeProbe(_ connector.Call, r connector.Response) (connector.Probe, error) {
	e, a, err := c.believe(r)
	switch {
	case errors.Is(err, errAnswerSignature):
		return connector.Probe{Detail: "the answer's signature does not verify by alipay_public_key: it is not the one of this application"}, nil
	case err != nil:
		return connector.Probe{}, fmt.Errorf("alipay: %w", err)
	}
	if f := turnedAway(&a); f != nil && (e.sign != "" || e.name == errorName) {
		return refusedProbe(f, &a) // Alipay does not sign where it does not know who asked
	}
	name, v := subCode(a.SubCode)
	switch {
	case e.sign == "":
		return connector.Probe{}, fmt.Errorf("alipay: answer with code %.16q is not signed", a.Code)
	case e.name != "alipay_trade_query_response":
		return connector.Probe{}, fmt.Errorf("alipay: %.64q answers another call", e.name)
	case a.Code == codeBusiness && name == "TRADE_NOT_EXIST":
		return connector.Probe{Accepted: true, Detail: "app_id, private_key and alipay_public_key fit each other"}, nil
	case a.Code == codeBusiness && v.code == payment.ConfigurationError:
		return refusedProbe(failure(v.code, &a), &a)
	}
	return connector.Probe{}, fmt.Errorf("alipay: code %.16q, sub_code %.64q", a.Code, a.SubCode)
}

// credentialFaults name the field at fault behind a sub_code.
var credentialFaults = map[string]string{
	"isv.invalid-app-id":    "Alipay does not know app_id, or knows it elsewhere: sandbox and production are apart",
	"isv.invalid-signature": "private_key does not belong to the key that Alipay has of app_id",
}

// refusedProbe words a refusal that concerns the account; any other tells
// nothing of it.
func refusedProbe(f *payment.Failure, a *answer) (connector.Probe, error) {
	if f.Code != payment.ConfigurationError {
		return connector.Probe{}, fmt.Errorf("alipay: code %.16q, sub_code %.64q", a.Code, a.SubCode)
	}
	detail, known := credentialFaults[a.SubCode]
	if !known {
		detail = "Alipay refuses the application"
	}
	return connector.Probe{Detail: fmt.Sprintf("%s (code %.16q, sub_code %.64q)", detail, a.Code, a.SubCode)}, nil
}
