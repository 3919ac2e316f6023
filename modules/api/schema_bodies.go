package api

import (
	"slices"

	"github.com/purser-pay/purser/modules/payment"
)

// describeBodies is what the calls read. Null counts as absent throughout; the
// schemas ask for absence, which is what a client best sends.
func describeBodies() members[*schema] {
	out := members[*schema]{
		{"CreatePayment", createSchema()},
		{"ConfirmPayment", asked("",
			may("payment_method", ref("PaymentMethod")),
			may("return_url", returnURL()),
			may("browser", ref("Browser")))},
		{"CapturePayment", asked("",
			may("amount", amountOf("In the minor unit; without it, all that is left.")),
			may("final", boolean("Lets the rest of the hold go. `false` only where the PSP takes more captures.").unless(true)))},
		{"CancelPayment", asked("", may("reason", line(maxReason, "For the record.")))},
		{"UpdatePayment", asked("What no PSP needs to know. A field that is absent stays as it is.",
			may("metadata", metadataSchema(orNull(metadataValue()), "Merged into what is there; a value of null or \"\" removes its key.")),
			may("description", prose("\"\" empties it.")),
			may("reference", line(maxReference, "\"\" empties it.")))},
		{"CreateRefund", asked("",
			must("payment", identifier(payment.PrefixPayment)),
			may("amount", amountOf("In the minor unit; without it, all that is left.")),
			may("reason", line(maxReason, "For the record.")),
			may("metadata", metadataSchema(metadataValue(), "Yours.")),
			may("force", boolean("Refund in spite of an open dispute.").unless(false)))},
		{"CustomerRequest", customerSchema(asked)},
		{"Address", asked("",
			may("line1", line(maxAddressLine, "")), may("line2", line(maxAddressLine, "")), may("city", line(maxAddressLine, "")),
			may("state", line(maxAddressLine, "")), may("postal_code", line(maxAddressLine, "")),
			may("country", text("ISO 3166-1, two letters.").like("^[A-Za-z]{2}$")))},
		{"Browser", asked("The payer's browser, as EMV 3-D Secure 2 asks for it.",
			may("accept", line(maxHeader, "")), may("user_agent", line(maxHeader, "")),
			may("language", text("RFC 5646, such as `en-GB`.").long(2, maxLanguage).like("^[A-Za-z0-9-]+$")),
			may("color_depth", integer("Bits.", 0, 64)), may("screen_width", integer("", 0, maxScreen)), may("screen_height", integer("", 0, maxScreen)),
			may("timezone_offset", integer("Minutes, as JavaScript's getTimezoneOffset tells it.", -maxTimezoneOffset, maxTimezoneOffset)),
			may("java", boolean("")), may("javascript", boolean("")))},
	}
	return slices.Concat(out, describeWebhookBodies(), describeMethods())
}

func createSchema() *schema {
	return asked("",
		must("amount", amountOf("In the minor unit of the currency: 1999 is 19.99 EUR, and 1999 JPY.")),
		must("currency", text("ISO 4217, in either case.").like("^[A-Za-z]{3}$")),
		may("payment_method", ref("PaymentMethod")),
		may("capture_method", oneOfStrings("`manual` authorizes only; capture by a call of its own.", captures).unless(string(payment.CaptureAutomatic))),
		may("confirm", boolean("`false` only records the payment. Card numbers are never kept, so they are not taken then.").unless(true)),
		may("reference", line(maxReference, "Yours, such as the order's number.")),
		may("description", prose("For your records.")),
		may("statement_descriptor", text("What the payer's statement says: at least one letter among them.").long(minDescriptor, maxDescriptor).like("^[A-Za-z0-9 .-]+$")),
		may("customer", ref("CustomerRequest")),
		may("billing_address", ref("Address")),
		may("shipping_address", ref("Address")),
		may("browser", ref("Browser")),
		may("return_url", returnURL()),
		may("channel", oneOfStrings("", payment.Channels).unless(string(payment.ChannelEcommerce))),
		may("off_session", boolean("The payer is not there.").unless(false)),
		may("setup_future_usage", oneOfStrings("Whether the payer will be there when the method is used again.", futureUsages)),
		may("account", accountName("Pins the payment to one connector account.")),
		may("expires_at", instantOf("Until when the payer may pay; at most 30 days ahead.")),
		may("metadata", metadataSchema(metadataValue(), "Yours.")))
}

