package access_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/access"
)

func selector(claim access.TokenClaim, value string) access.TokenSelector {
	return access.TokenSelector{Issuer: "https://idp.example", Claim: claim, Value: value}
}

// TestRevokedTokens asks about tokens with one revocation, from memory and, where that
// may be out of date, from the store.
func TestRevokedTokens(t *testing.T) {
	names := func(issued time.Time) access.TokenNames {
		return access.TokenNames{Issuer: "https://idp.example", ID: "x", Subject: "till", ClientID: "app", IssuedAt: issued}
	}
	before, after := start.Add(-time.Minute), start.Add(access.ClockSkew)
	elsewhere, anonymous := names(before), access.TokenNames{Issuer: "https://idp.example", IssuedAt: before}
	elsewhere.Issuer = "https://other.example"
	for _, tt := range []struct {
		name    string
		by      access.TokenSelector
		token   access.TokenNames
		revoked bool
	}{
		{"its ID", selector(access.ByTokenID, "x"), names(before), true},
		{"its ID, issued later: it is the one", selector(access.ByTokenID, "x"), names(after), true},
		{"another ID", selector(access.ByTokenID, "y"), names(before), false},
		{"its subject", selector(access.BySubject, "till"), names(before), true},
		{"its subject, by a clock that is ahead", selector(access.BySubject, "till"), names(after.Add(-time.Second)), true},
		{"its subject, issued later", selector(access.BySubject, "till"), names(after), false},
		{"its subject, issued nobody knows when", selector(access.BySubject, "till"), names(time.Time{}), true},
		{"another subject", selector(access.BySubject, "x"), names(before), false},
		{"its client", selector(access.ByClientID, "app"), names(before), true},
		{"its client, issued later", selector(access.ByClientID, "app"), names(after), false},
		{"another client", selector(access.ByClientID, "till"), names(before), false},
		{"its issuer", selector(access.ByIssuer, ""), names(before), true},
		{"its issuer, issued later", selector(access.ByIssuer, ""), names(after), false},
		{"its issuer, and it says nothing of itself", selector(access.ByIssuer, ""), anonymous, true},
		{"another's subject, and it says nothing of itself", selector(access.BySubject, "till"), anonymous, false},
		{"another issuer's ID", selector(access.ByTokenID, "x"), elsewhere, false},
		{"another issuer", selector(access.ByIssuer, ""), elsewhere, false},
	} {
		for _, current := range []bool{true, false} {
			revocation := access.TokenRevocation{TokenSelector: tt.by, RevokedAt: start}
			known := access.NewRevokedTokens(func(context.Context) ([]access.TokenRevocation, error) {
				if current {
					return []access.TokenRevocation{revocation}, nil
				}
				return nil, nil
			}, func() time.Time { return start })
			known.Distrust(func() bool { return current }, func(_ context.Context, wanted []access.TokenSelector) ([]access.TokenRevocation, error) {
				if slices.Contains(wanted, tt.by) {
					return []access.TokenRevocation{revocation}, nil
				}
				return nil, nil
			})
			if err := known.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			err := known.Check(t.Context(), tt.token)
			if revoked := errors.Is(err, access.ErrTokenRevoked); revoked != tt.revoked || err != nil && !revoked {
				t.Errorf("%s, from memory %t: got %v, want revoked %t", tt.name, current, err, tt.revoked)
			}
		}
	}
}

