package books

import "fmt"

// Operation is what a request asks for, as faults and counters name it.
type Operation uint8

// The operations.
const (
	OpOther    Operation = iota // no operation of the contract: an update, a listing of customers
	OpTokenize                  // Stripe's payment_methods step
	OpAuthorize
	OpCapture
	OpVoid
	OpRefund
	OpSync
	opCount
)

var opNames = [opCount]string{"other", "tokenize", "authorize", "capture", "void", "refund", "sync"}

// String is the name in the control API.
func (o Operation) String() string {
	if o >= opCount {
		return "other"
	}
	return opNames[o]
}

// ParseOperation reads a name of the control API.
func ParseOperation(s string) (Operation, error) {
	for i, n := range opNames {
		if n == s {
			return Operation(i), nil
		}
	}
	return 0, fmt.Errorf("operation %.40q is none of %v", s, opNames)
}

// Count is how often an operation on one reference arrived, and how often it
// was executed: refusals before execution and replays are no execution.
type Count struct {
	Received int64 `json:"received"`
	Executed int64 `json:"executed"`
}

// Tally is the counters of one reference, for the control API.
type Tally struct {
	Connector string           `json:"connector"`
	Reference string           `json:"reference"`
	Requests  map[string]Count `json:"requests"`
}

// Received counts a request that arrived, before anything is done with it.
func (b *Books) Received(connector, reference string, op Operation) {
	b.count(connector, reference, op).Received++
	b.mu.Unlock()
}

// Executed counts a request that was acted on.
func (b *Books) Executed(connector, reference string, op Operation) {
	b.count(connector, reference, op).Executed++
	b.mu.Unlock()
}

// count returns the counter with b.mu held.
func (b *Books) count(connector, reference string, op Operation) *Count {
	b.mu.Lock()
	k := key(connector, reference)
	c, ok := b.counts.get(k)
	if !ok {
		c = new([opCount]Count)
		b.counts.put(k, c)
		b.counts.evict(func(*[opCount]Count) bool { return true }, nil)
	}
	return &c[op]
}

// Counts lists the counters; an empty connector or reference matches all.
func (b *Books) Counts(connector, reference string) []Tally {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := []Tally{}
	for _, k := range b.counts.order[b.counts.head:] {
		c, ok := b.counts.get(k)
		if !ok {
			continue
		}
		conn, ref := splitKey(k)
		if (connector != "" && conn != connector) || (reference != "" && ref != reference) {
			continue
		}
		t := Tally{Connector: conn, Reference: ref, Requests: map[string]Count{}}
		for op, n := range c {
			if n != (Count{}) {
				t.Requests[opNames[op]] = n
			}
		}
		all = append(all, t)
	}
	return all
}
