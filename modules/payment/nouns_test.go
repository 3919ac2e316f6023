package payment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestIDs(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_800_000_000_000)
	g := IDs{Now: func() time.Time { return now }}
	last := ""
	for range 10_000 { // more than the 12-bit counter of one millisecond
		id := g.New(PrefixPayment)
		if !IsID(PrefixPayment, id) {
			t.Fatalf("%q is no payment ID", id)
		}
		if id <= last {
			t.Fatalf("%q does not sort after %q", id, last)
		}
		last = id
	}
	raw, err := crockford.DecodeString(strings.TrimPrefix(last, "pay_"))
	if err != nil || raw[6]>>4 != 7 || raw[8]>>6 != 2 {
		t.Errorf("% x, %v: not a UUIDv7 of RFC 9562's variant", raw, err)
	}
	now = now.Add(-time.Hour) // a clock that is set back must not unsort
	if id := g.New(PrefixPayment); id <= last {
		t.Errorf("%q does not sort after %q", id, last)
	}
}

func TestIDTime(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_800_000_000_123)
	id := (&IDs{Now: func() time.Time { return now }}).New(PrefixKey)
	for s, want := range map[string]time.Time{
		id: now, "": {}, "key_": {}, "key": {}, id[:len(id)-1]: {}, id + "0": {}, strings.ToUpper(id): {}, "key_" + strings.Repeat("u", 26): {},
		"key_" + strings.Repeat("0", 26): time.UnixMilli(0), "key_" + strings.Repeat("z", 26): time.UnixMilli(1<<48 - 1),
	} {
		if got := IDTime(s); !got.Equal(want) {
			t.Errorf("IDTime(%q) = %s, want %s", s, got, want)
		}
	}
}

func TestIsID(t *testing.T) {
	t.Parallel()
	good := "pay_" + strings.Repeat("0", 26)
	for s, want := range map[string]bool{
		good: true, "re_" + good[4:]: false, good + "0": false, good[:29]: false,
		"pay_" + strings.Repeat("I", 26): false, "pay_" + strings.Repeat("l", 26): false, "": false, "pay_": false,
	} {
		if got := IsID(PrefixPayment, s); got != want {
			t.Errorf("IsID(%q) = %v, want %v", s, got, want)
		}
	}
}

func TestSensitiveNeverPrints(t *testing.T) {
	t.Parallel()
	const canary = "4242424242424242"
	s := NewSensitive(canary)
	m := Method{Type: MethodCard, Card: &Card{Number: s, CVC: s}, AuthCode: s}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", slog.Any("sensitive", s), slog.Any("method", m))
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", slog.Any("sensitive", s), slog.Any("method", m))
	out := log.String()
	hidden := struct{ m Method }{m}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		out += fmt.Sprintf(verb, s) + fmt.Sprintf(verb, m) + fmt.Sprintf(verb, &m) + fmt.Sprintf(verb, m.Card) + fmt.Sprintf(verb, hidden) + fmt.Sprintf(verb, &hidden)
	}
	if strings.Contains(out, canary) || strings.Contains(out, fmt.Sprintf("%x", canary)) {
		t.Errorf("a card number got out: %s", out)
	}
	if _, err := json.Marshal(m); !errors.Is(err, ErrSensitive) {
		t.Errorf("json.Marshal: got %v, want ErrSensitive", err)
	}
	if got := s.Reveal(); got != canary {
		t.Errorf("Reveal: got %q", got)
	}
	sum := m.Summary()
	b, err := json.Marshal(sum)
	if err != nil || strings.Contains(string(b), canary) || sum.Last4 != "4242" || sum.BIN6 != "424242" || sum.Brand != "visa" {
		t.Errorf("summary %s, %v", b, err)
	}
}

func TestFindPAN(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"4242424242424242":                    "4242424242424242",
		"card 4242 4242 4242 4242 please":     "4242 4242 4242 4242",
		"4242-4242-4242-4242":                 "4242-4242-4242-4242",
		"378282246310005":                     "378282246310005",
		"order 12 4242 4242 4242 4242":        "4242 4242 4242 4242",
		"4242 4242 4242 4242 12/30":           "4242 4242 4242 4242",
		"4242424242424241":                    "", // Luhn
		"1234567890123452":                    "", // no issuer begins with 1
		"42424242424242424242424242424242":    "", // too long a run of digits
		"00004242424242424242":                "",
		"pay_01jd4242":                        "",
		"":                                    "",
		strings.Repeat("0", 5000):             "",
		"phone +44 20 7946 0958":              "",
		"6011111111111117, 5555555555554444,": "6011111111111117",
	} {
		a, b, ok := FindPAN(in)
		if ok != (want != "") || ok && in[a:b] != want {
			t.Errorf("FindPAN(%q) = %q, %v; want %q", in, in[a:b], ok, want)
		}
	}
	if got := MaskPANs("x 4242424242424242 y 5555555555554444"); got != "x [redacted] y [redacted]" {
		t.Errorf("MaskPANs: got %q", got)
	}
}

