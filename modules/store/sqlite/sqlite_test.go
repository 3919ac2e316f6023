package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/purser-pay/purser/modules/store"
	"github.com/purser-pay/purser/modules/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t testing.TB) store.Store {
		t.Helper()
		return open(t, Config{Path: filepath.Join(t.TempDir(), "purser.db")})
	})
}

func TestReopen(t *testing.T) {
	storetest.Reopen(t, func(t testing.TB) func() store.Store {
		t.Helper()
		path := filepath.Join(t.TempDir(), "purser.db")
		return func() store.Store { return open(t, Config{Path: path}) }
	})
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

func BenchmarkPay(b *testing.B) {
	storetest.Benchmark(b, func(t testing.TB) store.Store {
		t.Helper()
		return open(t, Config{Path: filepath.Join(t.TempDir(), "purser.db")})
	})
}

func BenchmarkSpend(b *testing.B) {
	storetest.BenchmarkSpend(b, func(t testing.TB) store.Store {
		t.Helper()
		return open(t, Config{Path: filepath.Join(t.TempDir(), "purser.db")})
	})
}

func BenchmarkKeyChange(b *testing.B) {
	storetest.BenchmarkKeyChange(b, func(t testing.TB) store.Store {
		t.Helper()
		return open(t, Config{Path: filepath.Join(t.TempDir(), "purser.db")})
	})
}

func TestGrown(t *testing.T) {
	storetest.Grown(t, func(t testing.TB) store.Store {
		t.Helper()
		return open(t, Config{Path: filepath.Join(t.TempDir(), "purser.db")})
	})
}
