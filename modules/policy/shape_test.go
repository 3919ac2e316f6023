package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/purser-pay/purser/modules/payment"
)

// texts are values of text variables, with their edges.
var texts = map[fact][]string{
	factMode: {"test", "live"}, factMerchant: {"mer_a", "mer_b", ""}, factKey: {"key_a", ""},
	factRoute: {"POST /v1/payments", "POST /v1/refunds", "GET /v1/payments/{id}", ""}, factMethod: {"card", "card_token", "alipay", ""},
	factCurrency: {"EUR", "USD", ""}, factIP: {"10.1.2.3", "10.0.0.1", "2001:db8::1", "", "2001:0db8::1", "invalid IP"},
	factTLS: {"1.2", "1.3", ""}, factChannel: {"moto", "ecommerce", ""}, factAccount: {"stripe", ""},
}

// drawCondition draws an expression of every shape, known and not.
func drawCondition(t *rapid.T, depth int) string {
	pick := func(from ...string) string { return rapid.SampledFrom(from).Draw(t, "part") }
	if depth > 0 && rapid.Bool().Draw(t, "composed") {
		a, b := drawCondition(t, depth-1), drawCondition(t, depth-1)
		switch rapid.IntRange(0, 5).Draw(t, "operator") {
		case 0, 1:
			return "(" + a + " && " + b + ")"
		case 2:
			return "(" + a + " || " + b + ")"
		case 3:
			return "!(" + a + ")"
		case 4:
			return "((" + a + ") == (" + b + "))"
		default:
			return "((" + a + ") ? (" + b + ") : mtls)"
		}
	}
	v := rapid.SampledFrom([]fact{factMode, factMerchant, factKey, factRoute, factMethod, factCurrency, factIP, factTLS, factChannel, factAccount}).Draw(t, "variable")
	name, text := variableOf[v].name, rapid.SampledFrom(texts[v]).Draw(t, "text")
	key := pick("tier", "none", "empty")
	n := pick("0", "5", "-5", "1999", "999999999999")
	leaves := []string{
		fmt.Sprintf("%s == %q", name, text),
		fmt.Sprintf("%q != %s", text, name),
		fmt.Sprintf("%s in [%q, %q]", name, text, texts[v][0]),
		fmt.Sprintf("%s in [%q, merchant]", name, text),
		fmt.Sprintf("%s.%s(%q)", name, pick("startsWith", "endsWith", "contains"), pick("", "a", text)),
		fmt.Sprintf("amount %s %s", pick("==", "!=", "<", "<=", ">", ">="), n),
		fmt.Sprintf("%s %s amount", n, pick("==", "!=", "<", "<=", ">", ">=")),
		fmt.Sprintf("metadata.%s %s %q", key, pick("==", "!="), pick("gold", "")),
		fmt.Sprintf("%q == metadata[%q]", pick("gold", ""), key),
		fmt.Sprintf("has(metadata.%s)", key),
		fmt.Sprintf("%q in metadata", key),
		fmt.Sprintf("inNetwork(ip, %q)", pick("10.0.0.0/8", "10.1.2.3/32", "2001:db8::/32", "0.0.0.0/0", "::/0")),
		pick("signature", "mtls", "dpop", "idempotency", "true", "false"),
		// Not recognized.
		"amount / " + n + " == 1",
		"key_age > duration(\"1h\")",
		"now.getHours() == 4",
		"merchant == key",
		"metadata.exists(k, metadata[k] == \"gold\")",
		"size(metadata." + key + ") > 0",
	}
	return rapid.SampledFrom(leaves).Draw(t, "leaf")
}

