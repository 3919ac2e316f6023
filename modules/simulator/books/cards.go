package books

import (
	"strings"
	"sync"

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
		Number: "4000008400001280", Token: "pm_card_threeDSecureLookupFails", Means: "3-D Secure cannot be asked, declined",
		Decline: genericDecline,
	},
	{Number: "4000000000003063", Token: "pm_card_threeDSecureRequired", Means: "3-D Secure required", Challenge: ChallengeAlways},
	{Number: "4000000000003097", Token: "pm_card_threeDSecureOptionalError", Means: "approved, without 3-D Secure"},
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
		Number: "4000009900000046", Token: "pm_card_captureDeclined", Means: "authorized, capture refused (the hold has lapsed, and is let go)",
		OnCapture: &Failure{Code: "charge_expired_for_capture", Message: "The authorization of this charge has expired: it can no longer be captured."},
	},
}

// approved are the further numbers that Stripe publishes, by brand, country and
// for disputes, which are not simulated: all of them are approved. Their token
// is pm_card_ and the number.
const approved = `
	6011981111111113 6200000000000047 4000000000000036 4000000000000010 4000000000000028 4000000000000259
	4000000000002685 4000000000001976 4000000000005423 4000000000000077 4000003720000278
	4000000320000021 4000000760000002 4000001240000000 4000001520000001 4000001700000003 4000001880000005
	4000002180000000 4000004840008001 4000005910000000 4000006000000066 4000006040000068 4000008580000003
	4000007840000001 5200007840000022 4000000400000008 4000000560000004 4000001000000000 4000001120000005
	4000001910000009 4000001960000008 4000002030000002 4000002080000001 4000002330000009 4000002460000001
	4000002500000003 4000002760000016 4000002920000005 4000003000000030 4000003480000005 4000003720000005
	4000003800000008 4000004280000005 4000004400000000 4000004420000006 4000004700000007 4000005280000002
	4000005780000007 4000006160000005 4000006200000007 4000006420000001 4000006820000007 4000007050000006
	4000007030000001 4000007240000007 4000007520000008 4000007560000009 4000008260000000 4000058260000005
	4000000360000006 4000001560000002 4000003440000004 4000003560000008 4000003920000003 4000004580000002
	4000005540000008 4000007020000003 4000001580000008 4000007640000003`

// byName indexes the cards by number and by token.
var byName = sync.OnceValue(func() map[string]*Card {
	m := map[string]*Card{}
	for n := range strings.FieldsSeq(approved) {
		c := &Card{Number: n, Token: "pm_card_" + n, Means: "approved"}
		m[c.Number], m[c.Token] = c, c
	}
	for i := range Cards {
		c := &Cards[i]
		m[c.Number], m[c.Token] = c, c
	}
	return m
})

// FindCard finds a row by number or token.
func FindCard(name string) (*Card, bool) {
	c, ok := byName()[name]
	return c, ok
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
