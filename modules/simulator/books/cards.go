package books

import (
	"strings"

	"github.com/purser-pay/purser/modules/payment"
)

// Card is a magic card: a published test number and how it behaves. Numbers
// from 4000 0099 on are the simulator's own; the others are Stripe's
// (docs.stripe.com/testing).
type Card struct {
	Number string
	Token  string // stands for a stored method of this card at every moment
	Means  string // for the documentation

	Decline      *Failure // the attempt is refused
	OnCapture    *Failure // the authorization is fine, its capture is refused
	Challenge    Challenged
	After        *Failure // with Challenge: passed, and then refused
	Later        bool     // the attempt is processed asynchronously
	LaterFailure *Failure // with Later: and refused in the end
	RefundLater  bool     // refunds are pending first
	RefundFails  bool     // refunds succeed, and fail later
	MultiCapture bool
	Funding      string // "" = credit
}

// Challenged tells when a payer must pass 3-D Secure.
type Challenged uint8

// The cases.
const (
	ChallengeNever     Challenged = iota
	ChallengeSupported            // only where the merchant asks for it
	ChallengeOnSession            // unless the merchant says off_session
	ChallengeAlways
)

func declined(decline, message, advice, network string) *Failure {
	return &Failure{Code: "card_declined", DeclineCode: decline, Message: message, Advice: advice, NetworkCode: network}
}

const generic = "Your card was declined."

var (
	genericDecline    = declined("generic_decline", generic, "try_again_later", "01")
	insufficientFunds = declined("insufficient_funds", "Your card has insufficient funds.", "try_again_later", "51")
	fraudulent        = declined("fraudulent", generic, "do_not_try_again", "59")
)

