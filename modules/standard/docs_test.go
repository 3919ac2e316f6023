package standard

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddyserver/caddy/v2"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

var updateDocs = flag.Bool("update", false, "write docs/capabilities.md anew")

const capabilitiesPage = "../../docs/capabilities.md"

const capabilitiesHead = `# What the connectors can do

This page is drawn from the ` + "`Spec`" + ` of every connector in the binary by ` + "`make docs`" + `; a test fails where they
differ. It says what a connector does here, not all that the PSP could do. How one is written is in
[connectors.md](connectors.md).

| connector | methods | operations | partial | currencies | repeats are safe by | a lost answer is found | reversal |
|---|---|---|---|---|---|---|---|
`

// TestCapabilitiesPage compares docs/capabilities.md with what the connectors say
// of themselves.
func TestCapabilitiesPage(t *testing.T) {
	t.Parallel()
	want := renderCapabilities(t)
	if *updateDocs {
		if err := os.WriteFile(capabilitiesPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(capabilitiesPage)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("docs/capabilities.md is not what the connectors say (-Spec +page); run make docs:\n%s", diff)
	}
}

func renderCapabilities(t *testing.T) string {
	t.Helper()
	var table, sections strings.Builder
	for _, info := range caddy.GetModules("payments.connectors") {
		module := info.New()
		c, ok := module.(connector.Connector)
		if !ok {
			t.Errorf("%s is no connector", info.ID)
			continue
		}
		s := c.Spec()
		if s.Name != info.ID.Name() {
			t.Errorf("%s: Spec().Name is %q, want %q", info.ID, s.Name, info.ID.Name())
		}
		fmt.Fprintf(&table, "| [`%s`](#%s) | %s | %s | %s | %s | %s | %s | %s |\n", s.Name, s.Name, methods(s), kinds(s.Kinds),
			partial(s), currencies(s), promise(s.Idempotency), query(s.Query), reversal(s.Reversal))
		writeConnector(&sections, s, module, c)
	}
	return capabilitiesHead + table.String() + `
*Methods:* a flow stands behind the colon; **manual** tells that authorization and capture can be apart.
*Reversal* undoes a charge by the gateway's own reference, when its answer was lost.
` + sections.String()
}

// writeConnector writes what an operator must know to configure an account.
func writeConnector(b *strings.Builder, s connector.Spec, module caddy.Module, c connector.Connector) {
	fmt.Fprintf(b, "\n## %s\n\n", s.Name)
	fmt.Fprintf(b, "- Fields of an account: %s\n", strings.Join(credentials(reflect.TypeOf(module).Elem()), ", "))
	fmt.Fprintf(b, "- Test: <%s>, live: <%s>\n", s.TestURL, s.LiveURL)
	wait := s.NotFoundAfter
	if wait == 0 {
		wait = 30 * time.Second // what Spec.NotFoundAfter says of 0
	}
	fmt.Fprintf(b, "- \"Not found\" is believed after %s\n", short(wait))
	if _, ok := c.(connector.WebhookDecoder); ok {
		b.WriteString("- Webhooks: `POST /webhooks/{account}`\n")
	}
	if list := refused(s, c); len(list) > 0 {
		fmt.Fprintf(b, "- Refused with 422 `not_supported`: %s\n", strings.Join(list, ", "))
	}
	fmt.Fprintf(b, "- Follows: %s\n", s.Source)
}

// refused lists what else a payment may ask for, and the connector does not take: it
// is asked about each by itself.
func refused(s connector.Spec, c connector.Connector) []string {
	checker, ok := c.(connector.Checker)
	if !ok {
		return nil
	}
	amount := payment.Money{Minor: 1000, Currency: "EUR"}
	if len(s.Currencies) > 0 {
		amount.Currency = s.Currencies[0]
	}
	plain := payment.Authorize{
		Amount: amount, Capture: true, Channel: payment.ChannelEcommerce,
		Method: payment.Method{Type: s.Methods[0].Type, Flow: s.Methods[0].Flow},
	}
	var out []string
	ask := func(param, value string, op payment.Authorize) {
		no, ok := errors.AsType[*connector.UnsupportedError](checker.Check(op))
		if ok && no.Param == param {
			out = append(out, "`"+param+": "+value+"`")
		}
	}
	for _, channel := range payment.Channels {
		op := plain
		op.Channel = channel
		ask("channel", string(channel), op)
	}
	for _, usage := range []string{"on_session", "off_session"} {
		op := plain
		op.SetupFutureUsage = usage
		ask("setup_future_usage", usage, op)
	}
	return out
}

// credentials lists the fields of a connector's struct as a Caddyfile has them.
func credentials(t reflect.Type) []string {
	var out []string
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "" || name == "-" {
			continue
		}
		text := "`" + name + "`"
		if f.Type == reflect.TypeFor[connector.Secret]() {
			text += " (by reference)"
		}
		if strings.HasPrefix(options, "omit") {
			text += " (optional)"
		}
		out = append(out, text)
	}
	return out
}

func methods(s connector.Spec) string {
	flows := map[payment.MethodType][]string{}
	var order []payment.MethodType
	for _, m := range s.Methods {
		if _, seen := flows[m.Type]; !seen {
			order = append(order, m.Type)
			flows[m.Type] = nil
		}
		text := string(m.Flow)
		if m.Manual {
			text = strings.TrimSpace(text + " **manual**")
		}
		if text != "" {
			flows[m.Type] = append(flows[m.Type], text)
		}
	}
	var out []string
	for _, t := range order {
		text := "`" + string(t) + "`"
		if len(flows[t]) > 0 {
			text += ": " + strings.Join(flows[t], ", ")
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

func kinds(list []payment.Kind) string {
	names := make([]string, len(list))
	for i, k := range list {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}

func partial(s connector.Spec) string {
	switch {
	case s.PartialCapture && s.PartialRefund:
		return "capture, refund"
	case s.PartialCapture:
		return "capture"
	case s.PartialRefund:
		return "refund"
	default:
		return "–"
	}
}

func currencies(s connector.Spec) string {
	const few = 5
	switch n := len(s.Currencies); {
	case n == 0:
		return "all"
	case n > few:
		return fmt.Sprintf("%d", n)
	default:
		names := make([]string, n)
		for i, c := range s.Currencies {
			names[i] = string(c)
		}
		return strings.Join(names, ", ")
	}
}

func promise(i connector.Idempotency) string {
	var text string
	switch i.By {
	case connector.ByKey:
		text = "key"
	case connector.ByReference:
		text = "reference"
	default:
		return "nothing"
	}
	if i.Window > 0 {
		text += ", for " + short(i.Window)
	}
	if len(i.Kinds) > 0 {
		text += " (" + kinds(i.Kinds) + ")"
	}
	return text
}

func query(q connector.Query) string {
	switch q {
	case connector.QueryExact:
		return "by our reference"
	case connector.QueryPSPReference:
		return "by the PSP's reference alone"
	default:
		return "by webhook alone"
	}
}

func reversal(r *connector.Reversal) string {
	if r == nil {
		return "–"
	}
	return "within " + short(r.Window)
}

// short writes a duration in its largest whole unit.
func short(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	default:
		return fmt.Sprintf("%g s", d.Seconds())
	}
}
