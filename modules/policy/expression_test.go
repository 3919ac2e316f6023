package policy

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// anInput is a request that has everything.
func anInput() *Input {
	now := time.Date(2026, 3, 2, 4, 5, 6, 0, time.UTC) // a Monday
	return &Input{
		Mode: "live", Merchant: "mer_a", Key: "key_a", Route: "POST /v1/payments", Method: "card_token", Amount: 1999,
		Currency: "EUR", IP: netip.MustParseAddr("10.1.2.3"), TLS: "1.3", Signature: true, Idempotency: true,
		Channel: "moto", Account: "stripe_eu", Metadata: map[string]string{"tier": "gold", "empty": ""}, Now: now,
		KeyCreated: now.Add(-48 * time.Hour),
	}
}

// TestConditions holds what conditions mean, and which fail.
func TestConditions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		when string
		want answer
	}{
		{`true`, yes},
		{`mode == "live" && merchant == "mer_a" && key == "key_a" && account == "stripe_eu"`, yes},
		{`route == "POST /v1/payments" && method == "card_token" && channel == "moto"`, yes},
		{`route.startsWith("GET ")`, no},
		{`amount >= 1999 && 2000 > amount && amount != 5 && amount % 1000 == 999`, yes},
		{`amount > 1999`, no},
		{`currency in ["EUR", "USD"]`, yes},
		{`!(currency in ["GBP"])`, yes},
		{`tls == "1.3" && signature && idempotency && !mtls && !dpop`, yes},
		{`signature == mtls`, no},
		{`mtls ? signature : idempotency`, yes},
		{`ip == "10.1.2.3"`, yes},
		{`inNetwork(ip, "10.0.0.0/8") && !inNetwork(ip, "10.1.2.4/32") && !inNetwork(ip, "2001:db8::/32")`, yes},
		{`metadata.tier == "gold" && metadata["tier"] == "gold" && "tier" in metadata && has(metadata.tier)`, yes},
		{`has(metadata.none)`, no},
		{`metadata.empty == ""`, yes},
		{`metadata.exists(k, k == "tier" && metadata[k] == "gold")`, yes},
		{`metadata.all(k, metadata[k] != "")`, no},
		{`size(metadata) == 2 && size(merchant) == 5`, yes},
		{`["tier", "empty"].exists_one(k, metadata[k] == "gold")`, yes},
		{`now > timestamp("2026-03-02T00:00:00Z") && now.getHours() == 4 && now.getDayOfWeek() == 1`, yes},
		{`key_age == duration("48h") && now - key_age < timestamp("2026-03-01T00:00:00Z")`, yes},
		{`merchant.matches("^mer_[a-z]$") && matches(route, "^POST /v1/(payments|refunds)$")`, yes},
		{`merchant.matches("er")`, yes}, // anywhere, as in all of CEL
		{`metadata.tier.matches("^g.l$")`, no},
		{`string(amount) == "1999" && string(mtls) == "false" && string(now).startsWith("2026-03-02T")`, yes},
		{`int("17") + 1 == 18 && int(double("2.9")) == 2 && int(now) > 1700000000`, yes},
		{`double("0.75") > 0.5 && double(amount) == 1999.0 && double("1e3") < 1000.5`, yes},
		// What fails, and what decides although a part fails.
		{`int(metadata.tier) > 5`, fails},
		{`double(metadata.empty) > 0.5`, fails},
		{`metadata.none.matches("a")`, fails},
		{`metadata.none == "x"`, fails},
		{`metadata.none != "x"`, fails},
		{`!(metadata.none == "x")`, fails},
		{`mtls || metadata.none == "x"`, fails},
		{`metadata.none == "x" && mtls`, no},
		{`metadata.none == "x" || signature`, yes},
		{`signature && metadata.none == "x"`, fails},
		{`amount / (amount - 1999) == 1`, fails},
		{`amount * 9223372036854775807 > 0`, fails},
		{`mtls && amount / 0 == 1`, no},
	} {
		c, slips := compileCondition(tt.when)
		if len(slips) > 0 {
			t.Errorf("%s: %v", tt.when, slips)
			continue
		}
		if got := evaluated(c.holds(newFacts(anInput()))); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.when, got, tt.want)
		}
	}
}

