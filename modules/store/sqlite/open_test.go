package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// holdVar makes the test binary hold the store at a path instead of testing.
const holdVar = "PURSER_TEST_HOLD"

func TestMain(m *testing.M) {
	if path := os.Getenv(holdVar); path != "" {
		if err := hold(path); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// Times around which the holder leaves its work.
var (
	died   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	reborn = died.Add(5 * time.Second)
)

// hold opens a store, leaves work half done, and waits to be killed.
func hold(path string) error {
	s, err := Open(context.Background(), Config{Path: path})
	if err != nil {
		return err
	}
	err = s.Update(context.Background(), func(t store.Tx) error {
		_, _, err := t.ClaimKey(running, died)
		done := running
		done.Key, done.Status = "done", 201
		_, _, err2 := t.ClaimKey(done, died)
		return errors.Join(err, err2,
			t.Enqueue(store.Recover, store.Item{ID: "late", Due: died.Add(time.Hour), Tries: 1}),
			t.Enqueue(store.Recover, store.Item{ID: "early", Due: died}),
			t.Enqueue(store.Expire, store.Item{ID: "expire", Due: died.Add(time.Hour)}))
	})
	if err != nil {
		return err
	}
	fmt.Println("held")
	select {}
}

var running = store.IdempotencyKey{
	KeyScope: store.KeyScope{Merchant: "mer_a", Mode: payment.Test, Key: "running"},
	Lease:    died.Add(time.Minute), Success: 201, Expires: died.Add(time.Hour),
}

// TestSecondProcess shows that a second process is refused with the holder's
// pid, and that a killed holder leaves no lock and no hidden work.
func TestSecondProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "da ta+#?", "purser.db")
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), holdVar+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("holder: got %q, want held", line)
	}

	_, err = Open(t.Context(), Config{Path: path})
	var locked *LockedError
	if !errors.As(err, &locked) || locked.PID != cmd.Process.Pid || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("open: got error %v, want one that names process %d", err, cmd.Process.Pid)
	}
	if want := fmt.Sprint(cmd.Process.Pid); !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("open: got error %q, want %s in it", err, want)
	}

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // says that it was killed
	s := open(t, Config{Path: path, Now: func() time.Time { return reborn }})

	got, err := s.Lease(t.Context(), store.Recover, reborn, 10, time.Minute)
	want := []store.Item{
		{ID: "early", Due: reborn.Add(time.Minute), Tries: 1},
		{ID: "late", Due: reborn.Add(time.Minute), Tries: 2},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("lease: got error %v and the + lines, want the - lines:\n%s", err, diff)
	}
	due, ok, err := s.Due(t.Context(), store.Expire)
	if !ok || err != nil || !due.Equal(died.Add(time.Hour)) {
		t.Errorf("expire: got %v, %v, error %v, want it as it was", due, ok, err)
	}
	for name, want := range map[string]time.Time{"running": reborn, "done": running.Lease} {
		err := s.View(t.Context(), func(r store.Reader) error {
			k, err := r.Key(store.KeyScope{Merchant: "mer_a", Mode: payment.Test, Key: name})
			if !k.Lease.Equal(want) {
				t.Errorf("key %s: got lease until %v, want %v", name, k.Lease, want)
			}
			return err
		})
		if err != nil {
			t.Errorf("key %s: got error %v, want none", name, err)
		}
	}
}

func TestSecondStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "purser.db")
	s := open(t, Config{Path: path})
	_, err := Open(t.Context(), Config{Path: path})
	var locked *LockedError
	if !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Errorf("open: got error %v, want one that names process %d", err, os.Getpid())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, Config{Path: path})
}

func TestFileModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	path := filepath.Join(dir, "purser.db")
	s := open(t, Config{Path: path})
	if err := s.Ping(t.Context()); err != nil {
		t.Fatalf("ping: got error %v, want none", err)
	}
	want := map[string]os.FileMode{
		dir: 0o700 | os.ModeDir, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600, path + ".lock": 0o600,
	}
	for name, mode := range want {
		info, err := os.Stat(name)
		if err != nil {
			t.Errorf("got error %v, want none", err)
			continue
		}
		if info.Mode() != mode {
			t.Errorf("%s: got mode %v, want %v", name, info.Mode(), mode)
		}
	}
}

