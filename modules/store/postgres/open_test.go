package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// TestMigrationRace starts eight nodes at once on an empty schema.
func TestMigrationRace(t *testing.T) {
	dsn := schema(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			s, err := Open(t.Context(), Config{DSN: dsn, patience: calm})
			if err != nil {
				t.Errorf("node %d: got error %v, want none", i, err)
				return
			}
			if err := errors.Join(s.Update(t.Context(), put(fmt.Sprint("pay_", i))), s.Close()); err != nil {
				t.Errorf("node %d: got error %v, want none", i, err)
			}
		})
	}
	wg.Wait()
	s := open(t, Config{DSN: dsn})
	for i := range 8 {
		if id := fmt.Sprint("pay_", i); !has(t, s, id) {
			t.Errorf("%s is missing", id)
		}
	}
}

// later is this release's migrations and one more.
func later(t *testing.T, change string) fs.FS {
	t.Helper()
	files := fstest.MapFS{"9999_later.sql": {Data: []byte("-- +goose Up\n" + change + "\n")}}
	known, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range known {
		data, err := migrations.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(name, "migrations/")] = &fstest.MapFile{Data: data}
	}
	return files
}

// TestMigrationUnderLoad: while a newer release migrates, the nodes of this one go
// on: what they know of the tables is still true.
func TestMigrationUnderLoad(t *testing.T) {
	dsn := schema(t)
	nodes := []*Store{open(t, Config{DSN: dsn, patience: calm}), open(t, Config{DSN: dsn, patience: calm})}
	cfg, err := pgx.ParseConfig(string(dsn))
	if err != nil {
		t.Fatal(err)
	}
	const workers, each = 8, 60
	half := make(chan struct{}, workers)
	var wg sync.WaitGroup
	id := func(worker, n int) string { return fmt.Sprintf("pay_%d_%d", worker, n) }
	for w := range workers {
		wg.Go(func() {
			s := nodes[w%len(nodes)]
			for n := range each {
				if n == each/3 {
					half <- struct{}{}
				}
				err := s.Update(t.Context(), put(id(w, n)))
				if err == nil {
					err = s.View(t.Context(), func(r store.Reader) error { _, err := r.Payment(id(w, n)); return err })
				}
				if err != nil {
					t.Errorf("worker %d, payment %d: got error %v, want none", w, n, err)
					return
				}
			}
		})
	}
	for range workers / 2 {
		<-half
	}
	change := "ALTER TABLE payments ADD COLUMN later text NOT NULL DEFAULT '';\nCREATE INDEX payments_later ON payments (later);"
	if err := apply(t.Context(), cfg, later(t, change)); err != nil {
		t.Errorf("migrate under load: got error %v, want none", err)
	}
	wg.Wait()
	for w := range workers {
		for n := range each {
			if !t.Failed() && !has(t, nodes[0], id(w, n)) {
				t.Errorf("%s is missing", id(w, n))
			}
		}
	}
}

// TestNewerSchema: a release that is older than the schema stays away from it.
func TestNewerSchema(t *testing.T) {
	dsn := schema(t)
	open(t, Config{DSN: dsn})
	cfg, err := pgx.ParseConfig(string(dsn))
	if err != nil {
		t.Fatal(err)
	}
	if err := apply(t.Context(), cfg, later(t, "CREATE TABLE later (id integer);")); err != nil {
		t.Fatalf("later release: got error %v, want none", err)
	}
	if _, err := Open(t.Context(), Config{DSN: dsn}); err == nil || !strings.Contains(err.Error(), "newer release") {
		t.Errorf("got error %v, want one that names a newer release", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	const password = "hunter2"
	for _, test := range []struct {
		name string
		dsn  DSN
		want error // nil = any
	}{
		{"nobody listens", "postgres://purser:" + password + "@127.0.0.1:1/purser", store.ErrUnavailable},
		{"no such database", DSN(strings.Replace(string(schema(t)), "/postgres?", "/purser_there_is_none?", 1)), store.ErrUnavailable},
		{"no DSN", "postgres://purser:" + password + "@[::1:5432/purser?sslmode=sometimes", nil},
	} {
		start := time.Now()
		_, err := Open(t.Context(), Config{DSN: test.dsn})
		if err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: got error %v, want %v", test.name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), password) {
			t.Errorf("%s: the error tells the password: %v", test.name, err)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%s: took %v, want less than 2s", test.name, took)
		}
	}
}

func TestDSNDoesNotPrint(t *testing.T) {
	const password = "hunter2"
	cfg := Config{DSN: "postgres://purser:" + password + "@db/purser"}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("open", slog.Any("config", cfg), slog.Any("dsn", cfg.DSN))
	encoded, err := json.Marshal(map[string]any{"dsn": cfg.DSN})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprint(cfg), fmt.Sprintf("%v %+v %#v %s %q %x", cfg.DSN, cfg, cfg.DSN, cfg.DSN, cfg.DSN, cfg.DSN), log.String(), string(encoded),
	} {
		if strings.Contains(text, password) || strings.Contains(text, fmt.Sprintf("%x", password)) {
			t.Errorf("got %q, want no password", text)
		}
	}
}

