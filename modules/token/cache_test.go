package token_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/purser-pay/purser/modules/token"
)

// TestRememberedTokenEnds: a token that was verified is refused from its end on,
// and where the clock is set back before its beginning.
func TestRememberedTokenEnds(t *testing.T) {
	var back atomic.Int64 // ns
	inBubble(t, func(cfg *token.Config, _ *idp) {
		cfg.Now = func() time.Time { return time.Now().Add(-time.Duration(back.Load())) }
	}, func(r *rig) {
		t := r.t
		now := time.Now()
		text := es().token(good(now).with(claims{"exp": now.Add(20 * time.Second).Unix()}))
		r.takes(t, text)
		synctest.Wait()
		back.Store(int64(11 * time.Second))
		r.refuses(t, text, token.ErrInvalid)
		back.Store(int64(10 * time.Second))
		r.takes(t, text)
		back.Store(0)
		time.Sleep(30*time.Second - 1)
		r.takes(t, text)
		time.Sleep(time.Nanosecond)
		r.refuses(t, text, token.ErrInvalid)
	})
}

// TestForget: what was verified is verified anew, so that whatever has changed is
// looked at. Here the keys have, without the verifier's knowing.
func TestForget(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		t := r.t
		text := es().token(good(time.Now()))
		r.takes(t, text)
		synctest.Wait()
		if got := r.Remembered(text); !got {
			t.Error("a verified token is not remembered")
		}
		r.Forget()
		if got := r.Remembered(text); got {
			t.Error("a token is remembered after Forget")
		}
		r.takes(t, text)
		synctest.Wait()
		if got := r.Remembered(text); !got {
			t.Error("a token that was verified after Forget is not remembered")
		}
		time.Sleep(time.Minute)
		if got := r.Remembered(text); got {
			t.Error("a token is remembered for longer than a minute")
		}
	})
}

// TestRefusalsAreNotRemembered: nobody fills the cache without a valid token.
func TestRefusalsAreNotRemembered(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		t := r.t
		text := es().token(good(time.Now()).with(claims{"mode": "live"}))
		r.refuses(t, text, token.ErrInvalid)
		synctest.Wait()
		if r.Remembered(text) {
			t.Error("a refused token is remembered")
		}
	})
}

// TestLateResult: a verification under way while its key is withdrawn ends well,
// since it began before; but what it then remembers is good for nobody.
func TestLateResult(t *testing.T) {
	for name, change := range map[string]func(r *rig){
		"the keys change": func(r *rig) {
			r.idp.publish(es2().jwk(nil))
			time.Sleep(5 * time.Minute)
			synctest.Wait()
		},
		"all is forgotten": func(r *rig) { r.Forget() },
	} {
		var hook atomic.Pointer[func()]
		inBubble(t, func(cfg *token.Config, _ *idp) {
			cfg.Now = func() time.Time {
				if h := hook.Load(); h != nil {
					(*h)()
				}
				return time.Now()
			}
		}, func(r *rig) {
			t := r.t
			text := es().token(good(time.Now()).with(claims{"exp": time.Now().Add(time.Hour).Unix()}))
			// The clock is read by the look into the cache, by the look for the key, and
			// once more when the signature has been verified.
			readings := 0
			reading := func() {
				if readings++; readings == 3 {
					hook.Store(nil)
					change(r)
				}
			}
			hook.Store(&reading)
			r.takes(t, text)
			if readings != 3 {
				t.Fatalf("%s: the clock was read %d times, want 3", name, readings)
			}
			synctest.Wait() // the late result has arrived
			if r.Remembered(text) {
				t.Errorf("%s: a result from before is believed", name)
			}
		})
	}
}

// TestManyAtOnce has the race detector look at everything that goes on at once.
func TestManyAtOnce(t *testing.T) {
	provider := &idp{body: setOf(es().jwk(nil), ed().jwk(nil))}
	r := newRig(t, func(cfg *token.Config, _ *idp) {
		file := anIssuer()
		file.Name, file.JWKS = "https://file.example", writeSet(t, setOf(ed().jwk(nil)))
		cfg.Issuers, cfg.Client, cfg.Entries = append(cfg.Issuers, file), provider, 4
		cfg.Changed = nil
	})
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ok := good(time.Now())
	texts := []string{
		es().token(ok), ed().token(ok), ed().token(ok.with(claims{"iss": "https://file.example"})), ed().token(ok.with(claims{"jti": "2"})),
		ed().token(ok.with(claims{"jti": "3"})), ed().token(ok.with(claims{"jti": "4"})),
	}
	bad := signer{"EdDSA", "unknown", anEd()}.token(ok)
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 150 {
				if _, err := r.Verify(context.Background(), texts[(n+i)%len(texts)]); err != nil {
					t.Errorf("Verify: %v", err)
				}
				if _, err := r.Verify(context.Background(), bad); err == nil || errors.Is(err, token.ErrInvalid) == errors.Is(err, token.ErrUnavailable) {
					t.Errorf("an unknown key: %v", err)
				}
				switch {
				case i%50 == 0:
					r.Forget()
				case n == 0 && i == 100:
					r.Close()
				}
			}
		})
	}
	all.Wait()
	r.Close()
}
