package postgres

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/purser-pay/purser/modules/store"
	"github.com/purser-pay/purser/modules/store/storetest"
)

// variable names the server for tests. Where it is set, the server must be
// there; where it is not, tests look on this machine, and are skipped where there
// is none.
const variable = "PURSER_POSTGRES"

const local = "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable"

// calm is the patience of tests that are about something else: a machine that
// does much beside them makes the server slow.
const calm = 20 * time.Second

// schema makes a schema of its own for a test, and returns a DSN that leads to
// it. It is dropped with the test.
func schema(t testing.TB) DSN {
	t.Helper()
	dsn, required := os.LookupEnv(variable)
	if !required {
		dsn = local
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, dsn)
	if err != nil && !required {
		t.Skip("no PostgreSQL on this machine, and " + variable + " is not set")
	}
	if err != nil {
		t.Fatalf("%s is set, but leads nowhere: %v", variable, err)
	}
	defer c.Close(ctx)
	name := "purser_test_" + token()
	if _, err := c.Exec(ctx, "CREATE SCHEMA "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		c, err := pgx.Connect(ctx, dsn)
		if err != nil {
			t.Errorf("drop schema: %v", err)
			return
		}
		defer c.Close(ctx)
		if _, err := c.Exec(ctx, "DROP SCHEMA "+name+" CASCADE"); err != nil {
			t.Errorf("drop schema: %v", err)
		}
	})
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme == "" {
		t.Fatalf("%s is no URL", variable)
	}
	q := u.Query()
	q.Set("search_path", name)
	u.RawQuery = q.Encode()
	return DSN(u.String())
}

func token() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// open returns a store that is closed with the test.
func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("open: got error %v, want none", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: got error %v, want none", err)
		}
	})
	return s
}

// set runs an update that must not fail.
func (s *Store) set(t *testing.T, fn func(store.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), fn); err != nil {
		t.Fatalf("update: got error %v, want none", err)
	}
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t testing.TB) store.Store {
		t.Helper()
		return open(t, Config{DSN: schema(t), patience: calm})
	})
}

func TestReopen(t *testing.T) {
	storetest.Reopen(t, func(t testing.TB) func() store.Store {
		t.Helper()
		dsn := schema(t)
		return func() store.Store { return open(t, Config{DSN: dsn, patience: calm}) }
	})
}

func BenchmarkPay(b *testing.B) {
	storetest.Benchmark(b, func(t testing.TB) store.Store {
		t.Helper()
		return open(t, Config{DSN: schema(t), patience: calm})
	})
}

func BenchmarkSpend(b *testing.B) {
	storetest.BenchmarkSpend(b, func(t testing.TB) store.Store {
		t.Helper()
		return open(t, Config{DSN: schema(t), patience: calm})
	})
}

func BenchmarkKeyChange(b *testing.B) {
	storetest.BenchmarkKeyChange(b, func(t testing.TB) store.Store {
		t.Helper()
		return open(t, Config{DSN: schema(t), patience: calm})
	})
}

func TestGrown(t *testing.T) {
	storetest.Grown(t, func(t testing.TB) store.Store {
		t.Helper()
		return open(t, Config{DSN: schema(t), patience: calm})
	})
}
