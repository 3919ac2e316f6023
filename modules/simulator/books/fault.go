package books

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// FaultKind names a misbehavior.
type FaultKind string

// The faults. What ends in After acts on the books first; so do HTML502,
// Truncated, BadJSON and WrongAmount.
const (
	DelayBefore FaultKind = "delay_before"
	DelayAfter  FaultKind = "delay_after"
	ResetBefore FaultKind = "reset_before"
	ResetAfter  FaultKind = "reset_after"
	E500Before  FaultKind = "500_before"
	E500After   FaultKind = "500_after"
	HTML502     FaultKind = "html_502"
	Truncated   FaultKind = "truncated"
	BadJSON     FaultKind = "bad_json"
	WrongAmount FaultKind = "wrong_amount"
	E429        FaultKind = "429"

	WebhookDuplicate FaultKind = "webhook_duplicate"
	WebhookReorder   FaultKind = "webhook_reorder"
	WebhookLate      FaultKind = "webhook_late"
	WebhookUnsigned  FaultKind = "webhook_unsigned"
	WebhookNever     FaultKind = "webhook_never"
)

// FaultKinds lists them all.
var FaultKinds = []FaultKind{
	DelayBefore, DelayAfter, ResetBefore, ResetAfter, E500Before, E500After, HTML502, Truncated,
	BadJSON, WrongAmount, E429,
	WebhookDuplicate, WebhookReorder, WebhookLate, WebhookUnsigned, WebhookNever,
}

func (k FaultKind) webhook() bool { return len(k) > 7 && k[:7] == "webhook" }

// Fault is one rule of misbehavior. It matches requests (or webhooks) of its
// connector and operation, and strikes Times of them or each with Probability.
type Fault struct {
	// Connector and Operation narrow the rule; empty = any. A rule without an
	// operation strikes everything but requests of no operation ("other").
	Connector string    `json:"connector,omitzero"`
	Operation string    `json:"operation,omitzero"`
	Kind      FaultKind `json:"fault"`
	// Times is how many more it strikes, each time it can. It is not set together
	// with Probability.
	Times int `json:"times,omitzero"`
	// Probability is that with which it strikes, again and again, up to 1.
	Probability float64 `json:"probability,omitzero"`
	// DelayMS is how long a delay holds, and how long a late webhook waits, in
	// milliseconds; 0 = 30,000.
	DelayMS int64 `json:"delay_ms,omitzero"`
	// Replay goes with 500_before and 500_after: the 500 comes from the PSP
	// itself, which stores it under the idempotency key and replays it. Without
	// it, it comes from an edge in front, and a repeat shows the truth.
	Replay bool `json:"replay,omitzero"`
	// HoldKey goes with delay_after: until the delay is over the key counts as
	// in use.
	HoldKey bool `json:"hold_key,omitzero"`
	// Late goes with delay_before: the PSP acts once the delay is over, even
	// though the client has gone.
	Late bool `json:"late,omitzero"`
	// Struck is how often it has struck. It is told, not set.
	Struck int64 `json:"struck,omitzero"`
}

const (
	defaultDelay = 30 * time.Second
	maxDelay     = time.Hour
	maxRules     = 1000
)

// Delay is DelayMS as a duration, with its default.
func (f Fault) Delay() time.Duration {
	if f.DelayMS <= 0 {
		return defaultDelay
	}
	return min(time.Duration(f.DelayMS)*time.Millisecond, maxDelay)
}

// Is tells whether f strikes, and is one of kinds.
func (f Fault) Is(kinds ...FaultKind) bool { return slices.Contains(kinds, f.Kind) }

// ErrFault is wrapped by every refusal of a rule.
var ErrFault = errors.New("bad fault")

// Faults is the table of rules. The zero rule count costs one atomic load per
// request.
type Faults struct {
	mu    sync.Mutex
	rules []*Fault
	count atomic.Int64
	rand  *rand.Rand
}

func newFaults(seed uint64) *Faults {
	return &Faults{rand: rand.New(rand.NewPCG(seed, mix(seed)))} //nolint:gosec // G404: repeatable on purpose
}

// Add appends a rule. Neither times nor probability means once.
func (t *Faults) Add(f Fault) error {
	switch {
	case !slices.Contains(FaultKinds, f.Kind):
		return fmt.Errorf("%w: fault %.40q is none of %v", ErrFault, f.Kind, FaultKinds)
	case f.Times < 0 || f.Probability < 0 || f.Probability > 1 || f.DelayMS < 0:
		return fmt.Errorf("%w: times and delay_ms are at least 0, probability is 0 … 1", ErrFault)
	case f.Times > 0 && f.Probability > 0:
		return fmt.Errorf("%w: it strikes either some times or with a probability", ErrFault)
	case f.Struck != 0:
		return fmt.Errorf("%w: a new one has struck nothing", ErrFault)
	case f.Operation != "":
		if _, err := ParseOperation(f.Operation); err != nil {
			return fmt.Errorf("%w: %w", ErrFault, err)
		}
	}
	if f.Times == 0 && f.Probability == 0 {
		f.Times = 1
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.rules) >= maxRules {
		return fmt.Errorf("%w: more than %d rules", ErrFault, maxRules)
	}
	t.rules = append(t.rules, &f)
	t.count.Store(int64(len(t.rules)))
	return nil
}

// Clear removes every rule.
func (t *Faults) Clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rules = nil
	t.count.Store(0)
}

// List returns the rules that can still strike, with the times that are left.
func (t *Faults) List() []Fault {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]Fault, 0, len(t.rules))
	for _, f := range t.rules {
		all = append(all, *f)
	}
	return all
}

// take returns the first rule that strikes a request, or a webhook, and uses
// it up by one.
func (t *Faults) take(connector string, op Operation, webhook bool) Fault {
	if t.count.Load() == 0 {
		return Fault{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, f := range t.rules {
		if f.Kind.webhook() != webhook || (f.Connector != "" && f.Connector != connector) {
			continue
		}
		if f.Operation != op.String() && (f.Operation != "" || (op == OpOther && !webhook)) {
			continue
		}
		if f.Probability > 0 && t.rand.Float64() >= f.Probability {
			continue
		}
		f.Struck++
		struck := *f
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				t.rules = slices.Delete(t.rules, i, i+1)
				t.count.Store(int64(len(t.rules)))
			}
		}
		return struck
	}
	return Fault{}
}
