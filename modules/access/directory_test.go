package access_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
)

// directoryOf returns a directory of one merchant and its keys, which is loaded.
func directoryOf(t testing.TB, pepper []byte, now *time.Time, shop access.Merchant, keys *[]access.Key) *access.Directory {
	t.Helper()
	return access.NewDirectory(pepper, func(context.Context) ([]access.Merchant, []access.Key, error) {
		return []access.Merchant{shop}, *keys, nil
	}, func() time.Time { return *now })
}

func TestAuthenticateFrom(t *testing.T) {
	now := start
	is := issuer(&now)
	shop, _ := is.CreateMerchant("Shop")
	office := netip.MustParsePrefix("203.0.113.0/24")
	key, text, err := is.CreateKey(access.KeyRequest{
		Merchant: shop.ID, Mode: payment.Live, AllowIP: []netip.Prefix{office, netip.MustParsePrefix("2001:db8:1::/48")},
	})
	if err != nil {
		t.Fatal(err)
	}
	free, freeText, err := is.CreateKey(access.KeyRequest{Merchant: shop.ID, Mode: payment.Live})
	if err != nil {
		t.Fatal(err)
	}
	revoked, revokedText, err := is.CreateKey(access.KeyRequest{Merchant: shop.ID, Mode: payment.Live, AllowIP: []netip.Prefix{office}})
	if err != nil {
		t.Fatal(err)
	}
	forged, _ := access.NewSecret(rand.Reader, key.ID, payment.Live)
	keys := []access.Key{key, free, access.RevokeKey(revoked, now)}
	d := directoryOf(t, pepper, &now, shop, &keys)
	if err := d.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, text, from string
		want             error
	}{
		{"from the office", text, "203.0.113.7", nil},
		{"from the office, as IPv6 writes it", text, "::ffff:203.0.113.7", nil},
		{"from its last address", text, "203.0.113.255", nil},
		{"from next door", text, "203.0.114.0", access.ErrNetwork},
		{"by IPv6", text, "2001:db8:1:2::3", nil},
		{"by IPv6 with a zone", text, "2001:db8:1::3%eth0", nil},
		{"by IPv6 from next door", text, "2001:db8:2::3", access.ErrNetwork},
		{"from nobody knows where", text, "", access.ErrNetwork},
		{"a key without networks", freeText, "198.51.100.1", nil},
		{"a key without networks, from nobody knows where", freeText, "", nil},
		{"a wrong secret, from next door", forged, "203.0.114.0", access.ErrWrongKey},
		{"a revoked key, from next door", revokedText, "203.0.114.0", access.ErrUnauthenticated},
	} {
		var from netip.Addr
		if tt.from != "" {
			from = netip.MustParseAddr(tt.from)
		}
		p, err := d.AuthenticateFrom(t.Context(), tt.text, from)
		if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || (p.Key == "") != (err != nil) {
			t.Errorf("%s: got %v, %v; want error %v", tt.name, p.Key, err, tt.want)
		}
		if err != nil && !errors.Is(err, access.ErrUnauthenticated) {
			t.Errorf("%s: %v is no ErrUnauthenticated", tt.name, err)
		}
		// Who has no good credential is not told that the address is wrong as well.
		if got, want := errors.Is(err, access.ErrWrongKey), errors.Is(tt.want, access.ErrWrongKey); got != want {
			t.Errorf("%s: %v is taken for a guess: %t, want %t", tt.name, err, got, want)
		}
		if errors.Is(tt.want, access.ErrUnauthenticated) && !errors.Is(tt.want, access.ErrNetwork) && errors.Is(err, access.ErrNetwork) {
			t.Errorf("%s: got %v, want no word of networks", tt.name, err)
		}
	}
	if _, err := d.Authenticate(t.Context(), text); !errors.Is(err, access.ErrNetwork) {
		t.Errorf("Authenticate of a key with networks: %v, want ErrNetwork", err)
	}
	next, made, err := is.RotateKey(key, time.Hour)
	if err != nil || !cmp.Equal(made.Key.AllowIP, key.AllowIP, cmpopts.EquateComparable(netip.Prefix{})) || len(next.AllowIP) != 2 {
		t.Errorf("rotated to networks %v, %v; want %v", made.Key.AllowIP, err, key.AllowIP)
	}
}

