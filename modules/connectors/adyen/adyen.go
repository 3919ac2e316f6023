// Package adyen speaks Adyen's Checkout API v72 for cards: payments, their
// captures, cancels and refunds, and webhooks.
//
// Adyen has no query. What became of a request whose answer was lost is told by
// a webhook, or by the same request again under its Idempotency-Key. Captures,
// cancels and refunds are always answered with "received", and end by webhook.
// A payer who comes back from 3-D Secure brings a redirectResult; handing that
// in at /payments/details completes the payment and tells its outcome, and is
// therefore how a Sync is written here, with a key of its own: handed in twice
// without one, Adyen answers 704 and no outcome.
//
// With automatic capture, Adyen says "Authorised" and takes the money by itself
// later. Authorised counts as captured then, as it does everywhere in the field;
// a CAPTURE_FAILED that comes after it contradicts, and is told.
package adyen

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// Version is the version of the Checkout API that every request names.
const Version = "v72"

const (
	// keyWindow is how long Adyen remembers an Idempotency-Key, at the least.
	// Source: https://docs.adyen.com/development-resources/api-idempotency
	keyWindow = 7 * 24 * time.Hour
	// reversalWindow is how long a hold can be canceled at the most: an
	// authorization lapses after 28 days, and one that was captured before that
	// is refused. Source: Checkout v72, captureDelayHours, and POST /cancels.
	reversalWindow = 28 * 24 * time.Hour
	minKeyBytes    = 16 // of the HMAC key; Adyen makes 32
	maxName        = 80 // characters of a merchant account's name, and of a reference
)

// redirectResult is the name in Call.Done of what the payer brought back.
const redirectResult = "redirect_result"

// Connector is one merchant account at Adyen. Test and live have keys of their
// own, and live an address of its own.
type Connector struct {
	// APIKey is the key of an API credential (a web service user) that may use
	// Checkout.
	APIKey connector.Secret `json:"api_key"`
	// MerchantAccount is the merchant account's name, 1 … 80 visible characters;
	// webhooks of others are ignored.
	MerchantAccount string `json:"merchant_account"`
	// HMACKey signs the standard webhook: at least 16 bytes, in hexadecimal as
	// Adyen shows it.
	HMACKey connector.Secret `json:"hmac_key"`
	// LivePrefix is the company's own part of the live address, such as
	// "1797a841fbb37ca7-AdyenDemo". Mode live needs it or a base_url of its own;
	// test accounts have none.
	LivePrefix string `json:"live_prefix,omitempty"`
}

var (
	_ connector.Connector      = (*Connector)(nil)
	_ connector.Checker        = (*Connector)(nil)
	_ connector.Preparer       = (*Connector)(nil)
	_ connector.Asker          = (*Connector)(nil)
	_ connector.ReturnReader   = (*Connector)(nil)
	_ connector.WebhookDecoder = (*Connector)(nil)
)

// silence is for how long it means nothing that no webhook has come: Adyen sends
// most within seconds, and queues them where an endpoint was away. A payment by
// card number of which nothing is heard for longer is undone by our reference.
const silence = 10 * time.Minute

// Spec describes what Adyen does for cards.
func (a *Connector) Spec() connector.Spec {
	prefix := a.LivePrefix
	if prefix == "" {
		prefix = "PREFIX" // of nobody: an account without one cannot be live
	}
	return connector.Spec{
		Name:    "adyen",
		TestURL: "https://checkout-test.adyen.com",
		LiveURL: "https://" + prefix + "-checkout-live.adyenpayments.com/checkout",
		Kinds: []payment.Kind{
			payment.KindAuthorize, payment.KindCapture, payment.KindVoid, payment.KindRefund, payment.KindSync,
		},
		Methods: []connector.Method{
			{Type: payment.MethodCard, Manual: true},
			{Type: payment.MethodCardToken, Manual: true},
		},
		Currencies:     currencies(),
		Idempotency:    connector.Idempotency{By: connector.ByKey, Window: keyWindow},
		Query:          connector.QueryNone,
		Reversal:       &connector.Reversal{Window: reversalWindow},
		NotFoundAfter:  silence,
		PartialCapture: true,
		PartialRefund:  true,
		Source:         "https://docs.adyen.com/api-explorer/Checkout/72, webhooks v1",
	}
}

