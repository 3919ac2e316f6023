package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/purser-pay/purser/modules/payment"
)

// builder reads what a rule demands, and makes checks of it.
type builder struct {
	*reader
	to *rule
}

func (b builder) add(c check) { b.to.checks = append(b.to.checks, c) }

// deny reads deny: true, by which every request that the condition holds for is
// refused.
func (b builder) deny(n *yaml.Node) {
	if v, ok := b.boolean(n, "deny"); !ok || !v {
		return
	}
	b.add(check{
		name: "deny", rank: rankDeny, want: "true",
		holds: func(*facts) bool { return false }, got: func(*facts) string { return "" },
		detail: "A policy refuses this call.",
	})
}

func (b builder) require(n *yaml.Node) {
	flag := func(name string, f fact, detail string) field {
		return field{name, func(n *yaml.Node) {
			if v, ok := b.boolean(n, "require."+name); !ok || !v {
				return // false demands nothing, and takes back nothing that another rule demands
			}
			b.add(check{
				name: "require." + name, rank: rankRequire, fact: f, want: "true",
				holds:  func(x *facts) bool { return x.flag(f) },
				got:    func(x *facts) string { return strconv.FormatBool(x.flag(f)) },
				detail: detail,
			})
		}}
	}
	b.mapping(n, "require",
		flag("signature", factSignature, "The policy takes signed requests only."),
		flag("mtls", factMTLS, "The policy takes requests with a client certificate only."),
		flag("dpop", factDPoP, "The policy takes requests with a DPoP proof only."),
		flag("idempotency", factIdempotency, "The policy takes requests with an Idempotency-Key only."),
		field{"tls", b.tls},
		field{"key_age_max", b.keyAge},
		field{"networks", b.networks},
	)
}

// tls takes 1.3 with quotes and without: no other number is meant.
func (b builder) tls(n *yaml.Node) {
	least := n.Value
	if n.Kind != yaml.ScalarNode || least != "1.2" && least != "1.3" {
		b.fault(n, `require.tls is "1.2" or "1.3", not %s`, shown(n))
		return
	}
	b.add(check{
		name: "require.tls", rank: rankRequire, fact: factTLS, want: least,
		holds:  func(f *facts) bool { return f.in.TLS == "1.3" || f.in.TLS == least },
		got:    func(f *facts) string { return f.in.TLS },
		detail: "The policy takes requests over TLS " + least + " or newer only.",
	})
}

func (b builder) keyAge(n *yaml.Node) {
	text, ok := b.text(n, "require.key_age_max")
	if !ok {
		return
	}
	most, err := time.ParseDuration(text)
	if err != nil || most < time.Second || most > maxKeyAge {
		b.fault(n, "require.key_age_max is 1s … %s, such as 2160h for 90 days, not %.40q", "87840h", text)
		return
	}
	b.add(check{
		name: "require.key_age_max", rank: rankRequire, fact: factKeyAge, want: text,
		holds: func(f *facts) bool {
			age, known := f.keyAge()
			return known && age <= most
		},
		got: func(f *facts) string {
			if age, known := f.keyAge(); known {
				return age.String()
			}
			return "not known"
		},
		detail: "The API key is older than the policy allows. Rotate it.",
	})
}

func (b builder) networks(n *yaml.Node) {
	var networks []netip.Prefix
	var texts []string
	ok := b.list(n, "require.networks", MaxList, func(n *yaml.Node) {
		text, ok := b.text(n, "a network")
		if !ok {
			return
		}
		p, err := parseNetwork(text)
		if err != nil {
			b.fault(n, "require.networks: %v", err)
			return
		}
		networks, texts = append(networks, p), append(texts, text)
	})
	if ok && len(n.Content) == 0 {
		b.fault(n, "require.networks is empty; deny: true refuses everybody")
	}
	b.add(check{
		name: "require.networks", rank: rankRequire, fact: factIP, want: strings.Join(texts, " "),
		holds: func(f *facts) bool {
			return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(f.ip) })
		},
		got:    func(f *facts) string { return f.text(factIP) },
		detail: "The policy does not take requests from this address.",
	})
}

func (b builder) limit(n *yaml.Node) {
	b.mapping(n, "limit",
		field{"amount_max", b.amountMax},
		field{"daily_amount", b.dailyAmount},
		field{"rate", func(n *yaml.Node) {
			b.table(n, "limit.rate", func(key, value *yaml.Node) {
				s := Scope(key.Value)
				if !slices.Contains(scopes, s) {
					b.fault(key, "limit.rate has no scope %.40q, but %v", key.Value, scopes)
					return
				}
				for _, rate := range b.rate(value, "limit.rate."+key.Value) {
					b.to.rates = append(b.to.rates, Rate{Scope: s, Rate: rate})
				}
			})
		}},
	)
}

// amountMax bounds the currencies that it lists; allow.currencies refuses others.
// An amount without a currency cannot be compared, and is refused.
func (b builder) amountMax(n *yaml.Node) {
	amounts := b.amounts(n, "limit.amount_max", maxAmount)
	b.add(b.amountCheck("limit.amount_max", amounts, "The amount is over what the policy allows for one call."))
}