// TestPepperRotation walks a key from one pepper to the next.
func TestPepperRotation(t *testing.T) {
	now := start
	other, unrelated := bytes.Repeat([]byte{8}, 32), bytes.Repeat([]byte{9}, 32)
	is := issuer(&now)
	shop, _ := is.CreateMerchant("Shop")
	key, text, err := is.CreateKey(access.KeyRequest{Merchant: shop.ID, Mode: payment.Test})
	if err != nil {
		t.Fatal(err)
	}
	if want := access.PepperID(pepper); key.PepperID != want || !regexp.MustCompile(`^[0-9a-f]{8}$`).MatchString(want) {
		t.Errorf("got pepper %q, want %q", key.PepperID, want)
	}
	unmarked := key
	unmarked.PepperID = ""
	mislabeled := key
	mislabeled.PepperID = access.PepperID(other)
	rehashed := key
	parsed, _ := access.ParseKey(text)
	rehashed.Hash, rehashed.PepperID = parsed.Hash(other), access.PepperID(other)
	unmarkedNew := rehashed
	unmarkedNew.PepperID = ""
	marked := key

	for _, tt := range []struct {
		name    string
		current []byte
		former  [][]byte
		key     access.Key
		good    bool
		told    *access.Key
	}{
		{"nothing has changed", pepper, nil, key, true, nil},
		{"the next pepper is announced", pepper, [][]byte{other}, key, true, nil},
		{"the next pepper is current", other, [][]byte{pepper}, key, true, &rehashed},
		{"one of several", other, [][]byte{unrelated, pepper}, key, true, &rehashed},
		{"rehashed", other, [][]byte{pepper}, rehashed, true, nil},
		{"rehashed, at a node that only knows the announcement", pepper, [][]byte{other}, rehashed, true, &marked},
		{"the old pepper is given up, too early", other, nil, key, false, nil},
		{"the old pepper is given up", other, nil, rehashed, true, nil},
		{"made by an older release", pepper, nil, unmarked, true, &marked},
		{"made by an older release, under the former pepper", other, [][]byte{pepper}, unmarked, true, &rehashed},
		{"made by an older release, under the current pepper of two", other, [][]byte{pepper}, unmarkedNew, true, &rehashed},
		{"made by an older release, under a pepper that is gone", other, [][]byte{unrelated}, unmarked, false, nil},
		{"not of the pepper that it names", other, [][]byte{pepper}, mislabeled, false, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			keys := []access.Key{tt.key}
			d := directoryOf(t, tt.current, &now, shop, &keys)
			var told []access.Key
			if err := d.Former(tt.former, func(_ context.Context, k access.Key) { told = append(told, k) }); err != nil {
				t.Fatal(err)
			}
			if err := d.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			forged, _ := access.NewSecret(rand.Reader, key.ID, payment.Test)
			if _, err := d.Authenticate(t.Context(), forged); !errors.Is(err, access.ErrUnauthenticated) || len(told) > 0 {
				t.Errorf("forged: %v, told of %v", err, told)
			}
			for range 3 {
				if _, err := d.Authenticate(t.Context(), text); (err == nil) != tt.good {
					t.Errorf("got error %v, want none %v", err, tt.good)
				}
			}
			var want []access.Key
			if tt.told != nil {
				want = []access.Key{*tt.told} // once, not at each use
			}
			if diff := cmp.Diff(want, told); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
			if tt.told != nil { // and again where nobody has stored it
				defer func(was time.Time) { now = was }(now)
				now = now.Add(access.UsageEvery)
				if _, err := d.Authenticate(t.Context(), text); err != nil || len(told) != 2 {
					t.Errorf("a minute later: %v, told %d times, want 2", err, len(told))
				}
			}
		})
	}
}