var errConfig = errors.New("account is not set up")

// Prepare checks the credentials' form.
func (a *Connector) Prepare() error {
	switch key := a.APIKey.Reveal(); {
	case key == "" || !visible(key):
		return fmt.Errorf("adyen: %w: api_key is empty, or holds a space or control character", errConfig)
	case a.MerchantAccount == "" || len(a.MerchantAccount) > maxName || !visible(a.MerchantAccount) ||
		strings.Contains(a.MerchantAccount, ":"):
		return fmt.Errorf("adyen: %w: merchant_account is 1 … %d visible characters, and no colon", errConfig, maxName)
	case !prefixForm(a.LivePrefix):
		return fmt.Errorf("adyen: %w: live_prefix is letters, digits and hyphens", errConfig)
	}
	if _, err := a.hmacKey(); err != nil {
		return fmt.Errorf("adyen: %w: hmac_key: %w", errConfig, err)
	}
	return nil
}

// hmacKey decodes the key; its error holds nothing of it.
func (a *Connector) hmacKey() ([]byte, error) {
	key, err := hex.DecodeString(a.HMACKey.Reveal())
	if err != nil || len(key) < minKeyBytes {
		return nil, fmt.Errorf("not %d hexadecimal digits or more", 2*minKeyBytes)
	}
	return key, nil
}

func prefixForm(s string) bool {
	return len(s) <= maxName && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
}

// visible tells printable ASCII without a space.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Check tells before anything is written that Adyen cannot express op.
func (*Connector) Check(op payment.Operation) error {
	switch op := op.(type) {
	case payment.Authorize:
		if err := supported(op); err != nil {
			return err
		}
		_, err := toAdyen(op.Amount)
		return err
	case payment.Capture:
		if !op.Final {
			return errSeveral
		}
		_, err := toAdyen(op.Amount)
		return err
	case payment.GiveBack:
		_, err := toAdyen(op.Amount)
		return err
	default:
		return nil
	}
}

var errSeveral = fmt.Errorf("adyen: several captures of one hold must be enabled by Adyen: %w", connector.ErrUnsupported)

// Encode builds the request for c.
func (a *Connector) Encode(c connector.Call) (*http.Request, error) {
	switch op := c.Op.(type) {
	case payment.Authorize:
		return a.encodePayment(c, op)
	case payment.Capture:
		return a.encodeCapture(c, op)
	case payment.Void:
		return a.encodeCancel(c, op)
	case payment.GiveBack:
		return a.encodeRefund(c, op)
	case payment.Sync:
		return a.encodeDetails(c, op)
	default:
		return nil, fmt.Errorf("adyen: %T: %w", c.Op, connector.ErrUnsupported)
	}
}

// CanAsk tells that the payer has brought back what /payments/details wants.
func (*Connector) CanAsk(c connector.Call) bool {
	op, ok := c.Op.(payment.Sync)
	return ok && op.Of == payment.KindAuthorize && c.Done[redirectResult] != ""
}

// maxRedirectResult is Adyen's bound, in characters.
const maxRedirectResult = 20_000

// ReadReturn takes the redirectResult that Adyen appends to the return URL.
func (*Connector) ReadReturn(query map[string][]string) (map[string]string, error) {
	values := query["redirectResult"]
	switch {
	case len(values) == 0:
		return nil, nil
	case len(values) != 1 || values[0] == "" || len(values[0]) > maxRedirectResult || !visible(values[0]):
		return nil, errors.New("adyen: redirectResult is malformed")
	}
	return map[string]string{redirectResult: values[0]}, nil
}
