package adyen

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connector/connectortest"
	"github.com/purser-pay/purser/modules/payment"
)

// advised is a refusal as a merchant sees it.
type advised struct {
	code   payment.FailureCode
	advice payment.Advice
}

// documented states the whole mapping once more: the expectation is written
// down, not computed.
var documented = map[string]advised{
	"2":  {payment.CardDeclined, payment.UseAnotherMethod},
	"3":  {payment.CardDeclined, payment.UseAnotherMethod},
	"4":  {payment.ProcessingError, payment.RetryLater},
	"5":  {payment.PickupCard, payment.DoNotRetry},
	"6":  {payment.ExpiredCard, payment.UseAnotherMethod},
	"7":  {payment.LimitExceeded, payment.UseAnotherMethod},
	"8":  {payment.IncorrectNumber, payment.UseAnotherMethod},
	"9":  {payment.ProcessingError, payment.RetryLater},
	"10": {payment.CardNotSupported, payment.UseAnotherMethod},
	"11": {payment.AuthenticationFailed, payment.UseAnotherMethod},
	"12": {payment.InsufficientFunds, payment.UseAnotherMethod},
	"14": {payment.SuspectedFraud, payment.DoNotRetry},
	"15": {payment.CanceledByCustomer, payment.UseAnotherMethod},
	"16": {payment.CanceledByCustomer, payment.UseAnotherMethod},
	"17": {payment.AuthenticationFailed, payment.UseAnotherMethod},
	"18": {payment.AuthenticationFailed, payment.RetryLater},
	"19": {payment.AuthenticationFailed, payment.UseAnotherMethod},
	"20": {payment.SuspectedFraud, payment.DoNotRetry},
	"21": {payment.PSPRejectedRequest, payment.ContactSupport},
	"22": {payment.SuspectedFraud, payment.DoNotRetry},
	"23": {payment.CardDeclined, payment.DoNotRetry},
	"24": {payment.IncorrectCVC, payment.UseAnotherMethod},
	"25": {payment.CardDeclined, payment.DoNotRetry},
	"26": {payment.CardDeclined, payment.DoNotRetry},
	"27": {payment.CardDeclined, payment.UseAnotherMethod},
	"28": {payment.LimitExceeded, payment.RetryLater},
	"29": {payment.VelocityExceeded, payment.RetryLater},
	"31": {payment.SuspectedFraud, payment.DoNotRetry},
	"32": {payment.CardDeclined, payment.UseAnotherMethod},
	"33": {payment.AuthenticationRequired, payment.UseAnotherMethod},
	"34": {payment.CardNotSupported, payment.UseAnotherMethod},
	"35": {payment.CardNotSupported, payment.UseAnotherMethod},
	"36": {payment.AuthenticationRequired, payment.UseAnotherMethod},
	"37": {payment.CardDeclined, payment.RetryLater},
	"38": {payment.AuthenticationRequired, payment.UseAnotherMethod},
	"39": {payment.AuthenticationFailed, payment.RetryLater},
	"40": {payment.ProcessingError, payment.RetryLater},
	"41": {payment.AuthenticationRequired, payment.RetryLater},
	"42": {payment.AuthenticationFailed, payment.RetryLater},
	"46": {payment.VelocityExceeded, payment.DoNotRetry},
	"50": {payment.CardDeclined, payment.DoNotRetry},
}

func TestRefusalCodes(t *testing.T) {
	b, err := os.ReadFile("testdata/refusals.txt")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for code := range strings.Lines(string(b)) {
		code = strings.TrimSpace(code)
		if strings.HasPrefix(code, "#") {
			continue
		}
		count++
		want, ok := documented[code]
		if !ok {
			t.Errorf("%s is documented and not tested", code)
			continue
		}
		body, err := json.Marshal(map[string]string{"resultCode": "Refused", "refusalReason": "Why", "refusalReasonCode": code})
		if err != nil {
			t.Fatal(err)
		}
		call := connector.Call{Op: payment.Authorize{Amount: payment.Money{Minor: 1000, Currency: "EUR"}}, Reference: connectortest.Reference}
		r, err := account().Decode(call, connector.Response{StatusCode: http.StatusOK, Body: body})
		if err != nil || r.State != connector.Declined {
			t.Fatalf("%s: got %+v, %v; want declined", code, r, err)
		}
		if got := (advised{r.Failure.Code, r.Failure.Advice}); got != want || r.Failure.PSPCode != code {
			t.Errorf("%s: got %v under %q, want %v", code, got, r.Failure.PSPCode, want)
		}
	}
	if count != len(documented) || count != len(refusals) {
		t.Errorf("%d codes documented, %d tested, %d in the table", count, len(documented), len(refusals))
	}
}

func TestVerdictsAreInTheTable(t *testing.T) {
	for code, v := range refusals {
		if v.code.Info().Code != v.code {
			t.Errorf("%s maps to %q, which is not in payment.Failures", code, v.code)
		}
	}
	for code, f := range errorCodes {
		if f.Info().Code != f {
			t.Errorf("%s maps to %q, which is not in payment.Failures", code, f)
		}
	}
	for reason, code := range reasons {
		if _, ok := refusals[code]; !ok || strings.ToLower(reason) != reason {
			t.Errorf("the reason %q maps to %q, which is no refusal, or is not in lower case", reason, code)
		}
	}
}

func TestAmounts(t *testing.T) {
	for _, tt := range []struct {
		minor    int64
		currency payment.Currency
		want     int64 // 0 = not representable
	}{
		{1, "EUR", 1},
		{payment.MaxMinor, "EUR", payment.MaxMinor},
		{payment.MaxMinor + 1, "EUR", 0},
		{0, "EUR", 0},
		{-1, "EUR", 0},
		{500, "JPY", 500},
		{500, "UGX", 500},
		{500, "CLP", 50_000},
		{500, "ISK", 50_000},
		{payment.MaxMinor, "ISK", payment.MaxMinor * 100},
		{50_000, "CVE", 500},
		{50_050, "CVE", 0},
		{50_000, "IDR", 500},
		{50_001, "IDR", 0},
		{5123, "KWD", 5123},
		{1000, "SDG", 0},
		{1000, "XXX", 0},
	} {
		m := payment.Money{Minor: tt.minor, Currency: tt.currency}
		got, err := toAdyen(m)
		if (err != nil) != (tt.want == 0) || got.Value != tt.want {
			t.Errorf("%v: got %v, %v; want %d", m, got, err, tt.want)
		}
		if err != nil {
			continue
		}
		if back, err := fromAdyen(got); err != nil || back != m {
			t.Errorf("%v: sent %v, read %v, %v", m, got, back, err)
		}
	}
	for _, m := range []money{{"EUR", -1}, {"EUR", payment.MaxMinor + 1}, {"ISK", 50_050}, {"???", 1}, {"CVE", payment.MaxMinor}} {
		if got, err := fromAdyen(m); err == nil {
			t.Errorf("%v: got %v, want an error", m, got)
		}
	}
	for _, c := range currencies() {
		if c.Exponent() < 0 {
			t.Errorf("%s is listed and not active by ISO 4217", c)
		}
	}
}
