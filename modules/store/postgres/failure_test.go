package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// a returns a payment that is not stored.
func a(id string, version int64) *payment.Payment {
	return &payment.Payment{
		ID: id, Merchant: "mer_a", Mode: payment.Test, Version: version, Status: payment.Processing, Outcome: payment.Known,
	}
}

func put(id string) func(store.Tx) error {
	return func(tx store.Tx) error { return tx.PutPayment(a(id, 1)) }
}

// has tells whether a payment is stored, by a store of its own.
func has(t *testing.T, s *Store, id string) bool {
	t.Helper()
	err := s.View(t.Context(), func(r store.Reader) error {
		_, err := r.Payment(id)
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("view: got error %v, want none", err)
	}
	return err == nil
}

// TestCommitCut cuts the connection at COMMIT. Where the server can be asked, it
// is known what became of it: what was lost is done again, and what was done is
// not done twice. Else the error says that it is open.
func TestCommitCut(t *testing.T) {
	for _, test := range []struct {
		name   string
		at     cut
		refuse bool
		want   error
		runs   int
		stored bool
	}{
		{"not cut", none, false, nil, 1, true},
		{"before the server had it", before, false, nil, 2, true},
		{"after the server did it", after, false, nil, 1, true},
		{"behind its answer, and then nobody answers", behind, true, nil, 1, true},
		{"before, and then nobody answers", before, true, store.ErrUncertain, 1, false},
		{"after, and then nobody answers", after, true, store.ErrUncertain, 1, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProxy(t, schema(t))
			commits := 0
			s := open(t, Config{DSN: p.dsn, Committed: func(n int) { commits += n }})
			direct := open(t, Config{DSN: p.direct})
			s.set(t, put("pay_before"))
			commits = 0
			p.arm(test.at, test.refuse)
			runs, start := 0, time.Now()
			err := s.Update(t.Context(), func(tx store.Tx) error {
				runs++
				if _, err := tx.Payment("pay_before"); err != nil {
					return err
				}
				return tx.PutPayment(a("pay_cut", 1))
			})
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("got error %v, want %v", err, test.want)
			}
			if errors.Is(err, store.ErrUnavailable) {
				t.Errorf("error %v claims that nothing was written", err)
			}
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("took %v, want less than 2s", took)
			}
			if got, want := p.fired(), map[bool]int{true: 1, false: 0}[test.at != none]; got != want {
				t.Errorf("got %d cuts, want %d", got, want)
			}
			if runs != test.runs {
				t.Errorf("fn ran %d times, want %d", runs, test.runs)
			}
			if want := map[bool]int{true: 1, false: 0}[test.want == nil]; commits != want {
				t.Errorf("told of %d commits, want %d", commits, want)
			}
			if got := has(t, direct, "pay_cut"); got != test.stored {
				t.Errorf("got stored %v, want %v", got, test.stored)
			}
		})
	}
}

// TestAway: a store whose server is away says so in time, in each way of being
// away, and works again at once when the server is back.
func TestAway(t *testing.T) {
	for _, test := range []struct {
		name  string
		leave func(*proxy)
		back  func(*testing.T, *proxy)
	}{
		{"refused", (*proxy).close, func(t *testing.T, p *proxy) { t.Helper(); p.reopen(t) }},
		{"silent", func(p *proxy) { p.silence(true) }, func(_ *testing.T, p *proxy) { p.silence(false) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProxy(t, schema(t))
			s := open(t, Config{DSN: p.dsn})
			var wg sync.WaitGroup
			for i := range 20 { // connections that lie idle, and die unnoticed
				wg.Go(func() { s.set(t, put(fmt.Sprint("pay_", i))) })
			}
			wg.Wait()
			test.leave(p)
			for name, call := range map[string]func() error{
				"ping":   func() error { return s.Ping(t.Context()) },
				"update": func() error { return s.Update(t.Context(), put("pay_away")) },
				"view": func() error {
					return s.View(t.Context(), func(r store.Reader) error { _, err := r.Payment("x"); return err })
				},
				"lease": func() error {
					_, err := s.Lease(t.Context(), store.Recover, time.Now(), 1, time.Second)
					return err
				},
				"due": func() error { _, _, err := s.Due(t.Context(), store.Recover); return err },
			} {
				start := time.Now()
				if err := call(); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("%s: got error %v, want %v", name, err, store.ErrUnavailable)
				}
				if took := time.Since(start); took > 2*time.Second {
					t.Errorf("%s: took %v, want less than 2s", name, took)
				}
			}
			test.back(t, p)
			start := time.Now()
			if err := s.Update(t.Context(), put("pay_back")); err != nil {
				t.Errorf("after it is back: got error %v, want none", err)
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("after it is back: took %v, want less than 1s", took)
			}
		})
	}
}

