package transport

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

type want struct {
	reached int32
	outcome connector.Outcome
}

const (
	notSent  = connector.NotSent
	answered = connector.Answered
	unknown  = connector.Unknown
)

// failureTable is the whole of what a network and a PSP can do to one exchange:
// first the behavior of each connection (the last one goes on), then how often
// the PSP is reached and what may be believed, where a repeat is forbidden,
// where it is allowed, and where it is allowed and an earlier exchange already
// left doubt.
var failureTable = []struct {
	script                   []string
	never, allowed, resuming want
}{
	{[]string{"refused"}, want{0, notSent}, want{0, notSent}, want{0, unknown}},
	{[]string{"dial timeout"}, want{0, notSent}, want{0, notSent}, want{0, unknown}},
	{[]string{"tls"}, want{0, notSent}, want{0, notSent}, want{0, unknown}},
	{[]string{"dead"}, want{0, notSent}, want{0, notSent}, want{0, unknown}},
	{[]string{"hang up unread"}, want{1, unknown}, want{3, unknown}, want{3, unknown}},
	{[]string{"hang up"}, want{1, unknown}, want{3, unknown}, want{3, unknown}},
	{[]string{"mid-body"}, want{1, unknown}, want{3, unknown}, want{3, unknown}},
	{[]string{"huge"}, want{1, unknown}, want{3, unknown}, want{3, unknown}},
	{[]string{"slow"}, want{1, unknown}, want{1, unknown}, want{1, unknown}},
	{[]string{"html 502"}, want{1, unknown}, want{3, unknown}, want{3, unknown}},
	{[]string{"500"}, want{1, unknown}, want{3, unknown}, want{3, unknown}},
	{[]string{"429"}, want{1, answered}, want{1, answered}, want{3, unknown}},
	{[]string{"429 long"}, want{1, answered}, want{1, answered}, want{1, unknown}},
	{[]string{"garbage"}, want{1, unknown}, want{3, unknown}, want{3, unknown}},
	{[]string{"no such state"}, want{1, unknown}, want{1, unknown}, want{1, unknown}},
	{[]string{"succeeded"}, want{1, answered}, want{1, answered}, want{1, answered}},
	{[]string{"declined"}, want{1, answered}, want{1, answered}, want{1, answered}},
	{[]string{"rejected"}, want{1, answered}, want{1, answered}, want{1, unknown}},
	{[]string{"refused", "succeeded"}, want{1, answered}, want{1, answered}, want{1, answered}},
	{[]string{"dead", "succeeded"}, want{1, answered}, want{1, answered}, want{1, answered}},
	{[]string{"refused", "hang up", "succeeded"}, want{1, unknown}, want{2, answered}, want{2, answered}},
	{[]string{"hang up", "refused"}, want{1, unknown}, want{1, unknown}, want{1, unknown}},
	{[]string{"hang up", "429"}, want{1, unknown}, want{3, unknown}, want{3, unknown}},
	{[]string{"hang up", "rejected"}, want{1, unknown}, want{2, unknown}, want{2, unknown}},
	{[]string{"hang up", "429", "succeeded"}, want{1, unknown}, want{3, answered}, want{3, answered}},
	{[]string{"hang up", "429 long", "succeeded"}, want{1, unknown}, want{2, unknown}, want{2, unknown}},
	{[]string{"hang up", "succeeded"}, want{1, unknown}, want{2, answered}, want{2, answered}},
	{[]string{"hang up", "refused", "declined"}, want{1, unknown}, want{2, answered}, want{2, answered}},
	{[]string{"mid-body", "declined"}, want{1, unknown}, want{2, answered}, want{2, answered}},
	{[]string{"503", "succeeded"}, want{1, unknown}, want{2, answered}, want{2, answered}},
}