func returnURL() *schema {
	return text("Where the payer comes back to: https, and in mode test also http on localhost.").long(0, maxURL).as("uri")
}

func accountName(says string) *schema {
	return text(says).long(1, maxAccount).like("^[A-Za-z0-9_.-]+$")
}

func metadataSchema(values *schema, says string) *schema {
	s := mapOf(values, says)
	s.MaxProperties = maxMetadata
	s.PropertyNames = line(maxMetadataKey, "").long(1, maxMetadataKey)
	return s
}

func metadataValue() *schema { return prose("").long(0, maxMetadataValue) }

// customerSchema is the same payer on the way in and on the way out.
func customerSchema(kind func(string, ...property) *schema) *schema {
	return kind("The payer as you know them.",
		may("id", line(maxAccount, "Yours.")),
		may("name", line(maxName, "")),
		may("email", line(maxEmail, "").as("email")),
		may("phone", line(maxPhone, "Such as +49 30 1234567.")),
		may("ip", line(0, "IPv4 or IPv6.")))
}

// memberSchemas describes the members of payment methods; [typeMembers] tells
// whose each is.
func memberSchemas() map[string]*schema {
	return map[string]*schema{
		"number":      text("13 to 19 digits. In mode test, one of the published test card numbers.").like("^[0-9]{13,19}$"),
		"exp_month":   integer("", 1, 12),
		"exp_year":    integer("Four digits.", 2000, 9999),
		"cvc":         text("Never stored.").like("^[0-9]{3,4}$"),
		"holder_name": line(maxName, ""),
		"account":     accountName("The connector account that gave the token."),
		"token":       text("The PSP's own token for a card.").long(1, maxToken).like("^[!-~]+$"),
		"flow":        oneOfStrings("How the wallet and the payer meet.", flows),
		"auth_code":   text("Flow `barcode`, and there required: the code off the payer's screen. Never stored.").like("^[0-9]{10,32}$"),
		"open_id":     text("Flow `mini_program`, and there required: the payer's ID.").long(1, maxOpenID).like("^[!-~]+$"),
	}
}

// requiredMembers are those that a type cannot do without.
var requiredMembers = []string{"number", "exp_month", "exp_year", "token", "flow"}

// methodNames names the schemas of the types that have members.
var methodNames = []struct {
	of   payment.MethodType
	name string
}{
	{payment.MethodCard, "Card"},
	{payment.MethodCardToken, "CardToken"},
	{payment.MethodAlipay, "Alipay"},
	{payment.MethodWeChatPay, "WeChatPay"},
}

// describeMethods is the payment method in all its forms, the flat ones first:
// they are the ones to use.
func describeMethods() members[*schema] {
	var flat, nested, out members[*schema]
	union := &schema{Description: "How the payer pays. The members stand beside `type`; or all of them in an object that is named like the type."}
	var plain []payment.MethodType
	for _, t := range methodTypes {
		if len(typeMembers[t]) == 0 {
			plain = append(plain, t)
		}
	}
	for _, m := range methodNames {
		of := must("type", oneOfStrings("", []payment.MethodType{m.of}))
		flat.add(m.name, asked("", append([]property{of}, methodProperties(m.of)...)...))
		nested.add(m.name+"Nested", asked("The same in its nested form.",
			of, must(string(m.of), asked("", methodProperties(m.of)...))))
	}
	flat.add("OtherMethod", asked("Methods that need nothing beside their type. No connector speaks them yet: `no_account`.",
		must("type", oneOfStrings("", plain))))
	for _, m := range append(slices.Clone(flat), nested...) {
		union.OneOf = append(union.OneOf, ref(m.name))
	}
	out.add("PaymentMethod", union)
	return append(append(out, flat...), nested...)
}

func methodProperties(of payment.MethodType) []property {
	var out []property
	all := memberSchemas()
	for _, name := range typeMembers[of] {
		out = append(out, property{name, all[name], slices.Contains(requiredMembers, name)})
	}
	return out
}
