package token_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/purser-pay/purser/modules/token"
)

// writeSet writes a file and returns its path.
func writeSet(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestKeySetsThatAreRefused: none of these is taken, so that nobody is let in, and
// whoever configured it hears why.
func TestKeySetsThatAreRefused(t *testing.T) {
	many := make([]string, 101)
	for i := range many {
		many[i] = es().jwk(claims{"kid": fmt.Sprint(i)})
	}
	fetched := func(change func(*idp)) func(*idp) { return change }
	set := func(keys ...string) func(*idp) { return func(i *idp) { i.body = setOf(keys...) } }
	tests := []struct {
		name   string
		change func(*idp)
		want   string
	}{
		{"a redirect", fetched(func(i *idp) { i.status = 302 }), "status 302"},
		{"an answer from elsewhere", fetched(func(i *idp) { i.moved = "https://hostile.example/jwks.json" }), "another address"},
		{"not found", fetched(func(i *idp) { i.status = 404 }), "status 404"},
		{"no content", fetched(func(i *idp) { i.status = 204 }), "status 204"},
		{"a failure", fetched(func(i *idp) { i.err = errors.New("connection refused") }), "connection refused"},
		{"an answer that does not come", fetched(func(i *idp) { i.after = time.Hour }), "deadline exceeded"},
		{"10 MB", fetched(func(i *idp) { i.body = strings.Repeat(" ", 10_000_000) }), "more than 256 KiB"},
		{"HTML", fetched(func(i *idp) { i.body = "<html><body>Sign in" }), "not one JSON object"},
		{"nothing", fetched(func(i *idp) { i.body = "" }), "not one JSON object"},
		{"a list of keys", fetched(func(i *idp) { i.body = "[" + es().jwk(nil) + "]" }), "not one JSON object"},
		{"one key", fetched(func(i *idp) { i.body = es().jwk(nil) }), "keys is not an array"},
		{"keys by name", fetched(func(i *idp) { i.body = `{"keys":{"ec":` + es().jwk(nil) + `}}` }), "keys is not an array"},
		{"keys twice", fetched(func(i *idp) { i.body = `{"keys":[],"keys":[` + es().jwk(nil) + `]}` }), "not one JSON object"},
		{"keys and KEYS", fetched(func(i *idp) { i.body = `{"KEYS":[],"keys":[` + es().jwk(nil) + `]}` }), "differ in case"},
		{"keys that are none", fetched(func(i *idp) { i.body = `{"keys":[1]}` }), "key 0: not one JSON object"},
		{"no keys", set(), "no keys"},
		{"101 keys", set(many...), "101 keys"},
		{"two keys of one name", set(es().jwk(nil), ed().jwk(claims{"kid": "ec"})), "that of another one"},
		{"a private key of EC", set(ed().jwk(nil), es().jwk(claims{"d": b64(make([]byte, 32))})), "key 1: a private or symmetric key"},
		{"a private key of RSA", set(ed().jwk(nil), ps().jwk(claims{"p": "AQAB"})), "key 1: a private or symmetric key"},
		{"a private key for another use", set(ed().jwk(nil), ps().jwk(claims{"use": "enc", "d": "AQAB"})), "key 1: a private or symmetric key"},
		{"a symmetric key", set(ed().jwk(nil), `{"kty":"oct","k":"AAAA","alg":"HS256"}`), "key 1: a private or symmetric key"},
		{"a symmetric key without a value", set(ed().jwk(nil), `{"kty":"oct"}`), "key 1: a private or symmetric key"},
		{"RS256 alone, which is not allowed", set(rs().jwk(nil)), "something else than our algorithms"},
		{"for encryption", set(es().jwk(claims{"use": "enc"})), "something else"},
		{"to sign with, which is not to verify with", set(es().jwk(claims{"key_ops": []string{"sign"}})), "something else"},
		{"of another algorithm", set(es().jwk(claims{"alg": "ECDH-ES"})), "something else"},
		{"of an algorithm of another kind", set(es().jwk(claims{"alg": "EdDSA"})), "something else"},
		{"of P-384", set(es().jwk(claims{"crv": "P-384"})), "something else"},
		{"of secp256k1", set(es().jwk(claims{"crv": "secp256k1"})), "something else"},
		{"of X25519", set(ed().jwk(claims{"crv": "X25519"})), "something else"},
		{"of an unknown kind", set(es().jwk(claims{"kty": "AKP"})), "something else"},
		{"kty in lower case", set(es().jwk(claims{"kty": "ec"})), "something else"},
		{"beside the curve", set(es().jwk(claims{"y": b64(make([]byte, 32))})), "not a point"},
		{"the zero point", set(es().jwk(claims{"x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))})), "not a point"},
		{"a coordinate beyond the field", set(es().jwk(claims{"x": b64([]byte(strings.Repeat("\xff", 32)))})), "not a point"},
		{"a short coordinate", set(es().jwk(claims{"x": b64(make([]byte, 31))})), "not of 32 bytes"},
		{"a padded coordinate", set(ed().jwk(claims{"x": b64(make([]byte, 32)) + "="})), "canonical base64url"},
		{"a key of 33 bytes", set(ed().jwk(claims{"x": b64(make([]byte, 33))})), "not of 32 bytes"},
		{"RSA of 1024 bits", set(ps().jwk(claims{"n": b64([]byte(strings.Repeat("\xff", 128)))})), "RSA of 1024 bits"},
		{"RSA of 16384 bits", set(ps().jwk(claims{"n": b64([]byte(strings.Repeat("\xff", 2048)))})), "RSA of 16384 bits"},
		{"RSA with zeros before it", set(ps().jwk(claims{"n": b64([]byte("\x00" + strings.Repeat("\xff", 256)))})), "begins with zeros"},
		{"RSA with an even modulus", set(ps().jwk(claims{"n": b64([]byte(strings.Repeat("\xfe", 256)))})), "not that of RSA"},
		{"RSA with exponent 1", set(ps().jwk(claims{"e": "AQ"})), "not that of RSA"},
		{"RSA with an even exponent", set(ps().jwk(claims{"e": "BA"})), "not that of RSA"},
		{"RSA with a huge exponent", set(ps().jwk(claims{"e": "_____w"})), "not that of RSA"},
		{"RSA without an exponent", set(ps().jwk(claims{"e": absent{}})), "e is missing"},
		{"kid is a number", set(es().jwk(claims{"kid": 1})), "kid is not a string"},
		{"key_ops is text", set(es().jwk(claims{"key_ops": "verify"})), "key_ops is not an array"},
		{"alg and ALG", set(`{"ALG":"none",` + es().jwk(nil)[1:]), "key 0: two names"},
	}
	for _, tt := range tests {
		inBubble(t, func(_ *token.Config, i *idp) { tt.change(i) }, func(r *rig) {
			t := r.t
			r.refuses(t, es().token(good(time.Now())), token.ErrUnavailable)
			time.Sleep(10 * time.Second) // of the bubble
			if err := r.told(t); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: told of %v, want %q", tt.name, err, tt.want)
			}
			// As soon as it is sound, it is taken.
			r.idp.set(func(i *idp) { i.body, i.status, i.err, i.after, i.moved = setOf(es().jwk(nil)), 0, nil, 0, "" })
			time.Sleep(time.Minute)
			if err := r.told(t); err != nil {
				t.Errorf("%s: told of %v, want that it is back", tt.name, err)
			}
			r.takes(t, es().token(good(time.Now())))
		})
	}
}

// TestKeysAreNotShy: what is not for us does not spoil a set.
func TestKeysAreNotShy(t *testing.T) {
	inBubble(t, func(_ *token.Config, i *idp) {
		i.body = `{"issued":1,"keys":[` + strings.Join([]string{
			ps().jwk(claims{"use": "enc", "alg": "RSA-OAEP"}), es2().jwk(claims{"crv": "P-384"}), `{"kty":"AKP","alg":"ML-DSA-44","pub":"AA","kid":"pq"}`,
			es2().jwk(claims{"y": b64(make([]byte, 32))}), `{}`, es().jwk(claims{"x5c": []string{"MIIB"}, "key_ops": []string{"verify"}, "nbf": 1}),
		}, ",") + `]}`
	}, func(r *rig) {
		t := r.t
		r.takes(t, es().token(good(time.Now())))
	})
}

// TestClientThatFollows: a client that follows redirects against our advice does
// not get us to take what it found.
func TestClientThatFollows(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/jwks" {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
			return
		}
		fmt.Fprint(w, setOf(es().jwk(nil)))
	}))
	defer server.Close()
	is, told := anIssuer(), make(chan error, 10)
	is.JWKS = server.URL + "/jwks"
	v, err := token.New(token.Config{Issuers: []token.Issuer{is}, Client: server.Client(), Changed: func(_ string, err error) { told <- err }})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if err := <-told; err == nil || !strings.Contains(err.Error(), "another address") {
		t.Errorf("told of %v, want that the answer comes from another address", err)
	}
}