func evaluated(holds bool, err error) answer {
	if err != nil {
		return fails
	}
	return of(holds)
}

// TestUnknowns holds that what is not known makes a condition about it fail.
func TestUnknowns(t *testing.T) {
	t.Parallel()
	for _, when := range []string{
		`inNetwork(ip, "10.0.0.0/8")`, `!inNetwork(ip, "10.0.0.0/8")`, `inNetwork(ip, "10.0.0.0/8") == false`,
		`key_age > duration("1h")`, `key_age <= duration("1h")`,
	} {
		c, slips := compileCondition(when)
		if len(slips) > 0 {
			t.Fatalf("%s: %v", when, slips)
		}
		if got := evaluated(c.holds(newFacts(&Input{Now: time.Unix(5, 0)}))); got != fails {
			t.Errorf("%s over a request that has neither: got %v, want a failure", when, got)
		}
	}
}

// TestAddressForms holds that an address has one form.
func TestAddressForms(t *testing.T) {
	t.Parallel()
	c, _ := compileCondition(`ip == "10.1.2.3" && inNetwork(ip, "10.0.0.0/8")`)
	if got := evaluated(c.holds(newFacts(&Input{IP: netip.MustParseAddr("::ffff:10.1.2.3")}))); got != yes {
		t.Errorf("IPv4 in IPv6: got %v, want yes", got)
	}
	c, _ = compileCondition(`ip == "fe80::1" && inNetwork(ip, "fe80::/10")`)
	if got := evaluated(c.holds(newFacts(&Input{IP: netip.MustParseAddr("fe80::1%eth0")}))); got != yes {
		t.Errorf("an address with a zone: got %v, want yes", got)
	}
}