func TestFormerRefuses(t *testing.T) {
	now := start
	keys := []access.Key(nil)
	d := directoryOf(t, pepper, &now, access.Merchant{}, &keys)
	var many [][]byte
	for i := range access.MaxFormer + 1 {
		many = append(many, bytes.Repeat([]byte{byte(20 + i)}, 32))
	}
	for name, former := range map[string][][]byte{"too many": many, "the current one": {pepper}, "twice": {many[0], many[0]}} {
		if err := d.Former(former, nil); err == nil || strings.Contains(err.Error(), string(many[0][:4])) {
			t.Errorf("%s: got error %v, want one without the pepper", name, err)
		}
	}
	if err := d.Former(many[1:], nil); err != nil {
		t.Errorf("%d peppers: %v", access.MaxFormer, err)
	}
}

func TestUsage(t *testing.T) {
	var u access.Usage
	for _, step := range []struct {
		key   string
		after time.Duration
		want  bool
	}{
		{"key_a", 0, true},
		{"key_a", 0, false},
		{"key_b", 0, true},
		{"key_a", access.UsageEvery - 1, false},
		{"key_a", access.UsageEvery, true},
		{"key_a", access.UsageEvery + 1, false},
		{"key_a", access.UsageEvery - time.Second, false}, // the clock was set back a little
		{"key_a", -time.Hour, true},                       // a lot
		{"key_a", -time.Hour + 1, false},
		{"key_b", 10 * access.UsageEvery, true},
	} {
		if got := u.Due(step.key, start.Add(step.after)); got != step.want {
			t.Errorf("%s after %s: got %v, want %v", step.key, step.after, got, step.want)
		}
	}
}

// TestUsageTogether: of those who use a key at the same time, one writes.
func TestUsageTogether(t *testing.T) {
	var u access.Usage
	for minute := range 3 {
		var due atomic.Int32
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for range 100 {
					if u.Due("key_a", start.Add(time.Duration(minute)*time.Minute)) {
						due.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if got := due.Load(); got != 1 {
			t.Errorf("minute %d: due %d times, want once", minute, got)
		}
	}
}

// TestUsageForgets: what is remembered is bounded, and what was forgotten is due.
func TestUsageForgets(t *testing.T) {
	var u access.Usage
	if !u.Due("key_first", start) {
		t.Fatal("not due at first")
	}
	for i := range 100_001 {
		u.Due(fmt.Sprint("key_", i), start)
	}
	if !u.Due("key_first", start) {
		t.Error("100,001 keys later the first one is still remembered")
	}
}

func BenchmarkUsage(b *testing.B) {
	var u access.Usage
	now := start
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Millisecond)
		u.Due("key_01h455vb4pex5vsknk084sn02q", now)
	}
}

// A node tells how late it has heard of a revocation: once for each, and not of
// those that lie ahead.
func TestWatchRevocations(t *testing.T) {
	now := start
	is := issuer(&now)
	shop, err := is.CreateMerchant("Shop")
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := is.CreateKey(access.KeyRequest{Merchant: shop.ID, Mode: payment.Test})
	if err != nil {
		t.Fatal(err)
	}
	rotated := key
	rotated.ID = "key_01h455vb4pex5vsknk084sn02z"
	keys := []access.Key{key, rotated}
	d := access.NewDirectory(pepper, func(context.Context) ([]access.Merchant, []access.Key, error) {
		return []access.Merchant{shop}, keys, nil
	}, func() time.Time { return now })
	var lags []time.Duration
	d.WatchRevocations(func(lag time.Duration) { lags = append(lags, lag) })
	refresh := func() {
		t.Helper()
		if err := d.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	refresh()
	revoked, ahead := access.RevokeKey(key, now), rotated
	ahead.RevokedAt = now.Add(time.Hour)
	keys = []access.Key{revoked, ahead}
	now = now.Add(30 * time.Millisecond)
	refresh()
	refresh()
	if diff := cmp.Diff([]time.Duration{30 * time.Millisecond}, lags); diff != "" {
		t.Errorf("lags (-want +got):\n%s", diff)
	}
}