func FuzzMaskPANs(f *testing.F) {
	f.Add("4242 4242 4242 4242")
	f.Add("0 4-2 4242 4242 4242 4242 4")
	f.Fuzz(func(t *testing.T, s string) {
		if _, _, ok := FindPAN(MaskPANs(s)); ok {
			t.Fatalf("%q still holds a card number", s)
		}
	})
}

func TestClean(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":                                  "plain",
		"<html><body>502</body></html>":          "",
		"a\x00b\r\nc":                            "a b c",
		"bad \xff utf8":                          "bad utf8",
		"card 4242424242424242 no":               "card [redacted] no",
		strings.Repeat("é", maxPSPMessage+50):    strings.Repeat("é", maxPSPMessage),
		strings.Repeat("x", maxPSPMessage*8+100): strings.Repeat("x", maxPSPMessage),
	} {
		if got := clean(in, maxPSPMessage); got != want {
			t.Errorf("clean(%.40q) = %.40q, want %.40q", in, got, want)
		}
	}
}

// Every code has a row, every row a text, and no code has two.
func TestTables(t *testing.T) {
	t.Parallel()
	if len(failureInfo) != len(Failures) || len(codeInfo) != len(Codes) {
		t.Error("a code stands twice in its table")
	}
	for _, f := range Failures {
		if f.Message == "" || f.Advice == "" || f.Code.Info() != f {
			t.Errorf("%+v", f)
		}
		if f.Elsewhere && (f.Code == InsufficientFunds || f.Code == StolenCard || f.Code == CardDeclined || f.Code == SuspectedFraud) {
			t.Errorf("%s: the issuer has spoken, and would be asked again elsewhere", f.Code)
		}
	}
	for _, c := range Codes {
		if c.Status < 400 || c.Status > 599 || c.Title == "" || c.Code.Info() != c {
			t.Errorf("%+v", c)
		}
	}
}

func TestAmounts(t *testing.T) {
	t.Parallel()
	p := Payment{
		Status: RequiresCapture, Charge: "a1", Amount: Money{1000, "EUR"},
		Attempts: []Attempt{
			{ID: "a1", Kind: KindAuthorize, Status: AttemptSucceeded, Authorized: 1000, Captured: 300},
			{ID: "a2", Kind: KindCapture, Charge: "a1", Status: AttemptPending, Amount: 200},
			{ID: "a3", Kind: KindCapture, Charge: "a1", Status: AttemptFailed, Amount: 100},
		},
		Refunds: []Refund{
			{Attempt: "r1", Amount: 50, Status: RefundSucceeded},
			{Attempt: "r2", Amount: 70, Status: RefundPending},
			{Attempt: "r3", Amount: 20, Status: RefundFailed},
		},
	}
	if got := [...]int64{p.AmountCaptured(), p.AmountCapturable(), p.AmountUncaptured(), p.AmountRefunded(), p.AmountReservedForRefund()}; got != [...]int64{300, 500, 700, 50, 70} {
		t.Errorf("got %v", got)
	}
	p.Attempts[1].Final = true // takes what is left with it, if it is done
	if got := [...]int64{p.AmountCapturable(), p.AmountFree()}; got != [...]int64{500, 0} {
		t.Errorf("beside a final capture %d is shown, and %d can be captured; want 500 and 0", got[0], got[1])
	}
	p.Attempts[1].Kind = KindVoid
	if got := [...]int64{p.AmountCapturable(), p.AmountFree()}; got != [...]int64{0, 0} {
		t.Errorf("beside a void %d is shown, and %d can be captured; want 0 and 0", got[0], got[1])
	}
	p.Status = Succeeded
	if got := p.AmountUncaptured(); got != 0 {
		t.Errorf("a succeeded payment has %d to capture", got)
	}
}