// TestStaleConnections: connections that died while they lay idle are nobody's
// trouble.
func TestStaleConnections(t *testing.T) {
	for name, call := range map[string]func(*Store) error{
		"ping":   func(s *Store) error { return s.Ping(t.Context()) },
		"update": func(s *Store) error { return s.Update(t.Context(), put("pay_new")) },
		"view": func(s *Store) error {
			return s.View(t.Context(), func(r store.Reader) error { _, err := r.Payment("pay_0"); return err })
		},
		"lease": func(s *Store) error { _, err := s.Lease(t.Context(), store.Recover, time.Now(), 1, 0); return err },
	} {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t, schema(t))
			s := open(t, Config{DSN: p.dsn, patience: calm})
			var inside, wg sync.WaitGroup
			inside.Add(8)
			for i := range 8 {
				wg.Go(func() {
					s.set(t, func(tx store.Tx) error {
						inside.Done()
						inside.Wait() // each has a connection of its own
						return put(fmt.Sprint("pay_", i))(tx)
					})
				})
			}
			wg.Wait()
			p.close()
			p.reopen(t)
			if err := call(s); err != nil {
				t.Errorf("got error %v, want none", err)
			}
		})
	}
}

// TestTerminated kills the server's sessions while updates run. None is lost or
// done twice, and errors are of the kinds that the contract knows.
func TestTerminated(t *testing.T) {
	dsn := schema(t)
	s := open(t, Config{DSN: dsn, patience: calm})
	const payments = 4
	for i := range payments {
		s.set(t, put(fmt.Sprint("pay_", i)))
	}
	var committed, uncertain, refused atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				switch err := raise(t, s, fmt.Sprint("pay_", i%payments)); {
				case err == nil:
					committed.Add(1)
				case errors.Is(err, store.ErrUncertain):
					uncertain.Add(1)
				case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrConflict):
					refused.Add(1)
				default:
					t.Errorf("got error %v, want one of the contract's", err)
				}
			}
		})
	}
	killed := kill(t, dsn, 30)
	close(stop)
	wg.Wait()
	var got int64
	if err := s.View(t.Context(), func(r store.Reader) error {
		for i := range payments {
			p, err := r.Payment(fmt.Sprint("pay_", i))
			if err != nil {
				return err
			}
			got += p.Sequence
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if low, high := committed.Load(), committed.Load()+uncertain.Load(); got < low || got > high || low == 0 {
		t.Errorf("got %d raises, want between %d and %d", got, low, high)
	}
	t.Logf("killed %d sessions: %d committed, %d uncertain, %d refused", killed, committed.Load(), uncertain.Load(), refused.Load())
}

// raise counts one up in a payment.
func raise(t *testing.T, s *Store, id string) error {
	t.Helper()
	return s.Update(t.Context(), func(tx store.Tx) error {
		p, err := tx.Payment(id)
		if err != nil {
			return err
		}
		p.Version++
		p.Sequence++
		return tx.PutPayment(&p)
	})
}

// kill ends every session that a schema's stores have, some rounds of it.
func kill(t *testing.T, dsn DSN, rounds int) (killed int) {
	t.Helper()
	cfg, err := pgx.ParseConfig(string(dsn))
	if err != nil {
		t.Fatal(err)
	}
	cfg.RuntimeParams["application_name"] = "killer"
	c, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.WithoutCancel(t.Context()))
	for range rounds {
		var n int
		// Sessions of other tests, in other processes, are let alone: theirs do not
		// wait for or hold a lock of this schema's tables.
		err := c.QueryRow(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM (SELECT DISTINCT l.pid FROM pg_locks AS l
			JOIN pg_class AS c ON c.oid = l.relation WHERE c.relnamespace = current_schema()::regnamespace AND l.pid <> pg_backend_pid()) AS x`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		killed += n
		wait(t.Context(), 20*time.Millisecond)
	}
	if killed == 0 {
		t.Error("killed no session, want some")
	}
	return killed
}

// TestRaces lets two nodes compete for the same things.
func TestRaces(t *testing.T) {
	dsn := schema(t)
	nodes := []*Store{open(t, Config{DSN: dsn, patience: calm}), open(t, Config{DSN: dsn, patience: calm})}
	both := func(fn func(node int, s *Store)) {
		var wg sync.WaitGroup
		for i, s := range nodes {
			wg.Go(func() { fn(i, s) })
		}
		wg.Wait()
	}
	t.Run("an idempotency key is claimed once", func(t *testing.T) {
		const tries = 1000
		now := time.Now()
		var wins [2][tries]bool
		both(func(node int, s *Store) {
			for i := range tries {
				err := s.Update(t.Context(), func(tx store.Tx) error {
					k := store.IdempotencyKey{
						KeyScope: store.KeyScope{Merchant: "mer_a", Mode: payment.Test, Key: fmt.Sprint(i)},
						Payment:  fmt.Sprint("of node ", node), Expires: now.Add(time.Hour),
					}
					held, claimed, err := tx.ClaimKey(k, now)
					wins[node][i] = claimed && held.Payment == k.Payment
					return err
				})
				if err != nil {
					t.Errorf("claim: got error %v, want none", err)
				}
			}
		})
		for i := range tries {
			if wins[0][i] == wins[1][i] {
				t.Errorf("key %d: claimed by both or none: %v", i, wins[0][i])
			}
		}
	})
	t.Run("an item is leased once", func(t *testing.T) {
		const items = 500
		now := time.Now()
		nodes[0].set(t, func(tx store.Tx) error {
			for i := range items {
				if err := tx.Enqueue(store.Recover, store.Item{ID: fmt.Sprint(i), Due: now}); err != nil {
					return err
				}
			}
			return nil
		})
		var mu sync.Mutex
		seen := map[string]int{}
		both(func(_ int, s *Store) {
			for {
				got, err := s.Lease(t.Context(), store.Recover, now, 3, time.Hour)
				if err != nil {
					t.Errorf("lease: got error %v, want none", err)
				}
				if len(got) == 0 {
					return
				}
				mu.Lock()
				for _, i := range got {
					seen[i.ID]++
				}
				mu.Unlock()
			}
		})
		for id, n := range seen {
			if n != 1 {
				t.Errorf("item %s was handed out %d times, want once", id, n)
			}
		}
		if len(seen) != items {
			t.Errorf("got %d items, want %d", len(seen), items)
		}
	})
	t.Run("no raise is lost", func(t *testing.T) {
		const raises = 200
		nodes[0].set(t, put("pay_both"))
		both(func(_ int, s *Store) {
			for range raises {
				if err := raise(t, s, "pay_both"); err != nil {
					t.Errorf("raise: got error %v, want none", err)
				}
			}
		})
		if err := nodes[0].View(t.Context(), func(r store.Reader) error {
			p, err := r.Payment("pay_both")
			if p.Sequence != 2*raises || p.Version != 2*raises+1 {
				t.Errorf("got %d raises at version %d, want %d at %d", p.Sequence, p.Version, 2*raises, 2*raises+1)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	})
}

// TestSkew: of two updates, each of which writes what the other one has looked
// at, one sees what the other has done. Under a mere snapshot neither would.
func TestSkew(t *testing.T) {
	s := open(t, Config{DSN: schema(t), patience: calm})
	account := func(p *payment.Payment, name string) *payment.Payment {
		p.Account = name
		return p
	}
	for name, look := range map[string]func(tx store.Tx, mine, other string) (bool, error){
		"a payment": func(tx store.Tx, _, other string) (bool, error) {
			p, err := tx.Payment(other)
			return p.Version > 1, err
		},
		"a payment that is not there": func(tx store.Tx, _, other string) (bool, error) {
			_, err := tx.Payment(other + " new")
			return err == nil, ignore(err, store.ErrNotFound)
		},
		"a list": func(tx store.Tx, _, other string) (bool, error) {
			page, err := tx.Payments(store.PaymentQuery{Reference: other})
			return len(page.Data) > 0, err
		},
		"an account": func(tx store.Tx, _, other string) (bool, error) { return tx.Active(other) },
		"a setting": func(tx store.Tx, _, other string) (bool, error) {
			_, err := tx.Setting(other)
			return err == nil, ignore(err, store.ErrNotFound)
		},
		"a reference": func(tx store.Tx, _, other string) (bool, error) {
			_, err := tx.Ref("a", other)
			return err == nil, ignore(err, store.ErrNotFound)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for round := range 20 {
				ids := []string{fmt.Sprintf("%s %d left", name, round), fmt.Sprintf("%s %d right", name, round)}
				s.set(t, func(tx store.Tx) error { return errors.Join(put(ids[0])(tx), put(ids[1])(tx)) })
				var ready, wg sync.WaitGroup
				ready.Add(2)
				var saw [2]bool
				for i := range ids {
					first := true
					wg.Go(func() {
						err := s.Update(t.Context(), func(tx store.Tx) (err error) {
							mine, other := ids[i], ids[1-i]
							if saw[i], err = look(tx, mine, other); err != nil {
								return err
							}
							if first { // both have looked before one of them writes
								first = false
								ready.Done()
								ready.Wait()
							}
							next, fresh := a(mine, 2), account(a(mine+" new", 1), mine)
							fresh.Reference = mine
							return errors.Join(tx.PutPayment(next), tx.PutPayment(fresh), tx.PutSetting(mine, "on"),
								tx.PutRef(store.Ref{Account: "a", Reference: mine, Payment: mine, Attempt: mine}))
						})
						if err != nil {
							t.Errorf("got error %v, want none", err)
						}
					})
				}
				wg.Wait()
				if saw[0] == saw[1] {
					t.Fatalf("round %d: both have seen %v of the other's, want one of them to have seen it", round, saw[0])
				}
			}
		})
	}
}

func ignore(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return err
}

// TestTornReads: what an update reads is of one moment, also where it writes
// nothing.
func TestTornReads(t *testing.T) {
	s := open(t, Config{DSN: schema(t), patience: calm})
	s.set(t, func(tx store.Tx) error { return errors.Join(put("pay_a")(tx), put("pay_b")(tx)) })
	changed := false
	var one, two int64
	err := s.Update(t.Context(), func(tx store.Tx) error {
		p, err := tx.Payment("pay_a")
		if err != nil {
			return err
		}
		one = p.Version
		if !changed {
			changed = true
			s.set(t, func(tx store.Tx) error {
				return errors.Join(tx.PutPayment(a("pay_a", 2)), tx.PutPayment(a("pay_b", 2)))
			})
		}
		p, err = tx.Payment("pay_b")
		two = p.Version
		return err
	})
	if err != nil || one != two {
		t.Errorf("got versions %d and %d and error %v, want two of one moment", one, two, err)
	}
}
