// Package alipay speaks to Alipay's open platform for wallets of mainland China
// (gateway.do, RSA2): the payer scans our code, we scan the payer's, or the
// payer is sent to a page, an app or a mini program. All amounts are CNY.
//
// Alipay knows a trade by our out_trade_no and a refund by our out_request_no,
// so that every call can be repeated and every lost answer be asked for. Each
// answer is signed; nothing in it is believed before the signature verified.
package alipay

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// Connector is one application on Alipay's open platform, for wallets of
// mainland China in CNY. Test is Alipay's sandbox, which has applications and
// keys of its own.
type Connector struct {
	// AppID is the application's number on the open platform, 1 … 32 letters and digits.
	AppID string `json:"app_id"`
	// PrivateKey is the application's RSA key of at least 2048 bits, with which
	// we sign: PKCS #8 or PKCS #1, as PEM or as bare base64.
	PrivateKey connector.Secret `json:"private_key"`
	// PublicKey is Alipay's RSA key for this application, with which Alipay's
	// answers verify (not the application's own public key): SPKI, as PEM or as
	// bare base64.
	PublicKey connector.Secret `json:"alipay_public_key"`

	keys atomic.Pointer[keyPair]
}

var (
	_ connector.Connector      = (*Connector)(nil)
	_ connector.Offline        = (*Connector)(nil)
	_ connector.WebhookDecoder = (*Connector)(nil)
	_ connector.Preparer       = (*Connector)(nil)
	_ connector.Checker        = (*Connector)(nil)
)

// The limits that Alipay states, or that follow from what it states.
const (
	// cancelWindow is how long after the charge alipay.trade.cancel works.
	cancelWindow = 24 * time.Hour
	// notFoundAfter is what Alipay asks to wait between a refund and its query.
	notFoundAfter = 10 * time.Second
	// qrLife is how long a code of alipay.trade.precreate can be scanned at most,
	// whatever its order says.
	qrLife = 2 * time.Hour
	// orderLife is how long an order may wait for its payer at most.
	orderLife = 15 * 24 * time.Hour
	// tillPatience is how long a till waits for a payer to confirm; Alipay
	// suggests to query for 30 s to 60 s and then to cancel.
	tillPatience = 60 * time.Second

	maxAmount  = 100_000_000_00 // fen: Alipay takes 0.01 to 100000000 yuan
	maxAppID   = 32
	maxTradeNo = 64
	maxOpenID  = 128
	maxQRCode  = 1024
)

// Spec describes the connector.
func (*Connector) Spec() connector.Spec {
	method := func(f payment.Flow, patience time.Duration) connector.Method {
		return connector.Method{Type: payment.MethodAlipay, Flow: f, Patience: patience}
	}
	return connector.Spec{
		Name:    "alipay",
		TestURL: "https://openapi-sandbox.dl.alipaydev.com",
		LiveURL: "https://openapi.alipay.com",
		Kinds:   []payment.Kind{payment.KindAuthorize, payment.KindVoid, payment.KindRefund, payment.KindSync},
		Methods: []connector.Method{
			method(payment.FlowBarcode, tillPatience),
			method(payment.FlowQR, 0),
			method(payment.FlowRedirect, 0),
			method(payment.FlowApp, 0),
			method(payment.FlowMiniProgram, 0),
		},
		Currencies:    []payment.Currency{"CNY"},
		Idempotency:   connector.Idempotency{By: connector.ByReference},
		Query:         connector.QueryExact,
		Reversal:      &connector.Reversal{Window: cancelWindow},
		PartialRefund: true,
		NotFoundAfter: notFoundAfter,
		Source:        "opendocs.alipay.com, alipay.trade.* (models of 2025-12-16)",
	}
}

// Check tells whether Alipay could express op, before anything is written.
func (*Connector) Check(op payment.Operation) error {
	switch op := op.(type) {
	case payment.Authorize:
		return checkAuthorize(op)
	case payment.GiveBack:
		_, err := yuan(op.Amount)
		return err
	case payment.Capture:
		return fmt.Errorf("%w: %s", connector.ErrUnsupported, op.Kind())
	default:
		return nil
	}
}

// Encode builds the signed POST to gateway.do.
func (c *Connector) Encode(call connector.Call) (*http.Request, error) {
	m, err := c.message(call)
	if err != nil {
		return nil, fmt.Errorf("alipay: %w", err)
	}
	if offline(call.Op) {
		return nil, fmt.Errorf("alipay: %w: %s is no call", connector.ErrUnsupported, m.method)
	}
	r, err := c.post(call, m)
	if err != nil {
		return nil, fmt.Errorf("alipay: %w", err)
	}
	return r, nil
}

// Offline answers the flows in which the payer brings our signed order to
// Alipay: there, no call of ours comes before the payer's.
func (c *Connector) Offline(call connector.Call) (connector.Result, bool, error) {
	if !offline(call.Op) {
		return connector.Result{}, false, nil
	}
	m, err := c.message(call)
	if err != nil {
		return connector.Result{}, true, fmt.Errorf("alipay: %w", err)
	}
	query, err := c.signed(call, m)
	if err != nil {
		return connector.Result{}, true, fmt.Errorf("alipay: %w", err)
	}
	action := &payment.NextAction{Type: payment.ActionRedirect, URL: gateway(call) + "?" + query, Method: http.MethodGet}
	if m.method == methodApp {
		action = &payment.NextAction{Type: payment.ActionInvokeApp, Parameters: map[string]string{"order_string": query}}
	}
	return connector.Result{State: connector.ActionRequired, Action: action}, true, nil
}

// offline tells whether op needs no call.
func offline(op payment.Operation) bool {
	a, ok := op.(payment.Authorize)
	return ok && (a.Method.Flow == payment.FlowRedirect || a.Method.Flow == payment.FlowApp)
}

// gateway is the one address of the open platform.
func gateway(call connector.Call) string {
	return strings.TrimSuffix(call.BaseURL, "/") + "/gateway.do"
}

var errConfig = errors.New("account is not set up")

// Prepare reads the keys. It is called once the secrets are resolved, and again
// where they changed; calls that are under way keep the keys they began with.
func (c *Connector) Prepare() error {
	if !simple(c.AppID, maxAppID) {
		return fmt.Errorf("%w: app_id must be 1 … %d letters and digits", errConfig, maxAppID)
	}
	private, err := parsePrivate(c.PrivateKey.Reveal())
	if err != nil {
		return fmt.Errorf("%w: private_key: %w", errConfig, err)
	}
	public, err := parsePublic(c.PublicKey.Reveal())
	if err != nil {
		return fmt.Errorf("%w: alipay_public_key: %w", errConfig, err)
	}
	if private.PublicKey.Equal(public) {
		return fmt.Errorf("%w: alipay_public_key is the application's own key, not Alipay's", errConfig)
	}
	c.keys.Store(&keyPair{private, public})
	return nil
}

// loaded returns the keys, reading them where Prepare was not called yet.
func (c *Connector) loaded() (*keyPair, error) {
	if k := c.keys.Load(); k != nil {
		return k, nil
	}
	if err := c.Prepare(); err != nil {
		return nil, err
	}
	return c.keys.Load(), nil
}