func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	noise := filepath.Join(dir, "noise.db")
	if err := os.WriteFile(noise, []byte(strings.Repeat("this is no database ", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"a folder": dir, "no database": noise, "under a file": filepath.Join(noise, "purser.db"),
	} {
		s, err := Open(t.Context(), Config{Path: path})
		if err == nil {
			t.Errorf("%s: got a store, want an error", name)
			_ = s.Close()
		}
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: got error %v, want %v", name, err, store.ErrUnavailable)
		}
	}
}

// TestNewerSchema marks the file as one that a later release migrated.
func TestNewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "purser.db")
	s := open(t, Config{Path: path})
	err := s.Update(t.Context(), func(x store.Tx) error {
		return x.(*tx).c.db.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{Path: path}); err == nil || !strings.Contains(err.Error(), "9999") {
		t.Errorf("open: got error %v, want one that names schema 9999", err)
	}
}

func TestBackup(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Path: filepath.Join(dir, "purser.db")})
	if err := s.Update(t.Context(), put("pay_1")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "it's a backup.db")
	if err := s.Backup(t.Context(), file); err != nil {
		t.Fatalf("backup: got error %v, want none", err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("got mode %v and error %v, want 0600", info.Mode(), err)
	}
	if err := s.Backup(t.Context(), file); !errors.Is(err, os.ErrExist) {
		t.Errorf("backup over a file: got error %v, want %v", err, os.ErrExist)
	}
	if err := s.Update(t.Context(), put("pay_2")); err != nil {
		t.Fatal(err)
	}
	got := missing(t, open(t, Config{Path: file}), "pay_1", "pay_2")
	if fmt.Sprint(got) != "[pay_2]" {
		t.Errorf("backup: got %v missing, want pay_2", got)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	file = filepath.Join(dir, "canceled.db")
	if err := s.Backup(ctx, file); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled backup: got error %v, want %v", err, context.Canceled)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("canceled backup: got error %v for its file, want %v", err, os.ErrNotExist)
	}
}

func TestSweep(t *testing.T) {
	s := open(t, Config{Path: filepath.Join(t.TempDir(), "purser.db")})
	err := s.Update(t.Context(), func(x store.Tx) error {
		for i := range 10 {
			k := running
			k.Key, k.Expires = fmt.Sprint(i), died.Add(time.Duration(i)*time.Hour)
			if _, _, err := x.ClaimKey(k, died); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{4, 3, 0} { // 0 … 6 have expired
		got, err := s.Sweep(t.Context(), died.Add(6*time.Hour), 4)
		if got != want || err != nil {
			t.Errorf("sweep: got %d and error %v, want %d", got, err, want)
		}
	}
	err = s.View(t.Context(), func(r store.Reader) error {
		_, err := r.Key(store.KeyScope{Merchant: "mer_a", Mode: payment.Test, Key: "7"})
		return err
	})
	if err != nil {
		t.Errorf("key that has not expired: got error %v, want none", err)
	}
}

// TestSweepDeliveries: the log of deliveries is kept for 30 days.
func TestSweepDeliveries(t *testing.T) {
	s := open(t, Config{Path: filepath.Join(t.TempDir(), "purser.db")})
	err := s.Update(t.Context(), func(x store.Tx) error {
		for day := range 40 {
			d := payment.Delivery{
				ID: fmt.Sprint("whd_", day), Merchant: "mer_a", Mode: payment.Test, Endpoint: "we_a", Event: "evt_a",
				Try: 1, CreatedAt: died.AddDate(0, 0, -day),
			}
			if err := x.PutDelivery(d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{8, 2, 0} { // 30 … 39 days
		got, err := s.Sweep(t.Context(), died, 8)
		if got != want || err != nil {
			t.Errorf("sweep: got %d and error %v, want %d", got, err, want)
		}
	}
}
