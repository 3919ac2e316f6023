package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/purser-pay/purser/modules/payment"
)

// A request is written down as a table of its variables, in tests as YAML and for
// explain as JSON. What is left out is absent: "", 0, false, {}.

// kind is what a value looks like in its file.
type kind uint8

const (
	kindText kind = iota
	kindNumber
	kindBool
	kindTable
	kindOther
)

// value is one value of such a table.
type value struct {
	kind  kind
	text  string
	table map[string]string
}

// given is a request that is being read.
type given struct {
	in     Input
	keyAge *time.Duration
	cards  *bool
}

func newGiven() *given { return &given{in: Input{TestCard: true}} }

// input finishes the request: where it does not say, now is the argument, and a
// payment by card is one by number, of a published test number.
func (g *given) input(now time.Time) *Input {
	in := g.in
	if in.Now.IsZero() {
		in.Now = now
	}
	if g.keyAge != nil {
		in.KeyCreated = in.Now.Add(-*g.keyAge)
	}
	in.CardNumber = in.Method == payment.MethodCard
	if g.cards != nil {
		in.CardNumber = *g.cards
	}
	return &in
}

// givenNames are the keys of such a table.
func givenNames() []string { return append(Variables(), "card_number", "test_card", "proxy") }

// set reads one variable.
func (g *given) set(name string, v value) error {
	if !slices.Contains(givenNames(), name) {
		return fmt.Errorf("there is no variable %.40q; there are %v", name, givenNames())
	}
	in := &g.in
	switch name {
	case "signature":
		return v.flag(&in.Signature)
	case "mtls":
		return v.flag(&in.MTLS)
	case "dpop":
		return v.flag(&in.DPoP)
	case "idempotency":
		return v.flag(&in.Idempotency)
	case "test_card":
		return v.flag(&in.TestCard)
	case "card_number":
		g.cards = new(bool)
		return v.flag(g.cards)
	case "amount":
		return v.amount(&in.Amount)
	case "metadata":
		return v.metadata(&in.Metadata)
	case "tls":
		if v.kind == kindNumber { // without quotes it is the same
			v.kind = kindText
		}
	}
	if v.kind != kindText {
		return errors.New("it is text; write it in quotes")
	}
	return g.setText(name, v.text)
}

func (g *given) setText(name, text string) (err error) {
	in := &g.in
	switch name {
	case "mode":
		in.Mode, err = payment.Mode(text), oneOf(factMode, text)
	case "merchant":
		in.Merchant = text
	case "key":
		in.Key = text
	case "route":
		in.Route = text
	case "method":
		in.Method = payment.MethodType(text)
	case "currency":
		in.Currency, err = payment.Currency(text), oneOf(factCurrency, text)
	case "ip":
		if in.IP, err = netip.ParseAddr(text); err != nil {
			return fmt.Errorf("%.60q is no address", text)
		}
	case "tls":
		in.TLS, err = text, oneOf(factTLS, text)
	case "channel":
		in.Channel, err = payment.Channel(text), oneOf(factChannel, text)
	case "account":
		in.Account = text
	case "proxy":
		in.Proxy = text
	case "now":
		if in.Now, err = time.Parse(time.RFC3339, text); err != nil {
			return fmt.Errorf("%.60q is no time such as 2026-01-31T12:00:00Z", text)
		}
	case "key_age":
		age, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%.60q is no duration such as 720h", text)
		}
		g.keyAge = &age
	}
	return err
}

// oneOf refuses a text that the variable never has.
func oneOf(f fact, text string) error {
	known := variableOf[f].values
	switch {
	case slices.Contains(known, text):
		return nil
	case len(known) < 10:
		return fmt.Errorf("%.40q is not one of %q", text, known)
	default:
		return fmt.Errorf("%.40q is not known", text)
	}
}

func (v value) flag(to *bool) error {
	if v.kind != kindBool {
		return errors.New("it is true or false")
	}
	*to = v.text == "true"
	return nil
}

func (v value) amount(to *int64) (err error) {
	if v.kind == kindNumber && decimal.MatchString(v.text) {
		if *to, err = strconv.ParseInt(v.text, 10, 64); err == nil && *to <= maxAmount {
			return nil
		}
	}
	return fmt.Errorf("it is a number in minor units, 0 … %d", int64(maxAmount))
}

func (v value) metadata(to *map[string]string) error {
	if v.kind != kindTable {
		return errors.New("it is a table of texts")
	}
	*to = v.table
	return nil
}
