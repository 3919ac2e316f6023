package stripesim_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func ids(t *testing.T, a answer) (all []string) {
	t.Helper()
	data, ok := a.at("data").([]any)
	if a.status != 200 || !ok {
		t.Fatalf("got %d %v, want a list", a.status, a.body)
	}
	for _, v := range data {
		all = append(all, v.(map[string]any)["id"].(string))
	}
	return all
}

// TestPages walks lists page by page, in both directions.
func TestPages(t *testing.T) {
	t.Parallel()
	x := open(t)
	var intents, refunds []string // newest first
	for range 5 {
		pi := x.pay("pm_card_visa", "automatic").at("id").(string)
		r := x.must("/v1/refunds", "", "payment_intent", pi, "amount", "100").at("id").(string)
		intents, refunds = append([]string{pi}, intents...), append([]string{r}, refunds...)
	}
	for _, tt := range []struct {
		path string
		want []string
		more bool
	}{
		{"/v1/payment_intents?limit=2", intents[:2], true},
		{"/v1/payment_intents?limit=2&starting_after=" + intents[1], intents[2:4], true},
		{"/v1/payment_intents?limit=2&starting_after=" + intents[3], intents[4:], false},
		{"/v1/payment_intents?limit=2&ending_before=" + intents[3], intents[1:3], true},
		{"/v1/payment_intents?limit=2&ending_before=" + intents[1], intents[:1], false},
		{"/v1/refunds?limit=2", refunds[:2], true},
		{"/v1/refunds?limit=2&starting_after=" + refunds[1], refunds[2:4], true},
		{"/v1/refunds?limit=2&starting_after=" + refunds[3], refunds[4:], false},
		{"/v1/refunds?limit=2&ending_before=" + refunds[3], refunds[1:3], true},
		{"/v1/refunds?limit=2&ending_before=" + refunds[1], refunds[:1], false},
		{"/v1/refunds?payment_intent=" + intents[2], refunds[2:3], false},
	} {
		a := x.must(tt.path, "")
		if d := cmp.Diff(tt.want, ids(t, a)); d != "" || a.at("has_more") != tt.more {
			t.Errorf("%s: has_more %v, want %v (-want +got):\n%s", tt.path, a.at("has_more"), tt.more, d)
		}
	}
	var found []string
	for next := any(""); next != nil && len(found) <= len(intents); {
		a := x.must("/v1/payment_intents/search?limit=2&query=currency%3A%27usd%27&page="+next.(string), "")
		found, next = append(found, ids(t, a)...), a.at("next_page")
	}
	if d := cmp.Diff(intents, found); d != "" {
		t.Errorf("search (-want +got):\n%s", d)
	}
	for _, path := range []string{"/v1/payment_intents?starting_after=pi_none", "/v1/refunds?ending_before=re_none"} {
		check(t, x.must(path, ""), 400, map[string]any{"error.code": "resource_missing"})
	}
}
