package policy

import (
	"net/netip"
	"time"

	"cel.dev/cel-go/cel"

	"github.com/purser-pay/purser/modules/payment"
)

// Input is everything that a decision is made from. What a request does not have
// stays zero.
type Input struct {
	Mode     payment.Mode
	Merchant string // its ID
	Key      string // the API key's ID; "" where the credential is none
	// Route is method and pattern, such as "POST /v1/payments".
	Route  string
	Method payment.MethodType // how the payer pays
	// Amount is in the currency's minor unit, and 0 where the call has none.
	Amount   int64
	Currency payment.Currency
	// IP is who sent the request; the zero Addr where that is not known, and no
	// rule about networks lets it pass.
	IP  netip.Addr
	TLS string // "1.2", "1.3", or "" where the request came without
	// What the request proved, each verified before.
	Signature, MTLS, DPoP bool
	// Idempotency tells that the request has an Idempotency-Key.
	Idempotency bool
	Channel     payment.Channel
	Account     string // the connector account that is pinned, or the proxy's
	Metadata    map[string]string
	Now         time.Time
	// KeyCreated is when the key was made; zero where that is not known, and no
	// rule about its age lets it pass.
	KeyCreated time.Time

	// CardNumber tells that the request holds a card number in the one field for
	// it, and TestCard that it is a published test number.
	CardNumber, TestCard bool
	// Proxy is the call that would be passed through to the PSP's own API:
	// method, a space, and the path as it would be sent, without its query. ""
	// where the request is no such call.
	Proxy string
}

// fact is something of a request that a rule can look at.
type fact uint8

// The variables of conditions come first, in the order of the contract; those
// behind metadata and now are ours.
const (
	factMode fact = iota
	factMerchant
	factKey
	factRoute
	factMethod
	factAmount
	factCurrency
	factIP
	factTLS
	factSignature
	factMTLS
	factChannel
	factMetadata
	factNow
	factDPoP
	factIdempotency
	factKeyAge
	factAccount
	// What rules look at and conditions do not.
	factCardNumber
	factProxy
	factCount
)

// variables is how many facts conditions may use.
const variables = factCardNumber

// variable describes a variable of conditions.
type variable struct {
	name string
	kind *cel.Type
	// size is the most that a value has, in characters or entries: the API takes
	// no more. The cost of a condition is estimated by it.
	size uint64
	// values are all that there are, where that is known: a comparison with
	// another is a slip, and its rule would silently never hold.
	values []string
}

// Bounds of metadata, by the API.
const (
	metadataKeys  = 50
	metadataKey   = 40  // characters
	metadataValue = 500 // characters
	shortText     = 64  // characters of an ID, a name
	longText      = 256 // characters of a route
)

var variableOf = [variables]variable{
	factMode:        {"mode", cel.StringType, shortText, []string{"test", "live"}},
	factMerchant:    {"merchant", cel.StringType, shortText, nil},
	factKey:         {"key", cel.StringType, shortText, nil},
	factRoute:       {"route", cel.StringType, longText, nil},
	factMethod:      {"method", cel.StringType, shortText, nil},
	factAmount:      {"amount", cel.IntType, 1, nil},
	factCurrency:    {"currency", cel.StringType, 3, currencies()},
	factIP:          {"ip", cel.StringType, shortText, nil},
	factTLS:         {"tls", cel.StringType, 3, []string{"", "1.2", "1.3"}},
	factSignature:   {"signature", cel.BoolType, 1, nil},
	factMTLS:        {"mtls", cel.BoolType, 1, nil},
	factChannel:     {"channel", cel.StringType, shortText, []string{"", "ecommerce", "in_person", "moto", "recurring"}},
	factMetadata:    {"metadata", cel.MapType(cel.StringType, cel.StringType), metadataKeys, nil},
	factNow:         {"now", cel.TimestampType, 1, nil},
	factDPoP:        {"dpop", cel.BoolType, 1, nil},
	factIdempotency: {"idempotency", cel.BoolType, 1, nil},
	factKeyAge:      {"key_age", cel.DurationType, 1, nil},
	factAccount:     {"account", cel.StringType, shortText, nil},
}

func currencies() []string {
	all := []string{""}
	for _, c := range payment.Currencies() {
		all = append(all, string(c))
	}
	return all
}

// factOf finds a fact by its name.
var factOf = func() map[string]fact {
	m := map[string]fact{"card_number": factCardNumber, "proxy": factProxy}
	for f, v := range variableOf {
		m[v.name] = fact(f)
	}
	return m
}()

// Variables lists the names that conditions may use.
func Variables() []string {
	names := make([]string, variables)
	for f, v := range variableOf {
		names[f] = v.name
	}
	return names
}