// TestNewClient: the client that the gateway uses does not even ask elsewhere.
func TestNewClient(t *testing.T) {
	asked := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer server.Close()
	is, told := anIssuer(), make(chan error, 10)
	is.JWKS = server.URL + "/jwks"
	v, err := token.New(token.Config{Issuers: []token.Issuer{is}, Client: token.NewClient(), Changed: func(_ string, err error) { told <- err }})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = <-told
	v.Close()
	if err == nil || !strings.Contains(err.Error(), "status 302") {
		t.Errorf("told of %v, want status 302", err)
	}
	close(asked)
	for path := range asked {
		if path != "/jwks" {
			t.Errorf("asked for %s, want no redirect followed", path)
		}
	}
}

// TestAddressIsNotTold: the address may have a key of its own in it.
func TestAddressIsNotTold(t *testing.T) {
	inBubble(t, func(cfg *token.Config, i *idp) {
		cfg.Issuers[0].JWKS = keysURL + "?key=hostile"
		i.err = &url.Error{Op: "Get", URL: cfg.Issuers[0].JWKS, Err: errors.New("no route")}
	}, func(r *rig) {
		t := r.t
		if err := r.told(t); err == nil || strings.Contains(err.Error(), "hostile") || !strings.Contains(err.Error(), "no route") {
			t.Errorf("told of %v, want the cause without the address", err)
		}
	})
}

