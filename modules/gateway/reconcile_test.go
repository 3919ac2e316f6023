package gateway

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
)

// TestReconcilerCounts holds what leaves a restored store frozen: whatever is in
// doubt or was not answered, and what nobody can be asked about until an operator
// has looked.
func TestReconcilerCounts(t *testing.T) {
	t.Parallel()
	known := payment.Payment{Status: payment.Succeeded, Outcome: payment.Known}
	doubtful := payment.Payment{Status: payment.Processing, Outcome: payment.Unknown}
	conflicted := payment.Payment{Status: payment.Succeeded, Outcome: payment.Conflicted}
	processing := payment.Payment{Status: payment.Processing, Outcome: payment.Known}
	for _, tt := range []struct {
		name           string
		c              engine.Comparison
		err            error
		kind           string // of the finding; "" = there is none
		sound, accepts bool   // without, and with an operator's word
	}{
		{"nothing at a PSP", engine.Comparison{Before: known, After: known, Held: engine.HeldNothing}, nil, "", true, true},
		{"agreed", engine.Comparison{Before: known, After: known, Held: engine.HeldAnswered}, nil, "", true, true},
		{"changed", engine.Comparison{Before: processing, After: known, Held: engine.HeldAnswered}, nil, foundChanged, true, true},
		{"unknown", engine.Comparison{Before: doubtful, After: doubtful, Held: engine.HeldAnswered}, nil, foundUnresolved, false, false},
		{"conflicted", engine.Comparison{Before: conflicted, After: conflicted, Held: engine.HeldAnswered}, nil, foundUnresolved, false, false},
		{"silent", engine.Comparison{Before: known, After: known, Held: engine.HeldSilent}, nil, foundSilent, false, false},
		{"failed", engine.Comparison{Before: known, After: known}, errors.New("canary"), foundSilent, false, false},
		{"deaf", engine.Comparison{Before: known, After: known, Held: engine.HeldDeaf}, nil, foundDeaf, false, true},
		{"deaf and silent", engine.Comparison{Before: known, After: known, Held: max(engine.HeldDeaf, engine.HeldSilent)}, nil, foundSilent, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := &reconciler{now: time.Now}
			restored := time.Unix(1, 0)
			if err := r.begin(time.Unix(0, 0), &restored); err != nil {
				t.Fatal(err)
			}
			if err := r.begin(time.Unix(0, 0), nil); !errors.Is(err, errReconciles) {
				t.Errorf("a second run: got error %v, want %v", err, errReconciles)
			}
			r.add("pay_1", &tt.c, tt.err)
			s := r.state()
			kind := ""
			if len(s.Findings) > 0 {
				kind = s.Findings[0].Kind
			}
			if s.Payments != 1 || kind != tt.kind || s.sound(false) != tt.sound || s.sound(true) != tt.accepts {
				t.Errorf("got %d payments, finding %q, sound %v, and %v with an operator's word; want 1, %q, %v and %v",
					s.Payments, kind, s.sound(false), s.sound(true), tt.kind, tt.sound, tt.accepts)
			}
			if got := r.end(false, false, nil); got.State != workDone || strings.Contains(got.Warning, "stays frozen") == tt.sound {
				t.Errorf("at the end: %s, %q", got.State, got.Warning)
			}
		})
	}
}

// TestReconcilerFindings: an answer tells of so many payments and counts the rest.
func TestReconcilerFindings(t *testing.T) {
	t.Parallel()
	r := &reconciler{now: time.Now}
	if err := r.begin(time.Unix(0, 0), nil); err != nil {
		t.Fatal(err)
	}
	for range maxFindings + 3 {
		r.add("pay_1", &engine.Comparison{}, errors.New("away"))
	}
	if s := r.state(); len(s.Findings) != maxFindings || s.Omitted != 3 || s.Silent != maxFindings+3 {
		t.Errorf("got %d findings, %d omitted, %d silent", len(s.Findings), s.Omitted, s.Silent)
	}
}
