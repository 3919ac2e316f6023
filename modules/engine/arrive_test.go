package engine_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
	"github.com/purser-pay/purser/modules/store/sqlite"
)

// snapshot is a PSP's end of a connection: at the first byte of the answer it
// copies the database, which is what a gateway finds that is killed then.
type snapshot struct {
	*httptest.ResponseRecorder
	from, to string
	t        *testing.T
}

func (s *snapshot) WriteHeader(status int) {
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(s.from + suffix)
		if err == nil {
			err = os.WriteFile(s.to+suffix, b, 0o600)
		}
		if err != nil {
			s.t.Error(err)
		}
	}
	s.ResponseRecorder.WriteHeader(status)
}

// A gateway that is killed with the first byte of its acknowledgement has lost
// nothing: another one applies the webhook, which the PSP will not send again.
func TestAcknowledgedIsDurable(t *testing.T) {
	t.Parallel()
	r := newPostman(t, nil)
	r.fault("adyen", "authorize", "reset_after", 3)
	id := r.create(adyenCard(payment.CaptureAutomatic, "A Payer")).ID
	r.collect()
	if len(r.mail) != 1 {
		t.Fatalf("got %d webhooks, want one", len(r.mail))
	}
	copied := filepath.Join(t.TempDir(), "copy.db")
	w := &snapshot{httptest.NewRecorder(), r.path, copied, t}
	r.door.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, r.mail[0].path, bytes.NewReader(r.mail[0].body)))
	if w.Code != http.StatusOK {
		t.Fatalf("got %d: %s", w.Code, w.Body)
	}

	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: copied, Now: r.now, Log: slog.New(slog.DiscardHandler)})
	r.check(err)
	t.Cleanup(func() { _ = db.Close() })
	cfg := r.cfg
	cfg.Store = db
	_, err = engine.New(cfg).WorkSerially(t.Context())
	r.check(err)
	var p payment.Payment
	r.check(db.View(t.Context(), func(rd store.Reader) (err error) { p, err = rd.Payment(id); return err }))
	if p.Status != payment.Succeeded || p.Outcome != payment.Known {
		t.Errorf("after the kill: got %s, %s; want succeeded, known", p.Status, p.Outcome)
	}
	if p := r.payment(id); p.Status != payment.Processing {
		t.Errorf("before it was applied: got %s, want processing", p.Status)
	}
}

// What does not verify changes nothing, is not stored, and asks no PSP, however
// much of it comes.
func TestUnverifiableCostsNothing(t *testing.T) {
	t.Parallel()
	for psp, in := range map[string]engine.Create{
		"stripe": stripeToken("pm_card_visa", payment.CaptureManual)(),
		"alipay": walletPayment(1088, payment.FlowQR),
		"adyen":  adyenPays("A Payer", payment.CaptureManual)(),
	} {
		t.Run(psp, func(t *testing.T) {
			t.Parallel()
			r := newPostman(t, nil)
			id := r.create(in).ID
			r.sim.Books().Advance()
			r.collect()
			if len(r.mail) == 0 {
				t.Fatal("there is no webhook to forge")
			}
			before := r.payment(id)
			asked := r.requests(psp)
			for range 50 {
				for _, f := range forgeries[psp] {
					l := r.mail[0]
					if f.want != http.StatusUnauthorized {
						continue
					}
					if got := r.post(f.make(r, letter{l.path, l.header.Clone(), bytes.Clone(l.body)})); got != f.want {
						t.Fatalf("%s: got %d, want %d", f.name, got, f.want)
					}
				}
			}
			due, waiting, err := r.store.Due(t.Context(), store.Inbound)
			r.check(err)
			if waiting {
				t.Errorf("something is stored, due at %s", due)
			}
			r.work()
			if got := r.payment(id); got.Version != before.Version || got.Status != before.Status {
				t.Errorf("got version %d, %s; want %d, %s", got.Version, got.Status, before.Version, before.Status)
			}
			if got := r.requests(psp); got != asked {
				t.Errorf("the PSP got %d requests more", got-asked)
			}
		})
	}
}

// What verifies and is not true is asked after at the most once at a time.
func TestDoubtfulWebhooksCoalesce(t *testing.T) {
	t.Parallel()
	r := newPostman(t, nil)
	r.create(stripeToken("pm_card_visa", payment.CaptureManual)())
	r.collect()
	asked := r.requests("stripe")
	for range 50 {
		for _, l := range r.mail {
			if got := r.post(replaced(`"amount_received":0`, `"amount_received":900`)(r, replaced(`"amount_captured":0`, `"amount_captured":900`)(r, l))); got != http.StatusOK {
				t.Fatalf("got %d, want it taken", got)
			}
		}
	}
	for range 8 { // enough to apply all, 16 at a time, with a look after each round
		r.work()
	}
	if got := r.requests("stripe") - asked; got < 1 || got > 8 {
		t.Errorf("the PSP was asked %d times, want once a round at the most", got)
	}
}

func (r *postman) requests(psp string) (n int64) {
	for _, c := range r.sim.Books().Counts(psp, "") {
		for _, tally := range c.Requests {
			n += tally.Received
		}
	}
	return n
}

// Of a webhook the facts are stored: no card number, wherever it stands in the
// body, and no signature.
func TestStoredWebhookHoldsNoCard(t *testing.T) {
	t.Parallel()
	const pan = "4111111111111111"
	for psp, tt := range map[string]struct {
		in   engine.Create
		make func(*postman, letter) letter
	}{
		"stripe": {
			stripeToken("pm_card_visa_chargeDeclined", payment.CaptureAutomatic)(),
			replaced(`Your card was declined.`, "Card "+pan+" was declined."),
		},
		"alipay": {walletPayment(1088, payment.FlowQR), rewritten(func(p map[string]string) {
			p["subject"], p["body"], p["buyer_logon_id"], p["passback_params"] = pan, pan, pan, pan
		}, true)},
		"adyen": {adyenPays("DECLINED", payment.CaptureAutomatic)(), resigned(func(i map[string]any) {
			i["reason"] = "Refused " + pan + " " + pan[:4] + " " + pan[4:8] + " " + pan[8:12] + " " + pan[12:]
			i["additionalData"].(map[string]any)["cardNumber"] = pan
		})},
	} {
		t.Run(psp, func(t *testing.T) {
			t.Parallel()
			r := newPostman(t, nil)
			id := r.create(tt.in).ID
			r.sim.Books().Advance()
			r.collect()
			seen := false
			for _, l := range r.mail {
				l = tt.make(r, l)
				seen = seen || bytes.Contains(l.body, []byte(pan))
				if got := r.post(l); got != http.StatusOK {
					t.Fatalf("got %d\n%s", got, tail(r.log.String(), 3))
				}
			}
			if !seen {
				t.Fatal("no webhook bears the number")
			}
			items, err := r.store.Lease(t.Context(), store.Inbound, r.now(), 100, time.Millisecond)
			r.check(err)
			if len(items) == 0 {
				t.Fatal("nothing is stored")
			}
			var kept strings.Builder
			for _, i := range items {
				kept.Write(i.Payload)
			}
			r.pass(time.Second)
			r.work()
			kept.WriteString(r.log.String())
			p := r.payment(id)
			body, err := p.Object()
			r.check(err)
			kept.Write(body)
			for _, bad := range []string{pan, "4111 1111 1111 1111", "hmacSignature", `"sign"`, "v1="} {
				if strings.Contains(kept.String(), bad) {
					t.Errorf("%q is kept: %s", bad, kept.String())
				}
			}
		})
	}
}