func TestFailureTable(t *testing.T) {
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	byKey := connector.Idempotency{By: connector.ByKey, Window: 24 * time.Hour}
	stepless := authorize()
	stepless.Step = "store_card"
	promises := []struct {
		name    string
		promise connector.Idempotency
		steps   []connector.Step
		call    connector.Call
		sent    time.Time
		column  string
	}{
		{"nothing", connector.Idempotency{}, nil, authorize(), time.Time{}, "never"},
		{"key", byKey, nil, authorize(), time.Time{}, "allowed"},
		{"key for another operation", connector.Idempotency{By: connector.ByKey, Kinds: []payment.Kind{payment.KindRefund}}, nil, authorize(), time.Time{}, "never"},
		{"key with no key", byKey, nil, connector.Call{Op: authorize().Op}, time.Time{}, "never"},
		{"reference", connector.Idempotency{By: connector.ByReference}, nil, authorize(), time.Time{}, "allowed"},
		{"step without money", connector.Idempotency{By: connector.ByKey, Window: time.Minute}, []connector.Step{{Name: "store_card"}}, stepless, time.Time{}, "allowed"},
		{"step without money, nothing", connector.Idempotency{}, []connector.Step{{Name: "store_card"}}, stepless, time.Time{}, "never"},
		{"step that the connector does not list", connector.Idempotency{By: connector.ByKey, Window: time.Minute}, []connector.Step{{Name: "other"}}, stepless, time.Time{}, "never"},
		{"sync", connector.Idempotency{}, nil, connector.Call{Op: payment.Sync{Of: payment.KindAuthorize}}, time.Time{}, "allowed"},
		{"sync of a call sent before", connector.Idempotency{}, nil, connector.Call{Op: payment.Sync{}}, ago(time.Hour), "allowed"},
		{"key, sent before, inside the window", byKey, nil, authorize(), ago(time.Hour), "resuming"},
		{"key, sent before, outside the window", byKey, nil, authorize(), ago(25 * time.Hour), "refuse"},
		{"key, sent before, at the window's margin", byKey, nil, authorize(), ago(24*time.Hour - connector.WindowMargin + time.Second), "refuse"},
		{"nothing, sent before", connector.Idempotency{}, nil, authorize(), ago(time.Second), "refuse"},
	}
	for _, p := range promises {
		for _, row := range failureTable {
			t.Run(p.name+"/"+strings.Join(row.script, ", then "), func(t *testing.T) {
				w := map[string]want{
					"never": row.never, "allowed": row.allowed, "resuming": row.resuming, "refuse": {0, unknown},
				}[p.column]
				f := &fakeConnector{promise: p.promise, steps: p.steps}
				call := p.call
				call.Sent = p.sent
				check(t, f, call, row.script, w)
			})
		}
	}
}

func check(t *testing.T, f *fakeConnector, call connector.Call, script []string, w want) {
	t.Helper()
	psp := newPSP(t, script...)
	h := newHarness(t, f, psp.base(), psp.dial)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	psp.stuck = cancel // time is up when the PSP has fallen silent
	call.BaseURL = psp.base()
	x := h.Exchange(ctx, h.account, call)
	if got := (want{psp.reached.Load(), x.Outcome}); got != w {
		t.Errorf("got %+v, want %+v (%v)", got, w, x.Err)
	}
	if x.Sends != int(w.reached) {
		t.Errorf("got %d sends, want %d", x.Sends, w.reached)
	}
	if (x.Err == nil) != (x.Outcome == answered) {
		t.Errorf("outcome %v with error %v", x.Outcome, x.Err)
	}
	if (x.Took > 0) != (x.Sends > 0) {
		t.Errorf("took %v for %d sends", x.Took, x.Sends)
	}
	if x.Outcome != answered && x.Result.State != "" {
		t.Errorf("a result %+v without an answer", x.Result)
	}
	if n := len(h.seen.all); n != 1 || h.seen.all[0].Outcome != x.Outcome || h.seen.all[0].Sends != x.Sends {
		t.Errorf("observed %+v, want one like %+v", h.seen.all, x)
	}
}

func TestPausesGrowAndHonorRetryAfter(t *testing.T) {
	tests := []struct {
		script []string
		want   []time.Duration
	}{
		{[]string{"hang up"}, []time.Duration{100 * time.Millisecond, 200 * time.Millisecond}},
		{[]string{"hang up", "429"}, []time.Duration{100 * time.Millisecond, 2 * time.Second}},
		{[]string{"503", "500"}, []time.Duration{3 * time.Second, 200 * time.Millisecond}},
		{[]string{"429"}, nil},
		{[]string{"succeeded"}, nil},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.script, ", then "), func(t *testing.T) {
			psp := newPSP(t, tt.script...)
			f := &fakeConnector{promise: connector.Idempotency{By: connector.ByKey}}
			h := newHarness(t, f, "http://"+psp.ln.Addr().String(), psp.dial)
			h.do(authorize())
			if len(h.pauses) != len(tt.want) {
				t.Fatalf("got pauses %v, want %v", h.pauses, tt.want)
			}
			for i := range tt.want {
				if h.pauses[i] != tt.want[i] {
					t.Errorf("pause %d: got %v, want %v", i, h.pauses[i], tt.want[i])
				}
			}
		})
	}
}

// A silent PSP gets half of the time where the other half can be used.
func TestShareOfTime(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	tests := []struct {
		name    string
		promise connector.Idempotency
		left    time.Duration
		try     int
		want    time.Duration
	}{
		{"repeat possible", connector.Idempotency{By: connector.ByKey}, 20 * time.Second, 1, 10 * time.Second},
		{"no repeat", connector.Idempotency{}, 20 * time.Second, 1, 20 * time.Second},
		{"last try", connector.Idempotency{By: connector.ByKey}, 20 * time.Second, MaxSends, 20 * time.Second},
		{"at least a second", connector.Idempotency{By: connector.ByKey}, 1500 * time.Millisecond, 2, time.Second},
		{"no more than there is", connector.Idempotency{By: connector.ByKey}, 300 * time.Millisecond, 1, 300 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := New(Config{Now: func() time.Time { return now }})
			f := &fakeConnector{promise: tt.promise}
			r := run{t: tr, room: &room{spec: f.Spec()}, account: &connector.Account{Connector: f}, call: authorize()}
			if got := r.share(deadlineCtx{t.Context(), now.Add(tt.left)}, tt.try); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
