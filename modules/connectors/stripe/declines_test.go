package stripe

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// decline plays a 402 with these codes.
func decline(t *testing.T, e apiError) connector.Result {
	t.Helper()
	e.Type = typeCard
	body, err := json.Marshal(map[string]any{"error": map[string]string{
		"type": e.Type, "code": e.Code, "decline_code": e.DeclineCode, "message": e.Message,
		"advice_code": e.AdviceCode, "network_decline_code": e.NetworkDeclineCode,
	}})
	if err != nil {
		t.Fatal(err)
	}
	call := connector.Call{Op: payment.Authorize{Amount: payment.Money{Minor: 1000, Currency: "EUR"}}, Step: stepIntent}
	r, err := account().Decode(call, connector.Response{StatusCode: http.StatusPaymentRequired, Body: body})
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	if r.State != connector.Declined || r.Failure == nil {
		t.Fatalf("got %+v, want declined with a failure", r)
	}
	return r
}

// advised is a decline as a merchant sees it.
type advised struct {
	code   payment.FailureCode
	advice payment.Advice
}

// documented states the whole mapping once more: the expectation is written
// down, not computed.
var documented = map[string]advised{
	"approve_with_id":                       {payment.CardDeclined, payment.RetryLater},
	"authentication_not_handled":            {payment.AuthenticationRequired, payment.UseAnotherMethod},
	"authentication_required":               {payment.AuthenticationRequired, payment.UseAnotherMethod},
	"call_issuer":                           {payment.CardDeclined, payment.UseAnotherMethod},
	"card_not_supported":                    {payment.CardNotSupported, payment.UseAnotherMethod},
	"card_velocity_exceeded":                {payment.VelocityExceeded, payment.RetryLater},
	"currency_not_supported":                {payment.CurrencyNotSupported, payment.UseAnotherMethod},
	"do_not_honor":                          {payment.CardDeclined, payment.UseAnotherMethod},
	"do_not_try_again":                      {payment.CardDeclined, payment.DoNotRetry},
	"duplicate_transaction":                 {payment.DuplicateTransaction, payment.DoNotRetry},
	"expired_card":                          {payment.ExpiredCard, payment.UseAnotherMethod},
	"fraudulent":                            {payment.SuspectedFraud, payment.DoNotRetry},
	"generic_decline":                       {payment.CardDeclined, payment.UseAnotherMethod},
	"incorrect_address":                     {payment.CardDeclined, payment.UseAnotherMethod},
	"incorrect_cvc":                         {payment.IncorrectCVC, payment.UseAnotherMethod},
	"incorrect_number":                      {payment.IncorrectNumber, payment.UseAnotherMethod},
	"incorrect_pin":                         {payment.AuthenticationFailed, payment.UseAnotherMethod},
	"incorrect_zip":                         {payment.CardDeclined, payment.UseAnotherMethod},
	"insufficient_funds":                    {payment.InsufficientFunds, payment.UseAnotherMethod},
	"invalid_account":                       {payment.InvalidAccount, payment.UseAnotherMethod},
	"invalid_amount":                        {payment.LimitExceeded, payment.UseAnotherMethod},
	"invalid_cvc":                           {payment.IncorrectCVC, payment.UseAnotherMethod},
	"invalid_expiry_month":                  {payment.InvalidExpiry, payment.UseAnotherMethod},
	"invalid_expiry_year":                   {payment.InvalidExpiry, payment.UseAnotherMethod},
	"invalid_number":                        {payment.IncorrectNumber, payment.UseAnotherMethod},
	"invalid_pin":                           {payment.AuthenticationFailed, payment.UseAnotherMethod},
	"issuer_not_available":                  {payment.ProcessingError, payment.RetryLater},
	"lost_card":                             {payment.LostCard, payment.DoNotRetry},
	"merchant_blacklist":                    {payment.SuspectedFraud, payment.DoNotRetry},
	"mobile_device_authentication_required": {payment.AuthenticationRequired, payment.UseAnotherMethod},
	"new_account_information_available":     {payment.InvalidAccount, payment.UseAnotherMethod},
	"no_action_taken":                       {payment.CardDeclined, payment.UseAnotherMethod},
	"not_permitted":                         {payment.CardDeclined, payment.DoNotRetry},
	"offline_pin_required":                  {payment.AuthenticationRequired, payment.UseAnotherMethod},
	"online_or_offline_pin_required":        {payment.AuthenticationRequired, payment.UseAnotherMethod},
	"pickup_card":                           {payment.PickupCard, payment.DoNotRetry},
	"pin_try_exceeded":                      {payment.AuthenticationFailed, payment.UseAnotherMethod},
	"processing_error":                      {payment.ProcessingError, payment.RetryLater},
	"reenter_transaction":                   {payment.ProcessingError, payment.RetryLater},
	"restricted_card":                       {payment.CardDeclined, payment.DoNotRetry},
	"revocation_of_all_authorizations":      {payment.CardDeclined, payment.DoNotRetry},
	"revocation_of_authorization":           {payment.CardDeclined, payment.DoNotRetry},
	"security_violation":                    {payment.CardDeclined, payment.UseAnotherMethod},
	"service_not_allowed":                   {payment.CardDeclined, payment.UseAnotherMethod},
	"stolen_card":                           {payment.StolenCard, payment.DoNotRetry},
	"stop_payment_order":                    {payment.CardDeclined, payment.DoNotRetry},
	"testmode_decline":                      {payment.CardDeclined, payment.UseAnotherMethod},
	"transaction_not_allowed":               {payment.CardDeclined, payment.UseAnotherMethod},
	"try_again_later":                       {payment.CardDeclined, payment.RetryLater},
	"withdrawal_count_limit_exceeded":       {payment.LimitExceeded, payment.UseAnotherMethod},
}

