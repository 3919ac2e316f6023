package payment

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var updateDocs = flag.Bool("update", false, "write docs/errors.md anew")

const errorsPage = "../../docs/errors.md"

// remedies say what a caller does about each code.
var remedies = map[Code]string{
	CodeInvalidRequest:       "`param` names the field at fault and `detail` says what is wrong with it. Correct it; the key was not consumed.",
	CodeInvalidJSON:          "The body is strict JSON: no duplicate names, no trailing data, valid UTF-8, at most 32 levels deep.",
	CodeKeyRequired:          "Send `Idempotency-Key`, a value of your own that is new for each operation and the same in each repeat of it.",
	CodeKeyInvalid:           "The key is 1 to 255 visible ASCII characters, bare or as a quoted string.",
	CodeUnauthenticated:      "Send `Authorization: Bearer KEY`. The answer does not tell a wrong key from a revoked or expired one.",
	CodeInsufficientScope:    "The key lacks the scope that `detail` names. Use another key; scopes are given when a key is made.",
	CodePolicyDenied:         "A rule of the operator refuses the call; `policy` names it. The same request will be refused again until the rule is another.",
	CodeNotFound:             "There is no such object, or it is another merchant's, or of the other mode. The three look alike on purpose.",
	CodeMethodNotAllowed:     "`Allow` lists what the resource takes.",
	CodeInvalidState:         "`detail` says where the payment, or the webhook endpoint, stands and what is allowed there; see [states](states.md).",
	CodeOperationInProgress:  "A capture, void or refund that is pending or unknown holds a part of the amount. Wait, read the payment, and repeat.",
	CodeKeyInUse:             "The first request is not finished. Repeat the same request after `Retry-After`.",
	CodeBodyTooLarge:         "A body is at most 64 KiB.",
	CodeUnsupportedMediaType: "Send `Content-Type: application/json`.",
	CodeKeyReused:            "The key already stands for another method, route or body. Use a new key for a new operation.",
	CodeAmountTooLarge:       "The amount is over what can still be captured or refunded. Read the payment for the rest.",
	CodeNotRepresentable:     "The PSP's grid is coarser than the currency's minor unit. Nothing was sent; change the amount.",
	CodeNoAccount:            "No account of the merchant, in this mode, takes the method, currency and flow.",
	CodeNotSupported:         "The payment's account cannot do this. Nothing was sent.",
	CodeTooManyEndpoints:     fmt.Sprintf("A merchant has at most %d webhook endpoints in a mode. Delete one, or change one.", MaxEndpoints),
	CodePANNotAllowed:        "A field that is not the card number's holds something that looks like one, or card numbers are not taken in mode live. Use a token. Digits of a UUID, or of a hexadecimal digest, are no card number.",
	CodeLiveCardInTestMode:   "Use a published test card number, such as 4242 4242 4242 4242.",
	CodeRateLimited:          "A limit of the key, the merchant, the address or the route is used up; `RateLimit` says which. Nothing was done. Wait for `Retry-After`, then repeat with the same `Idempotency-Key`.",
	CodeInternal:             "Repeat with the same Idempotency-Key: what was done is found again. Give the operator the `request_id`.",
	CodeStoreUnavailable:     "Repeat with the same Idempotency-Key after `Retry-After`.",
	CodeFrozen:               "An operator has stopped new payments; refunds and reading go on. Or the gateway was restored from a backup, and new payments and refunds wait until it has been reconciled.",
	CodePSPUnavailable:       "The call that was to be passed through certainly did nothing, or it was one that only reads: repeat it.",
	CodePSPNoAnswer:          "The call that was passed through may have been carried out. Ask the payment provider before you repeat it, or repeat it under the provider's own idempotency key.",
	CodeOverloaded:           "Wait as long as `Retry-After` says, then send the same request with the same `Idempotency-Key`. Calls in mode test are turned away first, then reads, then new payments, and captures, cancels and refunds last.",
}

const errorsHead = `# Errors

This page is drawn from the tables in ` + "`modules/payment/errors.go`" + ` and ` + "`modules/payment/failure.go`" + ` by
` + "`make docs`" + `; a test fails where they differ.

There are two kinds. A **problem** is a request that was refused: its HTTP status is 4xx or 5xx, and its body is
` + "`application/problem+json`" + ` (RFC 9457) with ` + "`type title status detail code param request_id retryable`" + `. A
**failure** is a payment or refund that came to nothing: the HTTP status is 2xx, because the request was carried out,
and the reason stands in the object's ` + "`error`" + `.

## Problems

| code | HTTP status | title | retryable |
|---|---|---|---|
`

// TestErrorsPage compares docs/errors.md with the tables that drive the code.
func TestErrorsPage(t *testing.T) {
	t.Parallel()
	want := renderErrors(t)
	if *updateDocs {
		if err := os.WriteFile(errorsPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(errorsPage)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("docs/errors.md is not what the tables say (-tables +page); run make docs:\n%s", diff)
	}
}

func renderErrors(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(errorsHead)
	for _, c := range Codes {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %d | %s | %s |\n", c.Code, c.Code, c.Status, c.Title, yes(c.Retryable))
	}
	b.WriteString("\nRetryable: the very same request, with the same Idempotency-Key, may succeed later.\n")
	for _, c := range Codes {
		remedy, ok := remedies[c.Code]
		if !ok {
			t.Errorf("code %q has no remedy", c.Code)
		}
		// The heading is the anchor to which a problem's type leads.
		fmt.Fprintf(&b, "\n### %s\n\n%d. %s %s\n", c.Code, c.Status, c.Title, remedy)
	}
	b.WriteString(`
## Failures

` + "`error.code`" + ` of a payment, an attempt or a refund. The message may be shown to the payer. *Elsewhere* tells that the
gateway may try another account, because the PSP failed and not the payer, and only where the first PSP certainly did
nothing.

| code | message | advice | elsewhere |
|---|---|---|---|
`)
	for _, f := range Failures {
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s |\n", f.Code, f.Message, f.Advice, yes(f.Elsewhere))
	}
	return b.String()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
