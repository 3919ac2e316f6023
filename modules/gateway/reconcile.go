package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

const (
	// reconcileReach is how far back payments are compared where nothing is said:
	// PSPs take refunds for about as long.
	reconcileReach = 180 * 24 * time.Hour
	// reconcileAtOnce bounds the PSP queries under way.
	reconcileAtOnce = 8
	// maxFindings bounds what one answer tells; the counts go on.
	maxFindings = 1000
)

// reconciliation is a run of the comparison as operators see it.
type reconciliation struct {
	Object string `json:"object"` // reconciliation
	// State is running, done, or none where there was none since the start.
	State string `json:"state"`
	// Since: payments that were created later have been compared.
	Since  *time.Time `json:"since"`
	TookMS int64      `json:"took_ms"`

	Payments   int `json:"payments"`   // looked at
	Agreed     int `json:"agreed"`     // the PSP tells the same
	Changed    int `json:"changed"`    // the PSP told more, and it was written down
	Unresolved int `json:"unresolved"` // still unknown or conflicted
	Silent     int `json:"silent"`     // the PSP gave no answer; run it again
	Deaf       int `json:"deaf"`       // the PSP has no query: look at its dashboard
	Nothing    int `json:"nothing"`    // nothing at a PSP, as far as the store knows

	Findings []finding `json:"findings"`
	// Omitted counts the findings over the limit.
	Omitted int `json:"omitted,omitempty"`

	// RestoredFrom is the moment of the backup; nil = the store is nobody's copy.
	RestoredFrom *time.Time `json:"restored_from"`
	// Lifted: the freeze of the restored store has ended with this run.
	Lifted  bool   `json:"lifted"`
	Warning string `json:"warning,omitempty"`
}

// finding is one payment that an operator should know of.
type finding struct {
	Payment string `json:"payment"`
	Account string `json:"account,omitempty"`
	// Kind is changed, unresolved, silent or deaf.
	Kind   string `json:"kind"`
	Detail string `json:"detail"`
}

// The kinds of finding.
const (
	foundChanged    = "changed"
	foundUnresolved = "unresolved"
	foundSilent     = "silent"
	foundDeaf       = "deaf"
)

// errReconciles is wrapped where a second run is asked for.
var errReconciles = errors.New("a reconciliation is under way")

// reconciler compares the payments of one store with their PSPs, one run at a
// time.
type reconciler struct {
	now func() time.Time

	mu      sync.Mutex
	running bool
	started time.Time
	last    reconciliation
}

// state tells how far the run is that is under way, or how the last one ended.
func (r *reconciler) state() reconciliation {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.last
	s.Findings = slices.Clone(s.Findings)
	if s.Object == "" {
		s.Object, s.State, s.Findings = "reconciliation", workNone, []finding{}
	}
	if r.running {
		s.TookMS = r.now().Sub(r.started).Milliseconds()
	}
	return s
}

func (r *reconciler) begin(since time.Time, restored *time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running {
		return errReconciles
	}
	r.running, r.started = true, r.now()
	r.last = reconciliation{
		Object: "reconciliation", State: workRunning, Since: &since, Findings: []finding{}, RestoredFrom: restored,
	}
	return nil
}

func (r *reconciler) end(lifted, accepted bool, err error) reconciliation {
	r.mu.Lock()
	r.running = false
	s := &r.last
	s.State, s.TookMS, s.Lifted = workDone, r.now().Sub(r.started).Milliseconds(), lifted
	s.Warning = s.unsaid(accepted, err)
	r.mu.Unlock()
	return r.state()
}

// add counts one comparison.
func (r *reconciler) add(id string, c *engine.Comparison, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.last
	s.Payments++
	p := &c.After
	f := finding{Payment: id, Account: p.Account}
	if a := p.Current(); a != nil {
		f.Account = a.Account
	}
	found := func(count *int, kind, detail string) {
		*count++
		f.Kind, f.Detail = kind, detail
		if len(s.Findings) < maxFindings {
			s.Findings = append(s.Findings, f)
		} else {
			s.Omitted++
		}
	}
	if err != nil {
		found(&s.Silent, foundSilent, "it could not be compared: "+Scrub(err.Error()))
		return
	}
	if c.Changed() {
		found(&s.Changed, foundChanged, difference(&c.Before, p))
	}
	switch {
	case p.Outcome != payment.Known:
		found(&s.Unresolved, foundUnresolved, fmt.Sprintf("%s, outcome %s", p.Status, p.Outcome))
	case c.Held == engine.HeldSilent:
		found(&s.Silent, foundSilent, "the PSP gave no answer")
	case c.Held == engine.HeldDeaf:
		found(&s.Deaf, foundDeaf, "the PSP cannot be asked about it")
	case c.Held == engine.HeldNothing:
		s.Nothing++
	case !c.Changed():
		s.Agreed++
	}
}