// Cards is the whole table of magic cards, and the source of docs/simulator.md.
var Cards = []Card{
	{Number: "4242424242424242", Token: "pm_card_visa", Means: "approved"},
	{Number: "4000056655665556", Token: "pm_card_visa_debit", Means: "approved (debit)", Funding: "debit"},
	{Number: "5555555555554444", Token: "pm_card_mastercard", Means: "approved"},
	{Number: "2223003122003222", Token: "pm_card_mastercard_2", Means: "approved (2-series)"},
	{Number: "5200828282828210", Token: "pm_card_mastercard_debit", Means: "approved (debit)", Funding: "debit"},
	{Number: "5105105105105100", Token: "pm_card_mastercard_prepaid", Means: "approved (prepaid)", Funding: "prepaid"},
	{Number: "378282246310005", Token: "pm_card_amex", Means: "approved"},
	{Number: "371449635398431", Token: "pm_card_amex_2", Means: "approved"},
	{Number: "6011111111111117", Token: "pm_card_discover", Means: "approved"},
	{Number: "6011000990139424", Token: "pm_card_discover_2", Means: "approved"},
	{Number: "3056930009020004", Token: "pm_card_diners", Means: "approved"},
	{Number: "36227206271667", Token: "pm_card_diners_14", Means: "approved (14 digits)"},
	{Number: "3566002020360505", Token: "pm_card_jcb", Means: "approved"},
	{Number: "6200000000000005", Token: "pm_card_unionpay", Means: "approved"},
	{Number: "6205500000000000004", Token: "pm_card_unionpay_19", Means: "approved (19 digits)"},

	{Number: "4000000000000002", Token: "pm_card_visa_chargeDeclined", Means: "declined", Decline: genericDecline},
	{
		Number: "4000000000009995", Token: "pm_card_visa_chargeDeclinedInsufficientFunds", Means: "insufficient funds",
		Decline: insufficientFunds,
	},
	{
		Number: "4000000000009987", Token: "pm_card_visa_chargeDeclinedLostCard", Means: "lost card",
		Decline: declined("lost_card", generic, "do_not_try_again", "41"),
	},
	{
		Number: "4000000000009979", Token: "pm_card_visa_chargeDeclinedStolenCard", Means: "stolen card",
		Decline: declined("stolen_card", generic, "do_not_try_again", "43"),
	},
	{
		Number: "4000000000000069", Token: "pm_card_chargeDeclinedExpiredCard", Means: "expired card",
		Decline: &Failure{
			Code: "expired_card", Message: "Your card has expired.", Param: "exp_month",
			Advice: "do_not_try_again", NetworkCode: "54",
		},
	},
	{
		Number: "4000000000000127", Token: "pm_card_chargeDeclinedIncorrectCvc", Means: "incorrect CVC",
		Decline: &Failure{
			Code: "incorrect_cvc", Message: "Your card's security code is incorrect.", Param: "cvc",
			Advice: "confirm_card_data", NetworkCode: "N7",
		},
	},
	{
		Number: "4000000000000101", Token: "pm_card_cvcCheckFail", Means: "incorrect CVC where a CVC was given",
	},
	{
		Number: "4000000000000119", Token: "pm_card_chargeDeclinedProcessingError", Means: "processing error",
		Decline: &Failure{
			Code: "processing_error", Message: "An error occurred while processing your card. Try again in a little bit.",
			Advice: "try_again_later",
		},
	},
	{
		Number: "4000000000006975", Token: "pm_card_visa_chargeDeclinedVelocityLimitExceeded", Means: "velocity exceeded",
		Decline: declined("card_velocity_exceeded", "Your card was declined for making repeated attempts too frequently.", "try_again_later", "65"),
	},
	{
		Number: "4000000000000341", Token: "pm_card_chargeCustomerFail", Means: "storing works, charging is declined",
		Decline: genericDecline,
	},
	{Number: "4100000000000019", Token: "pm_card_radarBlock", Means: "blocked as fraud", Decline: fraudulent},
	{Number: "4000000000004954", Token: "pm_card_riskLevelHighest", Means: "blocked, highest risk", Decline: fraudulent},
	{Number: "4000000000009235", Token: "pm_card_riskLevelElevated", Means: "approved, elevated risk"},

	{Number: "4000000000003220", Token: "pm_card_threeDSecure2Required", Means: "3-D Secure required", Challenge: ChallengeAlways},
	{Number: "4000002760003184", Token: "pm_card_authenticationRequired", Means: "3-D Secure on every payment", Challenge: ChallengeAlways},
	{
		Number: "4000002500003155", Token: "pm_card_authenticationRequiredOnSetup", Means: "3-D Secure unless off_session",
		Challenge: ChallengeOnSession,
	},
	{
		Number: "4000003800000446", Token: "pm_card_authenticationRequiredSetupForOffSession", Means: "3-D Secure unless off_session (set up already)",
		Challenge: ChallengeOnSession,
	},
	{
		Number: "4000008400001629", Token: "pm_card_threeDSecureRequiredChargeDeclined", Means: "3-D Secure, then declined",
		Challenge: ChallengeAlways, After: genericDecline,
	},
	{
		Number: "4000008260003178", Token: "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds", Means: "3-D Secure, then insufficient funds",
		Challenge: ChallengeAlways, After: insufficientFunds,
	},
	{
		Number: "4000000000003055", Token: "pm_card_threeDSecureOptional", Means: "3-D Secure only where asked for",
		Challenge: ChallengeSupported,
	},

	{Number: "4000000000007726", Token: "pm_card_pendingRefund", Means: "refunds are pending, then succeed", RefundLater: true},
	{Number: "4000000000005126", Token: "pm_card_refundFail", Means: "refunds succeed, then fail", RefundFails: true},

	{Number: "4000009900000012", Token: "pm_card_later", Means: "processing, then approved", Later: true},
	{
		Number: "4000009900000020", Token: "pm_card_laterDeclined", Means: "processing, then insufficient funds",
		Later: true, LaterFailure: insufficientFunds,
	},
	{Number: "4000009900000038", Token: "pm_card_multicapture", Means: "approved, takes more than one capture", MultiCapture: true},
	{
		Number: "4000009900000046", Token: "pm_card_captureDeclined", Means: "authorized, capture refused (the hold has lapsed)",
		OnCapture: &Failure{Code: "charge_expired_for_capture", Message: "The authorization of this charge has expired: it can no longer be captured."},
	},
}

// FindCard finds a row by number or token.
func FindCard(name string) (*Card, bool) {
	for i := range Cards {
		if c := &Cards[i]; c.Number == name || c.Token == name {
			return c, true
		}
	}
	return nil, false
}

// Brand names the network of a card as Stripe writes it.
func (c *Card) Brand() string {
	if strings.HasPrefix(c.Number, "62") {
		return "unionpay"
	}
	return payment.Brand(c.Number)
}

// Last4 is what may be shown of a number.
func (c *Card) Last4() string { return c.Number[len(c.Number)-4:] }

// FundingType is credit unless the table says otherwise.
func (c *Card) FundingType() string {
	if c.Funding == "" {
		return "credit"
	}
	return c.Funding
}
