package adyen

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// Adyen's limits, in characters, and entries of metadata.
// Source: Checkout v72, PaymentRequest.
const (
	minShopper      = 3
	maxShopper      = 256
	maxStatement    = 22
	maxMeta         = 20
	maxMetaKey      = 20
	maxMetaValue    = 80
	maxEmail        = 256
	maxIP           = 50
	metaPayment     = "purser_payment" // our payment's ID
	cardType        = "scheme"         // what Adyen calls a card
	maxPostal       = 10
	maxPSPReference = 64 // Adyen's have 16
)

type (
	paymentRequest struct {
		MerchantAccount    string            `json:"merchantAccount"`
		Reference          string            `json:"reference"`
		Amount             money             `json:"amount"`
		PaymentMethod      cardMethod        `json:"paymentMethod"`
		ReturnURL          string            `json:"returnUrl"`
		ShopperInteraction string            `json:"shopperInteraction"`
		ProcessingModel    string            `json:"recurringProcessingModel,omitzero"`
		ShopperReference   string            `json:"shopperReference,omitzero"`
		CaptureDelayHours  *int              `json:"captureDelayHours,omitzero"`
		AdditionalData     map[string]string `json:"additionalData,omitempty"`
		Channel            string            `json:"channel,omitzero"`
		BrowserInfo        *browserInfo      `json:"browserInfo,omitzero"`
		ShopperIP          string            `json:"shopperIP,omitzero"`
		ShopperEmail       string            `json:"shopperEmail,omitzero"`
		BillingAddress     *address          `json:"billingAddress,omitzero"`
		OrderReference     string            `json:"merchantOrderReference,omitzero"`
		ShopperStatement   string            `json:"shopperStatement,omitzero"`
		Metadata           map[string]string `json:"metadata,omitempty"`
	}
	cardMethod struct {
		Type        string `json:"type"`
		Number      string `json:"number,omitzero"`
		ExpiryMonth string `json:"expiryMonth,omitzero"`
		ExpiryYear  string `json:"expiryYear,omitzero"`
		CVC         string `json:"cvc,omitzero"`
		HolderName  string `json:"holderName,omitzero"`
		StoredID    string `json:"storedPaymentMethodId,omitzero"`
	}
	browserInfo struct {
		AcceptHeader   string `json:"acceptHeader"`
		ColorDepth     int    `json:"colorDepth"`
		JavaEnabled    bool   `json:"javaEnabled"`
		JavaScript     bool   `json:"javaScriptEnabled"`
		Language       string `json:"language"`
		ScreenHeight   int    `json:"screenHeight"`
		ScreenWidth    int    `json:"screenWidth"`
		TimeZoneOffset int    `json:"timeZoneOffset"`
		UserAgent      string `json:"userAgent"`
	}
	address struct {
		City       string `json:"city"`
		Country    string `json:"country"`
		House      string `json:"houseNumberOrName"`
		PostalCode string `json:"postalCode"`
		State      string `json:"stateOrProvince,omitzero"`
		Street     string `json:"street"`
	}
	modification struct {
		MerchantAccount  string `json:"merchantAccount"`
		Amount           *money `json:"amount,omitzero"`
		Reference        string `json:"reference"`
		PaymentReference string `json:"paymentReference,omitzero"`
		Reason           string `json:"merchantRefundReason,omitzero"`
	}
	detailsRequest struct {
		Details struct {
			RedirectResult string `json:"redirectResult"`
		} `json:"details"`
	}
)

// supported refuses what Adyen, or this connector, cannot do with a card.
func supported(op payment.Authorize) error {
	no := func(param, why string) error {
		return fmt.Errorf("adyen: %w", &connector.UnsupportedError{Param: param, Why: why})
	}
	switch {
	case op.Method.Type != payment.MethodCard && op.Method.Type != payment.MethodCardToken:
		return no("payment_method", "it is neither a card nor a card's token")
	case op.Method.Type == payment.MethodCardToken && !name(op.Method.Token, maxPSPReference):
		return no("payment_method", "the card's token is no storedPaymentMethodId")
	case op.Method.Type == payment.MethodCardToken && shopper(op) == "":
		return no("customer.id", "a stored card needs the shopperReference that it was stored under")
	case op.Channel == payment.ChannelInPerson:
		return no("channel", "payments in person need a terminal")
	case op.SetupFutureUsage != "":
		return no("setup_future_usage", "the gateway keeps no tokens")
	}
	return nil
}