// TestTokensWaitForTheFirstKeys, and not for ever.
func TestTokensWaitForTheFirstKeys(t *testing.T) {
	inBubble(t, func(_ *token.Config, i *idp) { i.after = 1500 * time.Millisecond }, func(r *rig) {
		t := r.t
		began := time.Now()
		r.takes(t, es().token(good(began)))
		if took := time.Since(began); took != 1500*time.Millisecond {
			t.Errorf("took %v, want to wait for the keys, which need 1.5s", took)
		}
	})
	inBubble(t, func(_ *token.Config, i *idp) { i.after = time.Hour }, func(r *rig) {
		t := r.t
		began := time.Now()
		r.refuses(t, es().token(good(began)), token.ErrUnavailable)
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("took %v, want 2s", took)
		}
		gone, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		began = time.Now()
		if _, err := r.Verify(gone, es().token(good(began))); !errors.Is(err, token.ErrUnavailable) || time.Since(began) > time.Millisecond {
			t.Errorf("got %v after %v, want no longer a wait than the caller's", err, time.Since(began))
		}
	})
}

// TestWaitersAreBounded: who comes when 256 wait already is answered at once.
func TestWaitersAreBounded(t *testing.T) {
	inBubble(t, func(_ *token.Config, i *idp) { i.after = time.Hour }, func(r *rig) {
		t := r.t
		text := es().token(good(time.Now()))
		var all sync.WaitGroup
		var mu sync.Mutex
		took := map[time.Duration]int{}
		for range 300 {
			all.Go(func() {
				began := time.Now()
				_, err := r.Verify(t.Context(), text)
				mu.Lock()
				defer mu.Unlock()
				took[time.Since(began)]++
				if !errors.Is(err, token.ErrUnavailable) {
					t.Errorf("got %v, want ErrUnavailable", err)
				}
			})
		}
		all.Wait()
		if took[0] != 44 || took[2*time.Second] != 256 {
			t.Errorf("waits: %v, want 256 of 2s and 44 of none", took)
		}
	})
}

// TestRotation: a new key is known by the first token that uses it, and one that
// is gone is good for nothing, remembered or not.
func TestRotation(t *testing.T) {
	inBubble(t, func(_ *token.Config, i *idp) { i.body = setOf(es().jwk(nil)) }, func(r *rig) {
		t := r.t
		text := es().token(good(time.Now()))
		r.takes(t, text)
		synctest.Wait()

		// However short the time since the keys were read.
		r.idp.publish(es().jwk(nil), es2().jwk(nil))
		r.takes(t, es2().token(good(time.Now())))
		r.takes(t, text)
		if got := r.idp.count(); got != 2 {
			t.Errorf("%d fetches, want 2: the second for the key that was not known", got)
		}

		r.idp.publish(es2().jwk(nil))
		r.takes(t, text)                                                                       // it has not been heard yet
		r.refuses(t, signer{"ES256", "ec3", anEC()}.token(good(time.Now())), token.ErrInvalid) // has the keys fetched
		r.refuses(t, text, token.ErrInvalid)
		r.takes(t, es2().token(good(time.Now())))
	})
}

