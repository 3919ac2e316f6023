package proxy

import (
	"testing"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connectors/stripe"
	"github.com/purser-pay/purser/modules/payment"
)

const (
	merA = "mer_00000000000000000000000001"
	merB = "mer_00000000000000000000000002"
)

// mute is a connector that passes nothing.
type mute struct{ connector.Connector }

func TestFind(t *testing.T) {
	t.Parallel()
	account := func(mode payment.Mode, merchants ...string) *connector.Account {
		return &connector.Account{Connector: &stripe.Connector{}, Mode: mode, Merchants: merchants}
	}
	accounts := map[string]*connector.Account{
		"a_test": account(payment.Test, merA), "a_live": account(payment.Live, merA), "b_test": account(payment.Test, merB), "b_live": account(payment.Live, merB),
		"all": account(payment.Test, everyone), "both": account(payment.Live, merA, merB), "a_and_all": account(payment.Test, merA, everyone),
		"a_twice": account(payment.Live, merA, merA), "all_live": account(payment.Live, everyone), "nobody": account(payment.Live),
		"mute":    {Connector: mute{&stripe.Connector{}}, Mode: payment.Test, Merchants: []string{merA}},
		"retired": {Connector: &stripe.Connector{}, Mode: payment.Test, Merchants: []string{merA}, Retired: true},
	}
	tests := []struct {
		name, account, merchant string
		mode                    payment.Mode
		want                    string
	}{
		{"own, test", "a_test", merA, payment.Test, ""},
		{"own, live", "a_live", merA, payment.Live, ""},
		{"own, named twice", "a_twice", merA, payment.Live, ""},
		{"own, retired", "retired", merA, payment.Test, ""},
		{"unknown", "none", merA, payment.Test, "not_found "},
		{"no name", "", merA, payment.Test, "not_found "},
		{"another's", "b_test", merA, payment.Test, "not_found "},
		{"another's, live", "b_live", merA, payment.Live, "not_found "},
		{"own, of the other mode", "a_live", merA, payment.Test, "not_found "},
		{"own, of the other mode too", "a_test", merA, payment.Live, "not_found "},
		{"nobody's", "nobody", merA, payment.Live, "not_found "},
		{"everybody's in mode live is nobody's", "all_live", merA, payment.Live, "not_found "},
		{"shared by all", "all", merA, payment.Test, "not_supported "},
		{"shared by two", "both", merA, payment.Live, "not_supported "},
		{"shared by two, the other one", "both", merB, payment.Live, "not_supported "},
		{"own and everybody's", "a_and_all", merA, payment.Test, "not_supported "},
		{"shared by two, to a third", "both", "mer_00000000000000000000000003", payment.Live, "not_found "},
		{"passes nothing", "mute", merA, payment.Test, "not_supported "},
		{"no merchant", "all", "", payment.Test, "not_found "},
		{"a merchant called *", "all", everyone, payment.Test, "not_found "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, err := Find(accounts, tt.account, tt.merchant, tt.mode)
			if refusal(err) != tt.want || (err == nil) != (a != nil) || (a != nil && a != accounts[tt.account]) {
				t.Errorf("got %v %q, want %q", a, refusal(err), tt.want)
			}
		})
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
		for _, state := range []struct{ retired, disabled bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
			want := ""
			if (state.retired || state.disabled) && method != "GET" && method != "HEAD" {
				want = "not_supported "
			}
			if got := refusal(Closed(&connector.Account{Retired: state.retired}, method, state.disabled)); got != want {
				t.Errorf("%s %+v: got %q, want %q", method, state, got, want)
			}
		}
	}
}