// TestFault holds what errors of the server mean.
func TestFault(t *testing.T) {
	for code, want := range map[string][]error{
		"40001": {store.ErrUnavailable, errAgain},
		"40P01": {store.ErrUnavailable, errAgain},
		"23505": {errMissed},
		"53100": {store.ErrUnavailable}, // disk_full
		"53300": {store.ErrUnavailable}, // too_many_connections
		"57P01": {store.ErrUnavailable, errLost},
		"57P03": {store.ErrUnavailable}, // cannot_connect_now
		"57014": {store.ErrUnavailable}, // statement_timeout
		"25006": {store.ErrUnavailable},
		"58030": {store.ErrUnavailable}, // io_error
		"22021": nil,
		"":      nil,
	} {
		err := fault("op", &pgconn.PgError{Code: code, Message: "message"})
		for _, kind := range []error{store.ErrUnavailable, errAgain, errMissed, errLost} {
			found := slices.Contains(want, kind)
			if got := errors.Is(err, kind); got != found {
				t.Errorf("code %q: got %v of %q, want %v", code, got, kind, found)
			}
		}
	}
}

// TestSweep takes a bite at a time: keys first, then lines of the delivery log
// that are 30 days old.
func TestSweep(t *testing.T) {
	s := open(t, Config{DSN: schema(t), patience: calm})
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s.set(t, func(tx store.Tx) error {
		for i := range 10 {
			k := store.IdempotencyKey{
				KeyScope: store.KeyScope{Merchant: "mer_a", Mode: payment.Test, Key: fmt.Sprint(i)}, Expires: now.Add(time.Duration(i-6) * time.Minute),
			}
			if _, _, err := tx.ClaimKey(k, now.Add(-time.Hour)); err != nil {
				return err
			}
		}
		for day := range 40 {
			d := payment.Delivery{ID: fmt.Sprint("whd_", day), Merchant: "mer_a", Mode: payment.Test, Try: 1, CreatedAt: now.AddDate(0, 0, -day)}
			if err := tx.PutDelivery(d); err != nil {
				return err
			}
		}
		return nil
	})
	for _, want := range []int{8, 8, 1, 0} { // 7 keys and 10 lines
		got, err := s.Sweep(t.Context(), now, 8)
		if got != want || err != nil {
			t.Errorf("sweep: got %d and error %v, want %d", got, err, want)
		}
	}
	for i, want := range map[int]error{6: store.ErrNotFound, 7: nil} {
		err := s.View(t.Context(), func(r store.Reader) error {
			_, err := r.Key(store.KeyScope{Merchant: "mer_a", Mode: payment.Test, Key: fmt.Sprint(i)})
			return err
		})
		if !errors.Is(err, want) {
			t.Errorf("key %d: got error %v, want %v", i, err, want)
		}
	}
}

// TestUnstorableText: PostgreSQL refuses zero bytes and what is not UTF-8. To
// look for such text finds nothing, and is no failure.
func TestUnstorableText(t *testing.T) {
	s := open(t, Config{DSN: schema(t), patience: calm})
	for _, text := range []string{"a\x00b", "\xff"} {
		err := s.View(t.Context(), func(r store.Reader) error {
			if _, err := r.Payment(text); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("payment %q: got error %v, want %v", text, err, store.ErrNotFound)
			}
			page, err := r.Payments(store.PaymentQuery{Reference: text})
			if err != nil || len(page.Data) > 0 {
				t.Errorf("list of %q: got %d payments and error %v, want none", text, len(page.Data), err)
			}
			_, err = r.Active(text)
			return err
		})
		if err != nil {
			t.Errorf("%q: got error %v, want none", text, err)
		}
	}
}

// TestOpenClosedDoors: a database that lets nobody in for now is away.
func TestOpenClosedDoors(t *testing.T) {
	dsn := schema(t)
	c, err := pgx.Connect(t.Context(), string(dsn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) }) // it has done its work
	name := "purser_test_" + token()
	for _, text := range []string{"CREATE DATABASE " + name, "ALTER DATABASE " + name + " ALLOW_CONNECTIONS false"} {
		if _, err := c.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if _, err := c.Exec(context.Background(), "DROP DATABASE "+name); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(string(dsn))
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	if _, err := Open(t.Context(), Config{DSN: DSN(u.String()), patience: calm}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got error %v, want %v", err, store.ErrUnavailable)
	}
}
