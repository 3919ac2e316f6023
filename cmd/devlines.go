package pursercmd

import (
	"fmt"
	"io"
	"strings"
)

// devLines prints commands that can be pasted as they are, one by one and in
// order. tag makes the idempotency keys of this start differ from those of the
// last one.
func devLines(w io.Writer, info devInfo, tag string) error {
	curl := fmt.Sprintf("curl -sS -w '\\n' --cacert %s -H 'Authorization: Bearer %s'", shellQuote(info.CA), info.Key)
	post := func(path, key, body string) string {
		return fmt.Sprintf("%s -H 'Content-Type: application/json' -H 'Idempotency-Key: %s-%s' -d '%s' \"%s%s\"",
			curl, tag, key, body, info.URL, path)
	}
	card := func(number, capture string) string {
		return `{"amount":1999,"currency":"EUR","capture_method":"` + capture + `","payment_method":{"type":"card","number":"` +
			number + `","exp_month":12,"exp_year":2034,"cvc":"123"}}`
	}
	// The answer is shown, and its payment's ID kept in a variable.
	keep := func(variable, command string) string {
		return variable + `=$(` + command + ` | tee /dev/stderr | sed -n 's/.*"id":"\(pay_[0-9a-z]*\)".*/\1/p')`
	}
	const barcode = `{"amount":1000,"currency":"CNY","channel":"in_person","payment_method":{"type":"alipay","flow":"barcode","auth_code":"286666666666666666"}}`
	create := post("/v1/payments", "create", card("4242424242424242", "manual"))
	lines := []struct{ about, command string }{
		{"create a payment: the card is authorized, the money stays", keep("PAY", create)},
		{"capture it", post("/v1/payments/$PAY/capture", "capture", "{}")},
		{"refund a part of it", post("/v1/refunds", "refund", `{"payment":"'$PAY'","amount":500}`)},
		{"create it once more with the same key: the first answer again, and no second charge", strings.Replace(create, "curl -sS", "curl -sSi", 1)},
		{"a card that is declined", post("/v1/payments", "decline", card("4000000000009995", "automatic"))},
		// The simulator's payer pays whatever ends in .88, after two seconds.
		{"Alipay, the payer scans a code", keep("QR", post("/v1/payments", "qr",
			`{"amount":1088,"currency":"CNY","payment_method":{"type":"alipay","flow":"qr"}}`))},
		{"two seconds later the payer has paid", curl + ` "` + info.URL + `/v1/payments/$QR"`},
		{"Alipay, the till scans the payer's code", post("/v1/payments", "barcode", barcode)},
		{
			"the same, and the simulator charges three times without a word of answer",
			"curl -sS -w '\\n' -H 'Content-Type: application/json' -d '" +
				`{"connector":"alipay","operation":"authorize","fault":"reset_after","times":3}` + "' \"" + info.Simulator + `/_sim/faults"`,
		},
		{"what became of it is unknown for a moment, and it is never charged twice", keep("LOST", post("/v1/payments", "lost", barcode))},
		{"seconds later it has ended by itself", curl + ` "` + info.URL + `/v1/payments/$LOST"`},
	}
	for _, l := range lines {
		if _, err := fmt.Fprintf(w, "# %s\n%s\n\n", l.about, l.command); err != nil {
			return err
		}
	}
	return nil
}

// shellQuote makes one word of s for a POSIX shell.
func shellQuote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