// TestWithdrawnKey: nobody need ask for it; within five minutes it is known.
func TestWithdrawnKey(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		t := r.t
		text := es().token(good(time.Now()).with(claims{"exp": time.Now().Add(time.Hour).Unix()}))
		r.takes(t, text)
		r.idp.publish(es2().jwk(nil))
		time.Sleep(5*time.Minute - time.Second)
		r.takes(t, text)
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait() // the reading falls on this very moment
		r.refuses(t, text, token.ErrInvalid)
	})
}

// TestFlood: however many key IDs somebody invents, the issuer is asked twice and then
// once in ten seconds, and whoever has a key is not held up.
func TestFlood(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		t := r.t
		ok := good(time.Now())
		for i := range 300 { // 30 s
			kid := fmt.Sprint("invented-", i)
			r.refuses(t, signer{"EdDSA", kid, anEd()}.token(ok), token.ErrInvalid)
			r.takes(t, ed().token(ok))
			time.Sleep(100 * time.Millisecond)
		}
		r.idp.mu.Lock()
		defer r.idp.mu.Unlock()
		got := make([]time.Duration, len(r.idp.at))
		for i, at := range r.idp.at {
			got[i] = at.Sub(r.idp.at[0])
		}
		want := []time.Duration{0, 0, 100 * time.Millisecond, 10 * time.Second, 20 * time.Second}
		if !slices.Equal(got, want) {
			t.Errorf("fetches at %v, want the first, two at once, and then one each ten seconds: %v", got, want)
		}
	})
}

// TestNewKeyInAFile: a new key of a file is known by the first token that uses it, and
// who invents key IDs has the file read ten times a second and not more.
func TestNewKeyInAFile(t *testing.T) {
	path := writeSet(t, setOf(es().jwk(nil)))
	inBubble(t, func(cfg *token.Config, _ *idp) { cfg.Issuers[0].JWKS = path }, func(r *rig) {
		t := r.t
		r.takes(t, es().token(good(time.Now())))
		if err := os.WriteFile(path, []byte(setOf(es().jwk(nil), es2().jwk(nil))), 0o600); err != nil {
			t.Fatal(err)
		}
		r.takes(t, es2().token(good(time.Now())))
		time.Sleep(time.Second)
		invented := signer{"ES256", "ec3", anEC()}.token(good(time.Now()))
		for range 10 {
			r.refuses(t, invented, token.ErrInvalid)
		}
		if err := os.WriteFile(path, []byte(setOf(es2().jwk(nil), ed().jwk(nil))), 0o600); err != nil {
			t.Fatal(err)
		}
		r.refuses(t, ed().token(good(time.Now())), token.ErrInvalid) // the flood has used up its two
		time.Sleep(100 * time.Millisecond)
		r.takes(t, ed().token(good(time.Now())))
	})
}

// TestIssuerAway: while an issuer cannot be asked, the keys that are known stay
// good for a day, and of others nobody can say.
func TestIssuerAway(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		t := r.t
		r.idp.set(func(i *idp) { i.err = errors.New("away") })
		time.Sleep(6 * time.Minute)
		if err := r.told(t); err == nil || !strings.Contains(err.Error(), "away") {
			t.Errorf("told of %v, want that the keys could not be fetched", err)
		}
		r.takes(t, es().token(good(time.Now())))
		r.refuses(t, es2().token(good(time.Now())), token.ErrUnavailable)

		before := r.idp.count()
		time.Sleep(23*time.Hour + 53*time.Minute + 30*time.Second)
		if got := r.idp.count() - before; got < 23*60 || got > 24*60 {
			t.Errorf("%d fetches in a day, want one a minute", got)
		}
		text := es().token(good(time.Now()))
		r.takes(t, text)
		synctest.Wait()
		r.takes(t, text)
		if !r.Remembered(text) {
			t.Error("the token is not remembered")
		}
		time.Sleep(30 * time.Second) // which it would be for a minute
		r.refuses(t, text, token.ErrUnavailable)

		r.idp.set(func(i *idp) { i.err = nil })
		time.Sleep(time.Minute)
		if err := r.told(t); err != nil {
			t.Errorf("told of %v, want that the keys are back", err)
		}
		r.takes(t, es().token(good(time.Now())))
		if len(r.changes) > 0 {
			t.Errorf("told of %v besides", <-r.changes)
		}
	})
}

