package policy

import (
	"fmt"
	"strings"
	"testing"
)

// benchRules are rules as people write them: by merchant, route, amount, network.
// One in a hundred asks CEL where clock is true.
func benchRules(n int, clock bool) string {
	whens := []string{
		`mode == "live" && merchant == "mer_%d"`,
		`mode == "live" && route == "POST /v1/payments" && amount > %d00000`,
		`mode == "test" && merchant == "mer_%d"`,
		`route.startsWith("GET ") && key == "key_%d"`,
		`mode == "live" && currency in ["USD", "GBP"] && amount > %d`,
		`!inNetwork(ip, "10.0.0.0/8") && merchant == "mer_%d"`,
		`method == "card_token" && merchant == "mer_%d"`,
		`has(metadata.tier) && metadata.tier == "tier_%d"`,
		`mode == "live" && (channel == "recurring" || account == "acc_%d")`,
		`mode == "live" && tls == "1.3" && amount >= %d`, // holds
	}
	bodies := []string{
		"require: {tls: 1.3, networks: [10.0.0.0/8]}", "limit: {amount_max: {EUR: 500000, USD: 500000}}", "allow: {methods: [card_token, alipay]}",
		"require: {signature: true, idempotency: true}", "allow: {currencies: [EUR, USD]}",
	}
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range n {
		when := fmt.Sprintf(whens[i%len(whens)], i)
		if clock && i%100 == 50 {
			when = `mode == "live" && now.getHours() < 3`
		}
		fmt.Fprintf(&b, "- name: r%d\n  when: '%s'\n  %s\n", i, when, bodies[i%len(bodies)])
	}
	return b.String()
}

func BenchmarkDecide(b *testing.B) {
	for _, bb := range []struct {
		name  string
		rules string
	}{
		{"rules=0", "rules: []"},
		{"rules=10", benchRules(10, false)},
		{"rules=100", benchRules(100, false)},
		{"rules=100/one_by_CEL", benchRules(100, true)},
		{"rules=500", benchRules(500, false)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			s := ruleSet(b, bb.rules)
			in := anInput()
			if d := s.Decide(in); !d.Allowed {
				b.Fatalf("%+v", d)
			}
			b.ReportAllocs()
			for b.Loop() {
				s.Decide(in)
			}
		})
	}
}

// BenchmarkDecideByCEL is what the same rules cost where no shape is recognized.
func BenchmarkDecideByCEL(b *testing.B) {
	s := ruleSet(b, benchRules(100, false))
	for i := range s.rules {
		s.rules[i].when.quick, s.rules[i].when.complete = nil, false
	}
	in := anInput()
	b.ReportAllocs()
	for b.Loop() {
		s.Decide(in)
	}
}

// BenchmarkDearest is a decision over conditions that cost as much as they may.
func BenchmarkDearest(b *testing.B) {
	var text strings.Builder
	text.WriteString("rules:\n")
	for i := range 6 {
		fmt.Fprintf(&text, "- name: r%d\n  when: metadata.all(k, !metadata[k].contains(\"xxxxxxxxxxxxxxxxxxxxxxxxx\"))\n", i)
	}
	s := ruleSet(b, text.String())
	in := anInput()
	for i := range metadataKeys {
		in.Metadata[fmt.Sprintf("k%038d", i)] = strings.Repeat("y", metadataValue)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Decide(in)
	}
}

func BenchmarkLoad(b *testing.B) {
	text := benchRules(100, true)
	b.ReportAllocs()
	for b.Loop() {
		ruleSet(b, text)
	}
}
