package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
	"github.com/purser-pay/purser/modules/store/sqlite"
)

func openStore(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func inStore(t *testing.T, s store.Store, fn func(store.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// TestBackup holds that a backup is whole, private, alone in its folder, and
// frozen; and that the store itself is not.
func TestBackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "purser.db")
	s := openStore(t, path)
	inStore(t, s, func(tx store.Tx) error { return tx.PutSetting("color", "red") })
	at := time.Date(2026, 3, 4, 5, 6, 7, 8e6, time.UTC)
	c := &copier{store: path, copy: s.Backup, now: func() time.Time { return at }}
	to := filepath.Join(dir, "backups", "a.db")
	if _, err := c.run(t.Context(), to); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("to a folder that is not there: %v, want not exist", err)
	}
	if err := os.Mkdir(filepath.Dir(to), 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := c.run(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	if got.State != workDone || got.File != to || got.Bytes == 0 {
		t.Errorf("the backup says %+v", got)
	}
	files, err := filepath.Glob(filepath.Join(dir, "backups", "*"))
	if err != nil || len(files) != 1 {
		t.Errorf("the folder has %v (%v), want the backup alone", files, err)
	}
	if info, err := os.Stat(to); err != nil || info.Mode().Perm() != 0o600 || info.Size() != got.Bytes {
		t.Errorf("the file: %v %v, want mode 0600 and %d bytes", info.Mode(), err, got.Bytes)
	}
	whole, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.run(t.Context(), to); !errors.Is(err, errBackupFile) {
		t.Errorf("a second time: %v, want a refusal", err)
	}
	if again, err := os.ReadFile(to); err != nil || !bytes.Equal(again, whole) {
		t.Errorf("the refused backup changed the file (%v)", err)
	}
	var source, copied freezeState
	if err := s.View(t.Context(), func(r store.Reader) (err error) { source, err = readFreeze(r); return err }); err != nil || source.Frozen {
		t.Errorf("the store that was copied: %+v %v, want no freeze", source, err)
	}
	err = openStore(t, to).View(t.Context(), func(r store.Reader) (err error) {
		if v, err := r.Setting("color"); v != "red" {
			t.Errorf("the copy says %q (%v), want red", v, err)
		}
		copied, err = readFreeze(r)
		return err
	})
	want := freezeState{
		Object: "freeze", Frozen: true, Since: &at, By: "backup", Reason: "restored from a backup of 2026-03-04T05:06:07Z", RestoredFrom: &at,
	}
	if diff := cmp.Diff(want, copied); diff != "" || err != nil {
		t.Errorf("the copy (%v, -want +got):\n%s", err, diff)
	}
	if w := thaw(copied.RestoredFrom, copied.Unresolved); !strings.Contains(w, "restored from a backup of 2026-03-04T05:06:07Z") {
		t.Errorf("the warning is %q", w)
	}
}

// TestBackupAlone holds that one backup runs at a time, that its progress shows,
// and that one that fails leaves nothing.
func TestBackupAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	running, goOn := make(chan struct{}), make(chan struct{})
	c := &copier{store: filepath.Join(dir, "purser.db"), now: time.Now, copy: func(_ context.Context, file string) error {
		if err := os.WriteFile(file, []byte("half"), 0o600); err != nil {
			return err
		}
		close(running)
		<-goOn
		return nil // what it wrote is no store: to mark it must fail
	}}
	to := filepath.Join(dir, "a.db")
	ended := make(chan error, 1)
	go func() {
		_, err := c.run(context.WithoutCancel(t.Context()), to)
		ended <- err
	}()
	<-running
	if s := c.state(); s.State != workRunning || s.File != to || s.Bytes != 4 {
		t.Errorf("while it runs: %+v, want 4 bytes", s)
	}
	if _, err := c.run(t.Context(), filepath.Join(dir, "b.db")); !errors.Is(err, errBackupRuns) {
		t.Errorf("a second one: %v, want a refusal", err)
	}
	close(goOn)
	if err := <-ended; err == nil {
		t.Error("a copy that is no store was accepted")
	}
	if files, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(files) != 0 {
		t.Errorf("left behind: %v (%v)", files, err)
	}
	if s := c.state(); s.State != workNone {
		t.Errorf("afterwards: %+v, want none", s)
	}
}

// TestFreezeBySomebodyElse holds that the engine's word counts, whoever set it.
func TestFreezeBySomebodyElse(t *testing.T) {
	t.Parallel()
	s := openStore(t, filepath.Join(t.TempDir(), "purser.db"))
	for text, want := range map[string]freezeState{
		"":    {Object: "freeze"},
		"yes": {Object: "freeze", Frozen: true, Reason: "yes"},
		"{}":  {Object: "freeze", Frozen: true},
	} {
		inStore(t, s, func(tx store.Tx) error { return tx.PutSetting(engine.SettingFrozen, text) })
		var got freezeState
		if err := s.View(t.Context(), func(r store.Reader) (err error) { got, err = readFreeze(r); return err }); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

// twice runs each update two times, and throws the first one away.
type twice struct{ store.Store }

var errThrownAway = errors.New("thrown away")

func (s twice) Update(ctx context.Context, fn func(store.Tx) error) error {
	err := s.Store.Update(ctx, func(tx store.Tx) error { return errors.Join(fn(tx), errThrownAway) })
	if !errors.Is(err, errThrownAway) {
		return err
	}
	return s.Store.Update(ctx, fn)
}

// TestTold holds that an event is told once, after the commit, and not at all
// without one.
func TestTold(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	var log *slog.Logger
	m := newMeter()
	woken := 0
	s := toldStore{twice{openStore(t, filepath.Join(t.TempDir(), "purser.db"))}, m, func() *slog.Logger { return log }, func() { woken++ }}
	put := func(id string, end error) error {
		return s.Update(t.Context(), func(tx store.Tx) error {
			err := tx.PutEvent(payment.Event{
				ID: id, Type: payment.EventPaymentSucceeded, Merchant: "mer_1", Mode: payment.Test, Payment: "pay_1", Sequence: 1,
				CreatedAt: time.Unix(1, 0), Object: []byte(`{"canary":"4242424242424242"}`),
			})
			return errors.Join(err, end)
		})
	}
	if err := put("evt_1", nil); err != nil { // nobody listens yet
		t.Fatal(err)
	}
	log = slog.New(slog.NewTextHandler(&out, nil))
	if err := put("evt_2", nil); err != nil {
		t.Fatal(err)
	}
	if err := put("evt_3", errRequest); !errors.Is(err, errRequest) {
		t.Fatalf("a transaction that fails: %v", err)
	}
	if woken != 2 {
		t.Errorf("the outbox was woken %d times, want 2: once for each commit", woken)
	}
	got := out.String()
	if strings.Count(got, "payment event") != 1 || !strings.Contains(got, "event=evt_2 type=payment.succeeded payment=pay_1") {
		t.Errorf("told:\n%s\nwant one line of evt_2", got)
	}
	if strings.Contains(got, "4242") {
		t.Errorf("the object is in the log: %s", got)
	}
}

// TestScrub holds what never gets into the audit.
func TestScrub(t *testing.T) {
	t.Parallel()
	const r = payment.Redacted
	for in, want := range map[string]string{
		"key_01":                        "key_01",
		"stripe_us":                     "stripe_us",
		"pur_test_abc_DEF.":             "pur_test_" + r + ".",
		`"sk_live_x" and "whsec_a/b+="`: `"sk_live_` + r + `" and "whsec_` + r + `"`,
		"rk_live_1 pk_test_2":           "rk_live_" + r + " pk_test_" + r,
		"card 4242 4242 4242 4242":      "card " + r,
		"order 1234567890":              "order 1234567890",
		"xpur_live_abc":                 "xpur_live_" + r,
		"risk_test_case":                "risk_test_case",
	} {
		if got := Scrub(in); got != want {
			t.Errorf("Scrub(%q) = %q, want %q", in, got, want)
		}
		if got := TellsSecret(in); got != (in != want) {
			t.Errorf("TellsSecret(%q) = %t", in, got)
		}
	}
}

// TestWho holds how an operator is named.
func TestWho(t *testing.T) {
	t.Parallel()
	proven := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: "ops"}}}}
	for _, tt := range []struct {
		remote    string
		tls       *tls.ConnectionState
		who, from string
	}{
		{"127.0.0.1:5000", nil, "address 127.0.0.1:5000", "127.0.0.1:5000"},
		{"@", nil, "unix socket", "unix socket"},
		{"[::1]:5000", proven, "certificate CN=ops", "[::1]:5000"},
		{"[::1]:5000", new(tls.ConnectionState), "address [::1]:5000", "[::1]:5000"},
	} {
		c := call{r: &http.Request{RemoteAddr: tt.remote, TLS: tt.tls}}
		if c.who() != tt.who || c.from() != tt.from {
			t.Errorf("%+v: who %q, from %q", tt, c.who(), c.from())
		}
	}
}