// TestConditionsRefused holds what conditions cannot do.
func TestConditionsRefused(t *testing.T) {
	t.Parallel()
	for when, want := range map[string]string{
		// Nothing of CEL's that costs much, or hides a type.
		`dyn(1) == 1`:                                               "no variable or function",
		`bytes(merchant) == b"1"`:                                   "no variable or function",
		`merchant.matches(metadata.pattern)`:                        "wants its pattern written out",
		`matches(merchant, mode)`:                                   "wants its pattern written out",
		`merchant.matches("(")`:                                     "missing closing )",
		`merchant.matches("(?=a)")`:                                 "invalid or unsupported Perl syntax",
		`merchant.matches("a{1001}")`:                               "invalid repeat count",
		`metadata.a.matches("(a{500}){2}")`:                         "cost too much",
		`metadata.all(k, metadata[k].matches("^[a-z]+-[0-9]{4}$"))`: "cost too much",
		`double(amount) * 1.2 > 5.0`:                                "no matching overload",
		`int(mtls) == 1`:                                            "no matching overload",
		`type(amount) == int`:                                       "no variable or function",
		`["a"].map(x, x) == ["a"]`:                                  "no variable or function",
		`["a"].filter(x, true) == ["a"]`:                            "no variable or function",
		`merchant + key == "ab"`:                                    "no matching overload",
		`["a"] + ["b"] == ["a", "b"]`:                               "no matching overload",
		`now.getHours("Europe/Berlin") == 1`:                        "no matching overload",
		`amount > 10.5`:                                             "no matching overload",
		`amount == 5u`:                                              "no matching overload",
		`metadata.tier > 5`:                                         "no matching overload",
		`metadata == {"a": 1}`:                                      "no matching overload",
		`amount in [1, "a"]`:                                        "expected type",
		`["a", 1].exists(x, x == x)`:                                "type",
		`payments.amount > 5`:                                       `no variable or function "payments"`,
		`Mode == "live"`:                                            `no variable or function "Mode"`,
		`mode`:                                                      "of type string, not bool",
		`[true]`:                                                    "of type list(bool), not bool",
		`null`:                                                      "of type null",
		`mode = "live"`:                                             "syntax error",
		`mode == 'live`:                                             "syntax error",
		`mode == "live" and mtls`:                                   "syntax error",
		`now > timestamp("yesterday")`:                              "timestamp",
		`key_age > duration("1 day")`:                               "duration",
		`inNetwork(ip, metadata.net)`:                               "wants its network written out",
		`inNetwork(ip, "10.0.0.1")`:                                 "is no network",
		`inNetwork(ip, "10.0.0.1/8")`:                               "write 10.0.0.0/8",
		`mode == "Live"`:                                            `mode is never "Live"`,
		`"prod" != mode`:                                            `mode is never "prod"`,
		`mode in ["live", "sandbox"]`:                               `mode is never "sandbox"`,
		`currency == "eur"`:                                         `currency is never "eur"`,
		`tls == "TLS1.3"`:                                           `tls is never "TLS1.3"`,
		`channel == "web"`:                                          `channel is never "web"`,
		strings.Repeat("(", 60) + "mtls" + strings.Repeat(")", 60):                         "",
		"mtls" + strings.Repeat(" && mtls", MaxExpression):                                 "more than 2048",
		`metadata.exists(a, metadata.exists(b, a == b))`:                                   "cost too much",
		`metadata.all(a, metadata.all(b, metadata.all(c, metadata[a] == metadata[b])))`:    "cost too much",
		`[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, metadata.all(c, c != "")))`: "cost too much",
	} {
		_, slips := compileCondition(when)
		if len(slips) == 0 {
			t.Errorf("%.60s was taken, want %q", when, want)
			continue
		}
		if len(slips) > maxSlips || !strings.Contains(slips[0].message, want) || len(slips[0].message) > 400 || strings.Contains(slips[0].message, "\n") {
			t.Errorf("%.60s: got %v, want %q", when, slips, want)
		}
	}
}

// TestCostOfASet holds that dear conditions may not add up. Those that are decided
// without CEL cost nothing.
func TestCostOfASet(t *testing.T) {
	t.Parallel()
	many := func(n int, when string) string {
		var b strings.Builder
		b.WriteString("rules:\n")
		for i := range n {
			b.WriteString("- name: r" + string(rune('a'+i/26)) + string(rune('a'+i%26)) + "\n  when: " + when + "\n")
		}
		return b.String()
	}
	dear := `metadata.all(k, !metadata[k].contains("xxxxxxxxxxxxxxxxxxxxx"))`
	_, err := loadText(many(20, dear))
	if got := faultsOf(t, err); len(got) != 1 || !strings.Contains(got[0], "all conditions may cost too much") {
		t.Errorf("got %q, want one fault about the cost", got)
	}
	for _, text := range []string{many(5, dear), many(MaxRules, `mode == "live" && amount > 5 && metadata.a == "b"`), many(MaxRules, `now.getHours() < 6`)} {
		if _, err := loadText(text); err != nil {
			t.Errorf("%.60s…: %v", text, err)
		}
	}
}

// TestCostAsItRuns holds that a request with more metadata than the API takes is
// refused, not worked through.
func TestCostAsItRuns(t *testing.T) {
	t.Parallel()
	s := ruleSet(t, "rules:\n- name: dear\n  when: metadata.exists(k, k == \"x\")\n")
	in := anInput()
	for i := range 10 * MaxCost {
		in.Metadata[time.Duration(i).String()] = ""
	}
	d := s.Decide(in)
	if d.Allowed || d.Rule != "dear" || d.Err == nil || !strings.Contains(d.Err.Error(), "cost limit exceeded") {
		t.Errorf("got %+v, want a refusal for its cost", d)
	}
}
