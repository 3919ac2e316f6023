package engine

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/payment"
)

var updateDocs = flag.Bool("update", false, "write docs/states.md anew")

const statesPage = "../../docs/states.md"

// causeMeanings explains every cause of the table on the page.
var causeMeanings = map[cause]string{
	byCreate:   "`POST /v1/payments`",
	byConfirm:  "`POST /v1/payments/{id}/confirm`",
	byAnswer:   "the PSP answered the authorization",
	byQuery:    "the gateway asked the PSP, and the PSP told",
	byWebhook:  "the PSP told by itself, and its signature verified",
	byReversal: "the PSP confirmed that it undid what the gateway asked it to undo",
	byCapture:  "the PSP confirmed a capture",
	byCancel:   "`POST /v1/payments/{id}/cancel`, and the PSP confirmed it where money was held",
	byExpiry:   "`expires_at` or the hold ended, and the PSP confirmed that nothing can be paid any more",
	byResolve:  "an operator settled by hand what no PSP answers; it is audited",
}

const statesHead = `# The life of a payment

This page is drawn from the table in ` + "`modules/engine/table.go`" + ` by ` + "`make docs`" + `; a test fails where they differ.

A payment has a ` + "`status`" + ` (where it stands) and an ` + "`outcome`" + ` (how sure the gateway is of it):
` + "`known`" + `; ` + "`unknown`" + `, where the PSP may have acted and has not said; ` + "`conflicted`" + `, where the PSP proves money
that contradicts the status. An unknown outcome is settled by asking the PSP, by its webhook, by repeating the very
same request under the PSP's own key, by its reversal, or by an operator; never by a timer and never by another PSP.
`

// TestStatesPage compares docs/states.md with the table that drives the code.
func TestStatesPage(t *testing.T) {
	t.Parallel()
	want := renderStates(t)
	if *updateDocs {
		if err := os.WriteFile(statesPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(statesPage)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("docs/states.md is not what the table says (-table +page); run make docs:\n%s", diff)
	}
}

func renderStates(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(statesHead)
	writeDiagram(&b)
	b.WriteString("\n## Moves\n\n| from | to | by |\n|---|---|---|\n")
	for _, move := range transitions {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", statusName(move.from), joined(move.to, statusName), joined(move.by, plain))
	}
	b.WriteString("\nA payment that already stands where a fact would move it stays there.\n")
	b.WriteString("\n## Causes\n\n| by | when |\n|---|---|\n")
	for _, c := range causesOf(transitions) {
		meaning, ok := causeMeanings[c]
		if !ok {
			t.Errorf("cause %q is not explained", c)
		}
		fmt.Fprintf(&b, "| %s | %s |\n", c, meaning)
	}
	b.WriteString("\n## Calls\n\nWhat a merchant may call, by status. Everything else is 409 `invalid_state`.\n\n| status | calls |\n|---|---|\n")
	for _, s := range payment.Statuses {
		calls := "–"
		if allowed := allowedCalls[s]; len(allowed) > 0 {
			calls = joined(allowed, func(call string) string { return "`" + call + "`" })
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", s, calls)
	}
	b.WriteString(`
Reading and PATCH are allowed in every status. A refund depends on money alone: it is allowed wherever something is
captured and not yet refunded, and a full refund leaves ` + "`succeeded`" + `.
`)
	return b.String()
}

// writeDiagram draws one arrow for each pair of statuses, in the order of a
// payment's life.
func writeDiagram(b *strings.Builder) {
	type pair struct{ from, to payment.Status }
	by := map[pair][]cause{}
	for _, move := range transitions {
		for _, to := range move.to {
			by[pair{move.from, to}] = append(by[pair{move.from, to}], move.by...)
		}
	}
	b.WriteString("\n```mermaid\nstateDiagram-v2\n")
	for _, from := range append([]payment.Status{""}, payment.Statuses...) {
		for _, to := range payment.Statuses {
			causes, drawn := by[pair{from, to}]
			if !drawn || from == to {
				continue
			}
			start, label := "[*]", ""
			if from != "" {
				start = string(from)
			}
			if len(causes) == 1 { // more of them hide the picture
				label = ": " + string(causes[0])
			}
			fmt.Fprintf(b, "    %s --> %s%s\n", start, to, label)
		}
		if from.Terminal() {
			fmt.Fprintf(b, "    %s --> [*]\n", from)
		}
	}
	b.WriteString("```\n\nAn arrow without a word has several causes; the table has them all.\n")
}

// causesOf lists the causes of a table once, in the order of a payment's life.
func causesOf(moves []transition) []cause {
	seen := map[cause]bool{}
	for _, m := range moves {
		for _, c := range m.by {
			seen[c] = true
		}
	}
	order := []cause{byCreate, byConfirm, byAnswer, byQuery, byWebhook, byReversal, byCapture, byCancel, byExpiry, byResolve}
	known := slices.DeleteFunc(order, func(c cause) bool { return !seen[c] })
	for _, c := range slices.Sorted(maps.Keys(seen)) {
		if !slices.Contains(known, c) {
			known = append(known, c)
		}
	}
	return known
}

func statusName(s payment.Status) string {
	if s == "" {
		return "(new)"
	}
	return "`" + string(s) + "`"
}

func plain(c cause) string { return string(c) }

func joined[T any](list []T, name func(T) string) string {
	names := make([]string, len(list))
	for i, v := range list {
		names[i] = name(v)
	}
	return strings.Join(names, ", ")
}