// dailyAmount is counted by the caller; that one call alone is over it is seen
// here.
func (b builder) dailyAmount(n *yaml.Node) {
	amounts := b.amounts(n, "limit.daily_amount", maxDaily)
	for c, limit := range amounts {
		b.to.daily = append(b.to.daily, Quota{Currency: c, Limit: limit})
	}
	slices.SortFunc(b.to.daily, func(a, b Quota) int { return strings.Compare(string(a.Currency), string(b.Currency)) })
	b.add(b.amountCheck("limit.daily_amount", amounts, "The amount is over what the policy allows for a day."))
}

func (builder) amountCheck(name string, amounts map[payment.Currency]int64, detail string) check {
	var want []string
	for c, limit := range amounts {
		want = append(want, fmt.Sprintf("%s %d", c, limit))
	}
	slices.Sort(want)
	return check{
		name: name, rank: rankAmount, fact: factAmount, want: strings.Join(want, ", "), detail: detail,
		holds: func(f *facts) bool {
			if f.in.Amount == 0 {
				return true
			}
			limit, listed := amounts[f.in.Currency]
			return f.in.Currency != "" && (!listed || f.in.Amount <= limit)
		},
		got: func(f *facts) string {
			if f.in.Amount == 0 {
				return ""
			}
			return strings.TrimSpace(fmt.Sprintf("%s %d", f.in.Currency, f.in.Amount))
		},
		limit: func(f *facts) int64 { return amounts[f.in.Currency] },
	}
}

func (b builder) allow(n *yaml.Node) {
	b.mapping(n, "allow",
		field{"card_numbers", b.cardNumbers},
		field{"methods", func(n *yaml.Node) {
			b.allowed(n, "allow.methods", factMethod, b.method, "The policy does not take this payment method.")
		}},
		field{"currencies", func(n *yaml.Node) {
			b.allowed(n, "allow.currencies", factCurrency, func(n *yaml.Node) (string, bool) {
				c, ok := b.currency(n)
				return string(c), ok
			}, "The policy does not take this currency.")
		}},
		field{"proxy", b.proxy},
	)
}

// cardNumbers makes a check where numbers are refused; where they are taken, the
// built-in rules are lifted.
func (b builder) cardNumbers(n *yaml.Node) {
	v, ok := b.boolean(n, "allow.card_numbers")
	if !ok {
		return
	}
	b.to.cards = cardsTaken
	b.set.uses[factCardNumber] = true
	if v {
		return
	}
	b.to.cards = cardsRefused
	b.add(check{
		name: "allow.card_numbers", rank: rankAllow, fact: factCardNumber, want: "false",
		holds:  func(f *facts) bool { return !f.in.CardNumber },
		got:    func(f *facts) string { return strconv.FormatBool(f.in.CardNumber) },
		detail: "The policy does not take card numbers. Use a token of the payment provider.",
	})
}

// method takes any name: connectors outside this repository have their own.
func (b builder) method(n *yaml.Node) (string, bool) {
	text, ok := b.text(n, "a payment method")
	if ok && !methodName(text) {
		b.fault(n, "%.40q is no payment method, such as card_token", text)
		return "", false
	}
	return text, ok
}

func methodName(s string) bool {
	return s != "" && len(s) <= shortText && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// allowed makes a check of a list. An empty list allows nothing.
func (b builder) allowed(n *yaml.Node, name string, about fact, read func(*yaml.Node) (string, bool), detail string) {
	var texts []string
	b.list(n, name, MaxList, func(n *yaml.Node) {
		text, ok := read(n)
		switch {
		case !ok:
		case slices.Contains(texts, text):
			b.fault(n, "%s has %s twice", name, text)
		default:
			texts = append(texts, text)
		}
	})
	b.add(check{
		name: name, rank: rankAllow, fact: about, want: strings.Join(texts, " "), detail: detail,
		holds: func(f *facts) bool {
			text := f.text(about)
			return text == "" || slices.Contains(texts, text)
		},
		got: func(f *facts) string { return f.text(about) },
	})
}

// proxy makes a check that the call is on the list, and tells that there is one.
func (b builder) proxy(n *yaml.Node) {
	var patterns []pattern
	var texts []string
	b.list(n, "allow.proxy", MaxList, func(n *yaml.Node) {
		text, ok := b.text(n, "a call")
		if !ok {
			return
		}
		p, err := parsePattern(text)
		if err != nil {
			b.fault(n, "allow.proxy: %v", err)
			return
		}
		patterns, texts = append(patterns, p), append(texts, text)
	})
	b.to.proxied = true
	b.add(check{
		name: "allow.proxy", rank: rankAllow, fact: factProxy, want: strings.Join(texts, ", "),
		holds: func(f *facts) bool {
			return f.in.Proxy == "" || slices.ContainsFunc(patterns, func(p pattern) bool { return p.matches(f.in.Proxy) })
		},
		got:    func(f *facts) string { return f.in.Proxy },
		detail: "The policy does not pass this call through.",
	})
}
