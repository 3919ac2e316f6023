package books

import "strings"

// Payer is how a wallet's payer, or the wallet itself, behaves.
type Payer struct {
	Suffix string // of the payment code, or of the amount in yuan
	Means  string

	// Decline is the wallet's error code for a payment that is refused outright.
	Decline string
	// Unclear is the error code of an answer that does not tell whether the
	// payment was made; Paid says whether it was.
	Unclear string
	Paid    bool
	// Confirm makes the payer confirm on the phone. PaysAfter is the number of
	// queries after which that is done; 0 = never. Refuses: not done but refused.
	Confirm   bool
	PaysAfter int
	Refuses   bool
	// CancelAgain is how many times a cancel asks to be repeated first.
	CancelAgain int
}

// AuthCodes is the table of magic payment codes at a till, by their last two
// digits; every other code pays at once.
var AuthCodes = []Payer{
	{Suffix: "01", Means: "the payer must confirm, and has after two queries", Confirm: true, PaysAfter: 2},
	{Suffix: "02", Means: "the payer must confirm, and never does", Confirm: true},
	{Suffix: "03", Means: "the payer must confirm, and refuses after two queries (closed)", Confirm: true, PaysAfter: 2, Refuses: true},
	{Suffix: "04", Means: "balance not enough", Decline: "ACQ.BUYER_BALANCE_NOT_ENOUGH"},
	{Suffix: "05", Means: "invalid payment code", Decline: "ACQ.PAYMENT_AUTH_CODE_INVALID"},
	{Suffix: "06", Means: "refused as risky", Decline: "ACQ.PAYMENT_REQUEST_HAS_RISK"},
	{Suffix: "07", Means: "system error, and nothing was paid", Unclear: "ACQ.SYSTEM_ERROR"},
	{Suffix: "08", Means: "system error, and it was paid", Unclear: "ACQ.SYSTEM_ERROR", Paid: true},
	{Suffix: "09", Means: "service unavailable (20000), and it was paid", Unclear: "isp.unknow-error", Paid: true},
	{Suffix: "10", Means: "bank card balance not enough", Decline: "ACQ.BUYER_BANKCARD_BALANCE_NOT_ENOUGH"},
	{Suffix: "11", Means: "over the payer's daily limit", Decline: "ACQ.BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR"},
	{Suffix: "12", Means: "payment failed", Decline: "ACQ.PAYMENT_FAIL"},
	{Suffix: "13", Means: "the payer never confirms; a cancel must be repeated twice", Confirm: true, CancelAgain: 2},
	{Suffix: "14", Means: "system error, and it was paid; a cancel must be repeated once", Unclear: "ACQ.SYSTEM_ERROR", Paid: true, CancelAgain: 1},
}

// QRAmounts is the table of magic amounts for a payer who scans a code or opens
// a page, by the amount's fen; every other amount waits for the control API or
// for the page.
var QRAmounts = []Payer{
	{Suffix: ".88", Means: "scanned and paid by itself, after Settle", Paid: true},
	{Suffix: ".77", Means: "scanned by itself, after Settle, and never paid", Confirm: true},
	{Suffix: ".44", Means: "scanned by itself, after Settle, and refused (closed)", Refuses: true},
}

// RefundTooPoor is the suffix of refund amounts for which the seller's balance
// does not suffice.
const RefundTooPoor = ".13"

// FindPayer finds the row of a table for a code or an amount.
func FindPayer(table []Payer, of string) (Payer, bool) {
	for _, p := range table {
		if strings.HasSuffix(of, p.Suffix) {
			return p, true
		}
	}
	return Payer{}, false
}
