package seal

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"
)

func key(fill byte) []byte { return bytes.Repeat([]byte{fill}, KeySize) }

func box(t testing.TB, now []byte, retired ...[]byte) *Box {
	t.Helper()
	b, err := New(rand.Reader, now, retired...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	b := box(t, key(1))
	for _, plain := range []string{"", "x", strings.Repeat("ab", 32), strings.Repeat("x", MaxPlain)} {
		for _, context := range []string{"", "we_1", "a longer context\x00"} {
			sealed, err := b.Seal([]byte(plain), []byte(context))
			if err != nil {
				t.Fatalf("seal %d bytes: %v", len(plain), err)
			}
			if got, want := len(sealed), len(plain)+Overhead; got != want {
				t.Errorf("sealed: got %d bytes, want %d", got, want)
			}
			if len(plain) > 4 && bytes.Contains(sealed, []byte(plain[:4])) {
				t.Error("the sealed form shows the plain one")
			}
			got, err := b.Open(sealed, []byte(context))
			if err != nil || string(got) != plain {
				t.Errorf("open: got %q, %v; want %q", got, err, plain)
			}
		}
	}
	if _, err := b.Seal(make([]byte, MaxPlain+1), nil); !errors.Is(err, ErrTooLong) {
		t.Errorf("seal too much: got %v, want %v", err, ErrTooLong)
	}
}

// The form on disk may not change: what was sealed once must open for years. The
// wanted one was made by another implementation of HKDF and AES-GCM (Node.js).
func TestForm(t *testing.T) {
	b, err := New(bytes.NewReader(bytes.Repeat([]byte{7}, nonceSize)), key(1))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := b.Seal([]byte("a secret"), []byte("we_1"))
	if err != nil {
		t.Fatal(err)
	}
	const want = "0133c4d153070707070707070707070707e43081ac4d92eff83fbcde655c7de2609dd1dff57e191c60"
	if got := hex.EncodeToString(sealed); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTampering(t *testing.T) {
	b := box(t, key(1))
	context := []byte("we_1")
	sealed, err := b.Seal([]byte("a secret"), context)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(name string, sealed, context []byte) {
		t.Helper()
		if got, err := b.Open(sealed, context); !errors.Is(err, ErrOpen) || got != nil {
			t.Errorf("%s: got %q, %v; want %v", name, got, err, ErrOpen)
		}
	}
	for i := range sealed {
		for bit := range 8 {
			bad := bytes.Clone(sealed)
			bad[i] ^= 1 << bit
			refused(fmt.Sprintf("bit %d of byte %d", bit, i), bad, context)
		}
		refused(fmt.Sprintf("the first %d bytes", i), sealed[:i], context)
	}
	refused("a byte more", append(bytes.Clone(sealed), 0), context)
	refused("too long", make([]byte, MaxPlain+Overhead+1), context)
	for _, other := range []string{"", "we_2", "we_", "we_1 ", "we_1\x00"} {
		refused("context "+other, sealed, []byte(other))
	}
	// A byte that moves from the context into what is sealed, and back.
	refused("shifted", sealed[1:], append([]byte{sealed[0]}, context...))
}

func TestRotation(t *testing.T) {
	before, after, neither := box(t, key(1)), box(t, key(2), key(1)), box(t, key(2))
	old, err := before.Seal([]byte("a secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := after.Open(old, nil)
	if err != nil || string(got) != "a secret" {
		t.Errorf("a retired key: got %q, %v", got, err)
	}
	if _, err := neither.Open(old, nil); !errors.Is(err, ErrUnknownKey) || !errors.Is(err, ErrOpen) {
		t.Errorf("a key that is gone: got %v, want %v", err, ErrUnknownKey)
	}
	fresh, err := after.Seal(got, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := before.Open(fresh, nil); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("sealed with the retired key: got %v, want %v", err, ErrUnknownKey)
	}
	for _, row := range []struct {
		name   string
		sealed []byte
		want   bool
	}{{"old", old, false}, {"fresh", fresh, true}, {"nothing", nil, false}} {
		if got := after.Current(row.sealed); got != row.want {
			t.Errorf("current, %s: got %t, want %t", row.name, got, row.want)
		}
	}
}

// The same text twice looks different each time: the nonce is fresh.
func TestNonce(t *testing.T) {
	b := box(t, key(1))
	seen := map[string]bool{}
	for range 1000 {
		sealed, err := b.Seal([]byte("same"), nil)
		if err != nil {
			t.Fatal(err)
		}
		seen[string(sealed[headerSize:headerSize+nonceSize])] = true
	}
	if got, want := len(seen), 1000; got != want {
		t.Errorf("got %d nonces of 1000, want %d", got, want)
	}
}

func TestNew(t *testing.T) {
	for _, n := range []int{0, 16, 31, 33, 64} {
		if _, err := New(nil, make([]byte, n)); !errors.Is(err, ErrKey) {
			t.Errorf("key of %d bytes: got %v, want %v", n, err, ErrKey)
		}
		if _, err := New(nil, key(1), make([]byte, n)); !errors.Is(err, ErrKey) {
			t.Errorf("retired key of %d bytes: got %v, want %v", n, err, ErrKey)
		}
	}
	broken, err := New(iotest.ErrReader(errors.New("no entropy")), key(1))
	if err != nil {
		t.Fatal(err)
	}
	if sealed, err := broken.Seal([]byte("x"), nil); err == nil {
		t.Errorf("sealed %x without randomness", sealed)
	}
	short, err := New(strings.NewReader("short"), key(1))
	if err != nil {
		t.Fatal(err)
	}
	if sealed, err := short.Seal([]byte("x"), nil); err == nil {
		t.Errorf("sealed %x with 5 random bytes", sealed)
	}
	b, err := New(nil, key(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Seal([]byte("x"), nil); err != nil {
		t.Errorf("the system's randomness: %v", err)
	}
}

func TestBoxPrintsNothing(t *testing.T) {
	b := box(t, key('k'))
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", slog.Any("box", b))
	marshaled, err := json.Marshal(map[string]any{"box": b})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"%v": fmt.Sprintf("%v", b), "%+v": fmt.Sprintf("%+v", b), "%#v": fmt.Sprintf("%#v", b), "%x": fmt.Sprintf("%x", b),
		"%d": fmt.Sprintf("%d", b), "log": logged.String(), "json": string(marshaled),
	} {
		if !strings.Contains(text, redacted) && name != "json" || strings.Contains(text, "kkkk") || strings.Contains(text, "6b6b") {
			t.Errorf("%s: got %q", name, text)
		}
	}
	if got, want := string(marshaled), `{"box":{}}`; got != want {
		t.Errorf("json: got %s, want %s", got, want)
	}
}

func FuzzOpen(f *testing.F) {
	// Every process of the fuzzer seals the same.
	b, err := New(bytes.NewReader(make([]byte, nonceSize)), key(1))
	if err != nil {
		f.Fatal(err)
	}
	sealed, err := b.Seal([]byte("a secret"), []byte("we_1"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed, []byte("we_1"))
	f.Add(sealed, []byte("we_2"))
	f.Add([]byte{version}, []byte{})
	f.Fuzz(func(t *testing.T, text, context []byte) {
		got, err := b.Open(text, context)
		genuine := bytes.Equal(text, sealed) && string(context) == "we_1"
		if (err == nil) != genuine {
			t.Errorf("got %q, %v; genuine is %t", got, err, genuine)
		}
		if err != nil && !errors.Is(err, ErrOpen) {
			t.Errorf("got %v, want %v", err, ErrOpen)
		}
	})
}

func FuzzSeal(f *testing.F) {
	b := box(f, key(1))
	f.Add([]byte("a secret"), []byte("we_1"))
	f.Fuzz(func(t *testing.T, plain, context []byte) {
		sealed, err := b.Seal(plain, context)
		if len(plain) > MaxPlain {
			if !errors.Is(err, ErrTooLong) {
				t.Errorf("got %v, want %v", err, ErrTooLong)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := b.Open(sealed, context)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("got %q, %v; want %q", got, err, plain)
		}
	})
}