func drawInput(t *rapid.T) *Input {
	text := func(f fact) string { return rapid.SampledFrom(texts[f]).Draw(t, variableOf[f].name) }
	in := &Input{
		Mode: payment.Mode(text(factMode)), Merchant: text(factMerchant), Key: text(factKey), Route: text(factRoute),
		Method: payment.MethodType(text(factMethod)), Currency: payment.Currency(text(factCurrency)), TLS: text(factTLS),
		Channel: payment.Channel(text(factChannel)), Account: text(factAccount),
		Amount:    rapid.SampledFrom([]int64{0, 1, 5, 1999, payment.MaxMinor}).Draw(t, "amount"),
		Signature: rapid.Bool().Draw(t, "signature"), MTLS: rapid.Bool().Draw(t, "mtls"), DPoP: rapid.Bool().Draw(t, "dpop"),
		Idempotency: rapid.Bool().Draw(t, "idempotency"), Now: anInput().Now,
		CardNumber: rapid.Bool().Draw(t, "card_number"), TestCard: rapid.Bool().Draw(t, "test_card"),
		Proxy: rapid.SampledFrom([]string{"", "", "GET /v1/charges/ch_1", "POST /v1/charges"}).Draw(t, "proxy"),
	}
	in.IP, _ = netip.ParseAddr(rapid.SampledFrom([]string{"10.1.2.3", "2001:db8::1", "::ffff:10.0.0.1", ""}).Draw(t, "ip"))
	in.Metadata = rapid.SampledFrom([]map[string]string{nil, {"tier": "gold"}, {"empty": "", "tier": "x"}}).Draw(t, "metadata")
	if rapid.Bool().Draw(t, "known key") {
		in.KeyCreated = in.Now.Add(-rapid.SampledFrom([]time.Duration{0, time.Minute, 100 * time.Hour}).Draw(t, "age"))
	}
	return in
}

// TestShapesAgree holds that what is decided without CEL is what CEL decides.
func TestShapesAgree(t *testing.T) {
	t.Parallel()
	quick, complete := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		// One that is recognized whole and one in part, and whatever comes.
		for _, when := range []string{`merchant == "mer_1"`, `merchant == "mer_1" && now.getHours() == 4`, drawCondition(t, 3)} {
			c, slips := compileCondition(when)
			if len(slips) > 0 {
				if !strings.Contains(slips[0].message, "is never") {
					t.Fatalf("%s: %v", when, slips)
				}
				continue
			}
			if c.quick != nil {
				quick++
			}
			if c.complete {
				complete++
			}
			agrees(t, when, &c)
		}
	})
	if quick == 0 || complete == 0 || quick == complete {
		t.Errorf("of all, %d were recognized in part and %d whole: that compares nothing", quick, complete)
	}
}

// agrees compares a condition's decisions with CEL's, over some inputs.
func agrees(t *rapid.T, when string, c *condition) {
	t.Helper()
	for range 8 {
		in := drawInput(t)
		want := evaluated(c.evaluate(newFacts(in)))
		if got := evaluated(c.holds(newFacts(in))); got != want {
			t.Fatalf("%s over %+v: got %v, want %v as CEL has it", when, *in, got, want)
		}
		if c.quick == nil {
			continue
		}
		if got := c.quick(newFacts(in)); c.complete && got != want || got == no && want != no {
			t.Fatalf("%s over %+v: the shape says %v, CEL %v", when, *in, got, want)
		}
	}
}

// TestShapes holds that the conditions that people write are decided without CEL.
func TestShapes(t *testing.T) {
	t.Parallel()
	for when, complete := range map[string]bool{
		`mode == "live"`: true,
		`mode == "live" && route == "POST /v1/payments" && amount > 50000`:    true,
		`route.startsWith("POST ") && (currency in ["EUR", "USD"] || mtls)`:   true,
		`mode == "live" && !inNetwork(ip, "10.0.0.0/8")`:                      true,
		`merchant in ["mer_a", "mer_b"] && has(metadata.tier)`:                true,
		`has(metadata.tier) && metadata.tier == "gold"`:                       true,
		`mode == "live" && (now.getHours() < 6 || now.getHours() > 20)`:       false,
		`metadata.exists(k, k == "tier") && mode == "live" && amount > 50000`: false,
	} {
		c, slips := compileCondition(when)
		if len(slips) > 0 {
			t.Fatalf("%s: %v", when, slips)
		}
		if c.quick == nil || c.complete != complete {
			t.Errorf("%s: recognized %v, whole %v; want whole %v", when, c.quick != nil, c.complete, complete)
		}
	}
	for _, when := range []string{`now.getHours() < 6`, `mtls || now.getHours() < 6`, `merchant == key`} {
		if c, _ := compileCondition(when); c.quick != nil {
			t.Errorf("%s was recognized", when)
		}
	}
}
