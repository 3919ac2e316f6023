package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/purser-pay/purser/test/deployment"
)

// fault is one rule of the simulator.
type fault struct {
	Connector   string  `json:"connector,omitempty"` // "" = any
	Fault       string  `json:"fault"`
	Probability float64 `json:"probability"`
	Struck      int64   `json:"struck,omitempty"` // how often, when it is told
	DelayMS     int64   `json:"delay_ms,omitempty"`
	HoldKey     bool    `json:"hold_key,omitempty"`
	Late        bool    `json:"late,omitempty"`
}

// faults are all that the simulator knows; together the first ones strike about
// 30 of 100 calls. An account's timeout is 3 s. A 500 that the PSP itself keeps
// and replays (the option replay) is not among them: where its webhook is lost
// as well, nobody but an operator can tell what happened, and there is none here.
var faults = []fault{
	{Fault: "delay_before", Probability: .025, DelayMS: 150},
	{Fault: "delay_after", Probability: .025, DelayMS: 150},
	{Fault: "delay_before", Probability: .004, DelayMS: 3500},
	{Fault: "delay_before", Probability: .004, DelayMS: 3500, Late: true},
	{Fault: "delay_after", Probability: .004, DelayMS: 3500, HoldKey: true},
	{Fault: "reset_before", Probability: .035},
	{Fault: "reset_after", Probability: .045},
	{Fault: "500_before", Probability: .03},
	{Fault: "500_after", Probability: .035},
	{Fault: "html_502", Probability: .035},
	{Fault: "truncated", Probability: .035},
	{Fault: "bad_json", Probability: .035},
	{Fault: "wrong_amount", Probability: .01},
	{Fault: "429", Probability: .035},
	{Fault: "webhook_duplicate", Probability: .1},
	{Fault: "webhook_reorder", Probability: .1, DelayMS: 1000},
	{Fault: "webhook_late", Probability: .1, DelayMS: 2000},
	{Fault: "webhook_unsigned", Probability: .05},
	{Fault: "webhook_never", Probability: .1},
}

// withAdyen are the same where there are Adyen's payments: it has no query, so a
// webhook of its that never comes leaves an operator's work.
func withAdyen() []fault {
	var rules []fault
	for _, f := range faults {
		if f.Fault != "webhook_never" && f.Fault != "webhook_unsigned" {
			rules = append(rules, f)
			continue
		}
		for _, f.Connector = range []string{"stripe", "alipay"} {
			rules = append(rules, f)
		}
	}
	return rules
}

func setFaults(ctx context.Context, s *deployment.Simulator, rules []fault) error {
	for _, f := range rules {
		if err := s.Post(ctx, "/faults", f); err != nil {
			return err
		}
	}
	return nil
}

// endFaults clears them, and tells how often each kind struck.
func endFaults(ctx context.Context, s *deployment.Simulator) (map[string]int64, error) {
	var left struct{ Faults []fault }
	if err := s.Get(ctx, "/faults", &left); err != nil {
		return nil, err
	}
	struck := map[string]int64{}
	for _, f := range left.Faults {
		struck[f.Fault] += f.Struck
	}
	return struck, s.Delete(ctx, "/faults")
}

// killer does harm when it is told to, as it was told to.
type killer struct {
	kills int
	harm  func(context.Context, strike) error
	// cut counts the requests that were under way when their gateway died.
	cut     int
	strikes chan strike
	done    chan struct{}
}

// strike is one kill.
type strike struct {
	order int           // the one with whose beginning it is due
	node  int           // who dies, of as many as there are
	after time.Duration // and how long after it
	blind bool          // does not wait until the gateway has started
}

// strikes spreads kills over the orders, at random moments.
func strikes(random *rand.Rand, kills, orders int) []strike {
	all := make([]strike, kills)
	for i := range all {
		all[i] = strike{
			order: (i*orders + random.IntN(orders)) / kills, after: time.Duration(random.Int64N(int64(1200 * time.Millisecond))),
			blind: random.IntN(8) == 0, node: random.IntN(1 << 10),
		}
	}
	return all
}

// release lets the killer out until end is called. What goes wrong is told to
// fail.
func release(ctx context.Context, w *world, kills int, harm func(context.Context, strike) error, fail func(error)) *killer {
	k := &killer{harm: harm, strikes: make(chan strike, kills), done: make(chan struct{})}
	go func() {
		defer close(k.done)
		if err := k.hunt(ctx, w); err != nil {
			fail(fmt.Errorf("killer: %w", err))
		}
	}()
	return k
}

func (k *killer) hunt(ctx context.Context, w *world) error {
	for s := range k.strikes {
		if n := w.Nodes[s.node%len(w.Nodes)]; !s.blind {
			if err := n.Ready(ctx); err != nil {
				return err
			}
		}
		if !wait(ctx, s.after) {
			return context.Cause(ctx)
		}
		k.cut += len(w.slots)
		if err := k.harm(ctx, s); err != nil {
			return err
		}
		k.kills++
	}
	return w.Ready(ctx)
}

// strike kills a gateway, and starts it again at once.
func (w *world) strike(_ context.Context, s strike) error {
	n := w.Nodes[s.node%len(w.Nodes)]
	if err := n.Kill(); err != nil {
		return err
	}
	return n.Start()
}

// end returns once the gateway serves and will not be killed any more.
func (k *killer) end() {
	close(k.strikes)
	<-k.done
}