// TestBackOff: pauses double from a second to a minute, and chance shortens them
// by up to a half.
func TestBackOff(t *testing.T) {
	var half atomic.Bool
	inBubble(t, func(cfg *token.Config, i *idp) {
		i.err = errors.New("away")
		cfg.Chance = func() float64 {
			if half.Load() {
				return 0.5
			}
			return 0
		}
	}, func(r *rig) {
		t := r.t
		time.Sleep(4 * time.Minute)
		r.idp.mu.Lock()
		var pauses []string
		for i, at := range r.idp.at[1:] {
			pauses = append(pauses, at.Sub(r.idp.at[i]).String())
		}
		r.idp.mu.Unlock()
		if got, want := strings.Join(pauses, " "), "1s 2s 4s 8s 16s 32s 1m0s 1m0s"; got != want {
			t.Errorf("pauses of %s, want %s", got, want)
		}
		half.Store(true)
		time.Sleep(time.Minute) // the pause that was begun before ends in it
		before := r.idp.count()
		time.Sleep(90 * time.Second)
		if got := r.idp.count() - before; got != 2 {
			t.Errorf("%d fetches in 90 s, want one each 45 s", got)
		}

		// After a success it begins anew.
		half.Store(false)
		r.idp.set(func(i *idp) { i.err = nil })
		time.Sleep(2 * time.Minute)
		r.idp.set(func(i *idp) { i.err, i.at = errors.New("away"), nil })
		time.Sleep(5*time.Minute + 2*time.Second)
		r.idp.mu.Lock()
		defer r.idp.mu.Unlock()
		if n := len(r.idp.at); n < 3 || r.idp.at[1].Sub(r.idp.at[0]) != time.Second || r.idp.at[2].Sub(r.idp.at[1]) != 2*time.Second {
			t.Errorf("fetches at %v, want pauses of 1 s and 2 s", r.idp.at)
		}
	})
}

func TestFile(t *testing.T) {
	path := writeSet(t, setOf(es().jwk(nil)))
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	inBubble(t, func(cfg *token.Config, _ *idp) { cfg.Issuers[0].JWKS, cfg.Client = path, nil }, func(r *rig) {
		t := r.t
		old, next := es().token(good(time.Now())), es2().token(good(time.Now()))
		r.takes(t, old)
		r.refuses(t, next, token.ErrInvalid)
		synctest.Wait()

		write(setOf(es2().jwk(nil)))
		time.Sleep(2 * time.Second)
		r.takes(t, next)
		r.refuses(t, old, token.ErrInvalid)

		// Somebody is not done yet.
		write(setOf(es().jwk(nil))[:40])
		time.Sleep(2 * time.Second)
		r.takes(t, next)
		if err := r.told(t); err == nil {
			t.Error("told of nothing, want that the file cannot be read")
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		r.takes(t, next)

		write(setOf(es().jwk(nil)))
		time.Sleep(time.Minute)
		if err := r.told(t); err != nil {
			t.Errorf("told of %v, want that the file is back", err)
		}
		r.takes(t, old)
		r.refuses(t, next, token.ErrInvalid)
	})
}

// TestBeforeAndAfter: before Start nobody is let in, and nobody waits; after Close
// the requests that are still under way are served with what is known.
func TestBeforeAndAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		text := es().token(good(time.Now()))
		began := time.Now()
		r.refuses(t, text, token.ErrUnavailable)
		if took := time.Since(began); took != 0 {
			t.Errorf("waited %v before Start, want not at all", took)
		}
		brief, cancel := context.WithCancel(t.Context())
		for range 2 {
			if err := r.Start(brief); err != nil {
				t.Fatal(err)
			}
		}
		cancel() // does not end it
		synctest.Wait()
		r.takes(t, text)
		before := r.idp.count()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if got := r.idp.count() - before; got != 1 {
			t.Errorf("%d fetches after the end of Start's context, want one in five minutes", got)
		}
		text = es().token(good(time.Now()))
		for range 2 {
			r.Close()
		}
		r.takes(t, text)
		began = time.Now()
		r.refuses(t, es2().token(good(began)), token.ErrUnavailable)
		if took := time.Since(began); took != 0 {
			t.Errorf("waited %v after Close, want not at all", took)
		}
	})
	r := newRig(t, nil)
	r.Close() // without Start
}

// TestCloseDoesNotWait for an issuer that hangs, nor do those who wait for it.
func TestCloseDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *token.Config, i *idp) { i.after = time.Hour })
		if err := r.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		answered := make(chan error)
		go func() {
			_, err := r.Verify(t.Context(), es().token(good(began)))
			answered <- err
		}()
		synctest.Wait()
		r.Close()
		if err := <-answered; !errors.Is(err, token.ErrUnavailable) || time.Since(began) != 0 {
			t.Errorf("got %v after %v, want ErrUnavailable at once", err, time.Since(began))
		}
	})
}
