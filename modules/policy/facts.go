package policy

import (
	"net/netip"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// facts is an input while a decision is made: with its address in one form, and
// with what CEL has asked for kept for the next condition.
type facts struct {
	in     *Input
	ip     netip.Addr
	ipText string
	values [variables]ref.Val
}

var factsPool = sync.Pool{New: func() any { return new(facts) }}

// newFacts is given back by release.
func newFacts(in *Input) *facts {
	f := factsPool.Get().(*facts)
	f.in, f.ip = in, in.IP.Unmap().WithZone("")
	return f
}

func (f *facts) release() {
	*f = facts{}
	factsPool.Put(f)
}

// text is the value of a variable that is a string.
func (f *facts) text(v fact) string {
	switch v {
	case factMode:
		return string(f.in.Mode)
	case factMerchant:
		return f.in.Merchant
	case factKey:
		return f.in.Key
	case factRoute:
		return f.in.Route
	case factMethod:
		return string(f.in.Method)
	case factCurrency:
		return string(f.in.Currency)
	case factTLS:
		return f.in.TLS
	case factChannel:
		return string(f.in.Channel)
	case factAccount:
		return f.in.Account
	case factIP:
		if f.ipText == "" && f.ip.IsValid() {
			f.ipText = f.ip.String()
		}
		return f.ipText
	default:
		return ""
	}
}

// flag is the value of a variable that is a bool.
func (f *facts) flag(v fact) bool {
	switch v {
	case factSignature:
		return f.in.Signature
	case factMTLS:
		return f.in.MTLS
	case factDPoP:
		return f.in.DPoP
	case factIdempotency:
		return f.in.Idempotency
	default:
		return false
	}
}

// keyAge is how long ago the key was made, and false where nobody knows.
func (f *facts) keyAge() (time.Duration, bool) {
	return f.in.Now.Sub(f.in.KeyCreated), !f.in.KeyCreated.IsZero()
}

var errKeyAge = types.NewErr("the key's age is not known")

// ResolveName implements CEL's Activation.
func (f *facts) ResolveName(name string) (any, bool) {
	v, ok := factOf[name]
	if !ok || v >= variables {
		return nil, false
	}
	if f.values[v] == nil {
		f.values[v] = f.value(v)
	}
	return f.values[v], true
}

// Parent implements CEL's Activation: there is none.
func (f *facts) Parent() cel.Activation { return nil }

func (f *facts) value(v fact) ref.Val {
	switch v {
	case factAmount:
		return types.Int(f.in.Amount)
	case factSignature, factMTLS, factDPoP, factIdempotency:
		return types.Bool(f.flag(v))
	case factMetadata:
		return types.NewStringStringMap(types.DefaultTypeAdapter, f.in.Metadata)
	case factNow:
		return types.Timestamp{Time: f.in.Now}
	case factKeyAge:
		age, known := f.keyAge()
		if !known {
			return errKeyAge
		}
		return types.Duration{Duration: age}
	default:
		return types.String(f.text(v))
	}
}