func TestDeclineCodes(t *testing.T) {
	b, err := os.ReadFile("testdata/declines.txt")
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
		w, ok := documented[code]
		if !ok {
			t.Errorf("%s is documented and not tested", code)
			continue
		}
		f := decline(t, apiError{Code: "card_declined", DeclineCode: code}).Failure
		if got := (advised{f.Code, f.Advice}); got != w {
			t.Errorf("%s: got %v, want %v", code, got, w)
		}
		if f.PSPCode != code {
			t.Errorf("%s: PSP code is %q", code, f.PSPCode)
		}
	}
	if count != len(documented) {
		t.Errorf("%d codes documented, %d tested", count, len(documented))
	}
}

func TestErrorCodes(t *testing.T) {
	tests := map[string]struct {
		in   apiError
		want payment.Failure
	}{
		"code alone": {
			apiError{Code: "expired_card"},
			payment.Failure{Code: payment.ExpiredCard, Advice: payment.UseAnotherMethod, PSPCode: "expired_card"},
		},
		"unknown decline code, known code": {
			apiError{Code: "incorrect_cvc", DeclineCode: "new_cvc_reason"},
			payment.Failure{Code: payment.IncorrectCVC, Advice: payment.UseAnotherMethod, PSPCode: "new_cvc_reason"},
		},
		"nothing known": {
			apiError{Code: "new_code"},
			payment.Failure{Code: payment.CardDeclined, Advice: payment.UseAnotherMethod, PSPCode: "new_code"},
		},
		"the network's advice wins": {
			apiError{Code: "card_declined", DeclineCode: "generic_decline", AdviceCode: "do_not_try_again"},
			payment.Failure{Code: payment.CardDeclined, Advice: payment.DoNotRetry, PSPCode: "generic_decline"},
		},
		"advice to correct the data": {
			apiError{Code: "card_declined", DeclineCode: "try_again_later", AdviceCode: "confirm_card_data"},
			payment.Failure{Code: payment.CardDeclined, Advice: payment.UseAnotherMethod, PSPCode: "try_again_later"},
		},
		"network code": {
			apiError{Code: "card_declined", DeclineCode: "do_not_honor", NetworkDeclineCode: "05"},
			payment.Failure{Code: payment.CardDeclined, Advice: payment.UseAnotherMethod, PSPCode: "do_not_honor", NetworkDeclineCode: "05"},
		},
		"network code that is none": {
			apiError{Code: "card_declined", DeclineCode: "do_not_honor", NetworkDeclineCode: strings.Repeat("5", 17)},
			payment.Failure{Code: payment.CardDeclined, Advice: payment.UseAnotherMethod, PSPCode: "do_not_honor"},
		},
		"a message that holds a card number": {
			apiError{Code: "card_declined", Message: "4242 4242 4242 4242 was declined"},
			payment.Failure{Code: payment.CardDeclined, Advice: payment.UseAnotherMethod, PSPCode: "card_declined", PSPMessage: "[redacted] was declined"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := *decline(t, tt.in).Failure
			tt.want.Message = tt.want.Code.Info().Message
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestVerdictsAreInTheTable(t *testing.T) {
	for code, v := range verdicts {
		if v.code.Info().Code != v.code {
			t.Errorf("%s maps to %q, which is not in payment.Failures", code, v.code)
		}
	}
	for reason, code := range refundFailures {
		if code.Info().Code != code {
			t.Errorf("%s maps to %q, which is not in payment.Failures", reason, code)
		}
	}
}