// shopper is the shopperReference: the merchant's own ID of the customer.
func shopper(op payment.Authorize) string {
	if op.Customer == nil || len(op.Customer.ID) < minShopper || len(op.Customer.ID) > maxShopper || !visible(op.Customer.ID) {
		return ""
	}
	return op.Customer.ID
}

func (a *Connector) encodePayment(c connector.Call, op payment.Authorize) (*http.Request, error) {
	if err := supported(op); err != nil {
		return nil, err
	}
	amount, err := toAdyen(op.Amount)
	if err != nil {
		return nil, err
	}
	r := paymentRequest{
		MerchantAccount: a.MerchantAccount, Reference: c.Reference, Amount: amount, ReturnURL: returnURL(c, op),
		PaymentMethod: cardMethod{Type: cardType}, ShopperInteraction: "Ecommerce",
		ShopperStatement: statement(op.StatementDescriptor), OrderReference: cut(op.Reference, maxName), Metadata: metadata(op),
	}
	if op.Method.Type == payment.MethodCardToken {
		r.PaymentMethod.StoredID, r.ShopperReference, r.ProcessingModel = op.Method.Token, shopper(op), "CardOnFile"
	} else if err := r.PaymentMethod.fill(op.Method.Card); err != nil {
		return nil, err
	}
	switch {
	case op.OffSession && op.Method.Type == payment.MethodCardToken:
		r.ShopperInteraction, r.ProcessingModel = "ContAuth", "UnscheduledCardOnFile"
	case op.Channel == payment.ChannelMOTO:
		r.ShopperInteraction = "Moto"
	}
	// Both are said, so that the settings of the merchant account decide nothing.
	if op.Capture {
		r.CaptureDelayHours = new(int)
	} else {
		r.AdditionalData = map[string]string{"manualCapture": "true"}
	}
	r.payer(op)
	return a.post(c, "/payments", c.Key, r)
}

func (m *cardMethod) fill(card *payment.Card) error {
	if card == nil || card.Number.IsZero() || card.Number.Reveal() == payment.Redacted {
		return errors.New("adyen: the card number is gone")
	}
	m.Number, m.CVC, m.HolderName = card.Number.Reveal(), card.CVC.Reveal(), card.HolderName
	m.ExpiryMonth = fmt.Sprintf("%02d", card.ExpMonth)
	m.ExpiryYear = strconv.Itoa(card.ExpYear)
	return nil
}

// payer adds what 3-D Secure wants to know. What Adyen would refuse as
// incomplete is left out whole.
func (r *paymentRequest) payer(op payment.Authorize) {
	if b := op.Browser; b != nil && b.UserAgent != "" && b.Accept != "" && b.Language != "" && op.Channel != payment.ChannelMOTO {
		r.Channel = "Web"
		r.BrowserInfo = &browserInfo{
			AcceptHeader: b.Accept, ColorDepth: b.ColorDepth, JavaEnabled: b.Java, JavaScript: b.JavaScript, Language: b.Language,
			ScreenHeight: b.ScreenHeight, ScreenWidth: b.ScreenWidth, TimeZoneOffset: b.TimezoneOffset, UserAgent: b.UserAgent,
		}
	}
	if c := op.Customer; c != nil {
		if len(c.IP) <= maxIP {
			r.ShopperIP = c.IP
		}
		if len(c.Email) <= maxEmail {
			r.ShopperEmail = c.Email
		}
	}
	if b := op.Billing; b != nil && b.Line1 != "" && b.City != "" && b.PostalCode != "" && len(b.PostalCode) <= maxPostal && b.Country != "" {
		r.BillingAddress = &address{City: b.City, Country: b.Country, House: b.Line2, PostalCode: b.PostalCode, Street: b.Line1}
		if b.Line2 == "" {
			r.BillingAddress.House = "N/A" // wanted, and not known apart from the street
		}
		if len(b.State) <= 3 {
			r.BillingAddress.State = b.State
		}
	}
}

// returnURL is where the payer is sent back to; Adyen wants one even where nobody
// will be sent anywhere. It is never where webhooks go: those are no pages.
func returnURL(c connector.Call, op payment.Authorize) string {
	if op.ReturnURL != "" {
		return op.ReturnURL
	}
	return c.BaseURL
}

// metadata is the merchant's, as far as it fits, and our payment's ID.
func metadata(op payment.Authorize) map[string]string {
	m := map[string]string{}
	for k, v := range op.Metadata {
		if len(k) <= maxMetaKey && len(v) <= maxMetaValue && k != metaPayment {
			m[k] = v
		}
	}
	if len(m) >= maxMeta { // which of them would be left to chance
		clear(m)
	}
	if op.Payment != "" {
		m[metaPayment] = op.Payment
	}
	return m
}