// Where nobody can say, no token is let in.
func TestRevokedTokensUnknown(t *testing.T) {
	away := errors.New("away")
	fail := true
	known := access.NewRevokedTokens(func(context.Context) ([]access.TokenRevocation, error) {
		if fail {
			return nil, away
		}
		return nil, nil
	}, func() time.Time { return start })
	current := true
	known.Distrust(func() bool { return current }, func(context.Context, []access.TokenSelector) ([]access.TokenRevocation, error) {
		return nil, away
	})
	token := access.TokenNames{Issuer: "https://idp.example", ID: "x"}
	if err := known.Refresh(t.Context()); !errors.Is(err, away) {
		t.Errorf("a reading that fails: got %v, want %v", err, away)
	}
	if err := known.Check(t.Context(), token); !errors.Is(err, access.ErrNotLoaded) {
		t.Errorf("never read: got %v, want %v", err, access.ErrNotLoaded)
	}
	fail = false
	if err := errors.Join(known.Refresh(t.Context()), known.Check(t.Context(), token)); err != nil {
		t.Errorf("read: got %v, want none", err)
	}
	current = false
	if err := known.Check(t.Context(), token); !errors.Is(err, access.ErrNotLoaded) || !errors.Is(err, away) {
		t.Errorf("out of date, and the store is away: got %v, want %v", err, access.ErrNotLoaded)
	}
}

// TestRevokedTokensTold: each revocation is told once, and those that were there at the
// start are old news.
func TestRevokedTokensTold(t *testing.T) {
	now := start
	var all []access.TokenRevocation
	revoke := func(value string) {
		all = slices.DeleteFunc(all, func(r access.TokenRevocation) bool { return r.Value == value })
		all = append(all, access.TokenRevocation{TokenSelector: selector(access.BySubject, value), RevokedAt: now})
	}
	known := access.NewRevokedTokens(func(context.Context) ([]access.TokenRevocation, error) { return all, nil }, func() time.Time { return now })
	var told []time.Duration
	known.Watch(func(lag time.Duration) { told = append(told, lag) })
	want := func(what string, size int, lags ...time.Duration) {
		t.Helper()
		now = now.Add(time.Second)
		if err := known.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(told, lags) || known.Len() != size {
			t.Errorf("%s: got %v and %d of them, want %v and %d", what, told, known.Len(), lags, size)
		}
		told = nil
	}
	if known.Len() != 0 {
		t.Errorf("before the first reading there are %d, want none", known.Len())
	}
	revoke("a")
	want("the first reading", 1)
	revoke("b")
	want("a new one", 2, time.Second)
	want("nothing new", 2)
	revoke("a")
	want("one that is renewed", 2, time.Second)
}

func TestTokenSelector(t *testing.T) {
	long := strings.Repeat("x", 255)
	for _, tt := range []struct {
		name string
		s    access.TokenSelector
		good bool
	}{
		{"a token", selector(access.ByTokenID, "x"), true},
		{"a subject as long as can be", selector(access.BySubject, long), true},
		{"a client", selector(access.ByClientID, "münchen 7"), true},
		{"an issuer", selector(access.ByIssuer, ""), true},
		{"an issuer with a value", selector(access.ByIssuer, "x"), false},
		{"no value", selector(access.BySubject, ""), false},
		{"too long", selector(access.BySubject, long+"x"), false},
		{"two lines", selector(access.BySubject, "a\nb"), false},
		{"no UTF-8", selector(access.BySubject, "a\xff"), false},
		{"no such claim", selector("aud", "x"), false},
		{"no issuer", access.TokenSelector{Claim: access.ByTokenID, Value: "x"}, false},
	} {
		if err := tt.s.Check(); (err == nil) != tt.good {
			t.Errorf("%s: got %v, want good %t", tt.name, err, tt.good)
		}
	}
}

func BenchmarkRevokedTokens(b *testing.B) {
	all := make([]access.TokenRevocation, 10_000)
	for i := range all {
		all[i] = access.TokenRevocation{TokenSelector: selector(access.ByTokenID, strconv.Itoa(i)), RevokedAt: start}
	}
	known := access.NewRevokedTokens(func(context.Context) ([]access.TokenRevocation, error) { return all, nil }, time.Now)
	if err := known.Refresh(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := known.Check(b.Context(), access.TokenNames{Issuer: "https://idp.example", ID: "y", Subject: "till", IssuedAt: start}); err != nil {
			b.Fatal(err)
		}
	}
}