// difference tells what the PSP's word changed.
func difference(b, a *payment.Payment) string {
	text := string(a.Status)
	if b.Status != a.Status {
		text = fmt.Sprintf("%s → %s", b.Status, a.Status)
	}
	for _, sum := range []struct {
		name        string
		before, now int64
	}{
		{"captured", b.AmountCaptured(), a.AmountCaptured()},
		{"refunded", b.AmountRefunded(), a.AmountRefunded()},
	} {
		if sum.before != sum.now {
			text += fmt.Sprintf(", %s %d → %d %s", sum.name, sum.before, sum.now, a.Amount.Currency)
		}
	}
	return text
}

// sound tells whether a run leaves nothing that could be paid or given back
// twice; accepted, what no PSP can be asked about counts as looked at.
func (s *reconciliation) sound(accepted bool) bool {
	return s.Silent == 0 && s.Unresolved == 0 && (s.Deaf == 0 || accepted)
}

// reconcile runs a comparison of all payments created after since.
func (a *App) reconcile(ctx context.Context, since time.Time, accepted bool) (reconciliation, error) {
	var frozen freezeState
	err := a.ground.store.View(ctx, func(r store.Reader) (err error) {
		frozen, err = readFreeze(r)
		return err
	})
	if err != nil {
		return reconciliation{}, err
	}
	if since.IsZero() {
		since = a.ground.reconciler.now().Add(-reconcileReach)
	}
	if err := a.ground.reconciler.begin(since, frozen.RestoredFrom); err != nil {
		return reconciliation{}, err
	}
	err = a.compareAll(ctx, since)
	lifted := false
	if s := a.ground.reconciler.state(); err == nil && frozen.RestoredFrom != nil && s.sound(accepted) {
		err = a.ground.store.Update(ctx, thawRestored)
		lifted = err == nil
	}
	return a.ground.reconciler.end(lifted, accepted, err), err
}

// thawRestored ends the freeze that a backup bears. An operator's own stays.
func thawRestored(tx store.Tx) error {
	if err := tx.PutSetting(engine.SettingRestored, ""); err != nil {
		return err
	}
	text, err := setting(tx, engine.SettingFrozen)
	if err != nil {
		return err
	}
	var f frost
	if json.Unmarshal([]byte(text), &f) != nil || f.By != frozenByBackup {
		return nil //nolint:nilerr // a freeze that we cannot read is not ours to end
	}
	return tx.PutSetting(engine.SettingFrozen, "")
}

// unsaid tells what the comparison cannot know or could not do.
func (s *reconciliation) unsaid(accepted bool, err error) string {
	switch {
	case err != nil:
		return "the comparison was cut short: " + Scrub(err.Error())
	case s.RestoredFrom == nil:
		return ""
	case !s.sound(accepted):
		return "the store stays frozen: some payments are in doubt or were not compared. Run it again, settle them by hand " +
			"(purser payments resolve), and where a PSP has no query look at its dashboard and run it with --accept-unasked"
	default:
		return "payments made after the backup are not in the store: look for them in the PSPs' own lists from " +
			s.RestoredFrom.UTC().Format(time.RFC3339) + " on. A merchant who repeats such a request with its Idempotency-Key " +
			"meets the PSP's memory of it where the PSP has one"
	}
}

// compareAll compares page by page, a few payments at a time.
func (a *App) compareAll(ctx context.Context, since time.Time) error {
	q := store.PaymentQuery{Paging: store.Paging{Limit: store.MaxPage, CreatedAfter: since}}
	for {
		var found store.Page[payment.Payment]
		err := a.ground.store.View(ctx, func(r store.Reader) (err error) {
			found, err = r.Payments(q)
			return err
		})
		if err != nil {
			return err
		}
		turns := make(chan struct{}, reconcileAtOnce)
		var wg sync.WaitGroup
		for i := range found.Data {
			turns <- struct{}{}
			if ctx.Err() != nil {
				break
			}
			wg.Go(func() {
				defer func() { <-turns }()
				c, err := a.engine.Compare(ctx, found.Data[i].ID)
				a.ground.reconciler.add(found.Data[i].ID, &c, err)
			})
		}
		wg.Wait()
		if err := ctx.Err(); err != nil {
			return err
		}
		if found.Cursor == "" {
			return nil
		}
		q.Cursor = found.Cursor
	}
}