// statement keeps the characters that Adyen allows.
func statement(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(" .,'_-?+*/", r) {
			return r
		}
		return -1
	}, s)
	return strings.TrimSpace(cut(s, maxStatement))
}

func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}

func (a *Connector) encodeCapture(c connector.Call, op payment.Capture) (*http.Request, error) {
	if !op.Final {
		return nil, errSeveral
	}
	return a.modify(c, op.Charge, "/captures", modification{}, &op.Amount)
}

func (a *Connector) encodeRefund(c connector.Call, op payment.GiveBack) (*http.Request, error) {
	m := modification{}
	switch op.Reason {
	case "duplicate":
		m.Reason = "DUPLICATE"
	case "fraudulent":
		m.Reason = "FRAUD"
	case "requested_by_customer":
		m.Reason = "CUSTOMER REQUEST"
	}
	return a.modify(c, op.Charge, "/refunds", m, &op.Amount)
}

// encodeCancel names the payment by Adyen's reference where that is known, and
// by ours where the answer was lost (the "technical cancel").
func (a *Connector) encodeCancel(c connector.Call, op payment.Void) (*http.Request, error) {
	if op.Charge.PSPReference != "" {
		return a.modify(c, op.Charge, "/cancels", modification{}, nil)
	}
	if op.Charge.Reference == "" {
		return nil, errors.New("adyen: a charge without any reference")
	}
	return a.post(c, "/cancels", c.Key, modification{
		MerchantAccount: a.MerchantAccount, Reference: c.Reference, PaymentReference: op.Charge.Reference,
	})
}

// modify builds the request that acts on a payment of which Adyen's reference
// is known.
func (a *Connector) modify(c connector.Call, charge payment.ChargeRef, what string, m modification, amount *payment.Money) (*http.Request, error) {
	switch {
	case charge.PSPReference == "":
		return nil, fmt.Errorf("adyen: a charge of which Adyen's reference is not known: %w", connector.ErrUnsupported)
	case !name(charge.PSPReference, maxPSPReference):
		return nil, errors.New("adyen: the charge's pspReference is malformed")
	}
	m.MerchantAccount, m.Reference = a.MerchantAccount, c.Reference
	if amount != nil {
		units, err := toAdyen(*amount)
		if err != nil {
			return nil, err
		}
		m.Amount = &units
	}
	return a.post(c, "/payments/"+charge.PSPReference+what, c.Key, m)
}

// encodeDetails hands in what the payer brought back. A repeat bears the same
// key: without one, Adyen refuses it with 704 and tells no outcome.
func (a *Connector) encodeDetails(c connector.Call, op payment.Sync) (*http.Request, error) {
	if !a.CanAsk(c) {
		return nil, fmt.Errorf("adyen: there is no query of a %s: %w", op.Of, connector.ErrUnsupported)
	}
	var r detailsRequest
	r.Details.RedirectResult = c.Done[redirectResult]
	sum := sha256.Sum256([]byte("details\n" + c.Reference + "\n" + r.Details.RedirectResult))
	return a.post(c, "/payments/details", hex.EncodeToString(sum[:16]), r)
}

func (a *Connector) post(c connector.Call, path, key string, body any) (*http.Request, error) {
	if key == "" {
		return nil, errors.New("adyen: no idempotency key")
	}
	r, err := a.request(c, path, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Idempotency-Key", key)
	return r, nil
}

func (a *Connector) request(c connector.Call, path string, body any) (*http.Request, error) {
	switch {
	case a.APIKey.Reveal() == "":
		return nil, errors.New("adyen: no api_key")
	case c.Livemode && a.LivePrefix == "" && c.BaseURL == a.Spec().LiveURL:
		return nil, errors.New("adyen: a live account needs live_prefix")
	}
	b, err := json.Marshal(body, json.Deterministic(true))
	if err != nil {
		return nil, errors.New("adyen: the request holds text that is not UTF-8") // the error may quote it
	}
	r, err := http.NewRequest(http.MethodPost, c.BaseURL+"/"+Version+path, bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("adyen: %w", err)
	}
	r.Header.Set("X-Api-Key", a.APIKey.Reveal())
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	return r, nil
}

// name tells letters and digits: what may stand in a path and in our store.
func name(s string, limit int) bool {
	return s != "" && len(s) <= limit &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}
