package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/guard"
	"github.com/purser-pay/purser/modules/ratelimit"
	"github.com/purser-pay/purser/modules/signature"
	"github.com/purser-pay/purser/modules/store"
)

// vigilance is what the guard remembers of callers, and must outlive every
// configuration: a reload forgives no guesser.
type vigilance struct {
	throttle *access.Throttle
	usage    *access.Usage
	audited  *trickle
}

// Destruct has nothing to give back.
func (*vigilance) Destruct() error { return nil }

var vigilances = caddy.NewUsagePool()

// openVigilance takes what is remembered of the callers of a store.
func (a *App) openVigilance(of groundKey) error {
	v, err := pooled(vigilances, of, func() (*vigilance, error) {
		return &vigilance{access.NewThrottle(access.Limits{}), new(access.Usage), newTrickle(time.Now)}, nil
	})
	if err != nil {
		return err
	}
	a.vigilance = v
	a.onCleanup(func() error { return drop(vigilances, of) })
	return nil
}

// responseKey derives the key that signs responses from the seal key, so that all
// nodes have the same and nobody has to keep another secret.
func responseKey(sealKey []byte) (signature.SigningKey, error) {
	seed, err := hkdf.Key(sha256.New, sealKey, nil, "purser response signing v1", ed25519.SeedSize)
	if err != nil {
		return signature.SigningKey{}, fmt.Errorf("response key: %w", err)
	}
	private := ed25519.NewKeyFromSeed(seed)
	public := sha256.Sum256(private[ed25519.SeedSize:])
	return signature.NewSigner("purser-"+hex.EncodeToString(public[:8]), private)
}

// signatureProfiles are the values of the option signatures.
var signatureProfiles = map[string]signature.Profile{
	"": signature.Standard, signature.Standard.String(): signature.Standard, signature.FAPI.String(): signature.FAPI,
}

// GuardConfig is what a guard stands on, but for what only a server can tell of a
// request: its client and its origin.
func (a *App) GuardConfig() guard.Config {
	cfg := guard.Config{
		Directory: a.directory, Limiter: a.limiter, Throttle: a.vigilance.throttle, Policies: a.rules.set,
		Spend: func(ctx context.Context, n store.Nonce) error {
			return store.SpendNonce(ctx, a.ground.store, n, time.Now())
		},
		Secret:  a.SigningSecret,
		Profile: signatureProfiles[a.Signatures], Sign: a.signer, Now: time.Now,
		Refused: a.refused, Used: a.used,
	}
	if a.tokens != nil {
		cfg.Tokens, cfg.Revocations = a.tokens, a.ground.revoked
	}
	if a.certificates != nil {
		cfg.Certificates = a.certificates
	}
	return cfg
}

// Shed lets a call in, or tells how long it is to wait because this node has too
// much to do.
func (a *App) Shed(p access.Principal, method, route string) (leave func(), wait time.Duration) {
	leave, ok := a.Shedder().Enter(ratelimit.ClassOf(string(p.Mode), method, route))
	if !ok {
		return nil, a.Shedder().Retry()
	}
	return leave, 0
}

// used writes down that a key was good for a call, now and then.
func (a *App) used(p access.Principal) {
	if p.Key == "" || !a.vigilance.usage.Due(p.Key, time.Now()) {
		return
	}
	leave := a.lifetime.enter()
	go func() {
		defer leave()
		ctx, cancel := context.WithTimeout(context.Background(), usedTimeout)
		defer cancel()
		if err := a.ground.store.Update(ctx, func(tx store.Tx) error { return tx.UseAPIKey(p.Key, now()) }); err != nil {
			a.log.Warn("use of a key not noted", slog.String("key", p.Key), slog.String("error", err.Error()))
		}
	}()
}

// usedTimeout bounds the noting of a key's use, which nobody waits for.
const usedTimeout = 5 * time.Second

// refused writes down a call that was not let in, or not let do what it wanted.
func (a *App) refused(r guard.Refusal) {
	counters.refused.WithLabelValues(string(r.Err.Code)).Inc()
	kind := string(r.Err.Code)
	passed, skipped := a.vigilance.audited.take(kind)
	if !passed {
		return
	}
	c := r.Call
	attrs := []slog.Attr{
		slog.String("act", "call.refused"), slog.String("object", c.Route), slog.String("who", c.Who()),
		slog.String("from", c.From.String()), slog.String("result", actRefused), slog.String("code", kind),
		slog.String("request_id", c.ID),
	}
	for name, value := range map[string]string{
		"merchant": c.Principal.Merchant, "mode": string(c.Principal.Mode), "by": string(c.Principal.By), "policy": r.Err.Policy,
	} {
		if value != "" {
			attrs = append(attrs, slog.String(name, value))
		}
	}
	reason := r.Err.Detail
	if r.Err.Err != nil {
		reason = r.Err.Err.Error()
	}
	attrs = append(attrs, slog.String("error", Scrub(reason)))
	if skipped > 0 {
		attrs = append(attrs, slog.Int64("not_told_before", skipped))
	}
	a.auditLog.LogAttrs(c.HTTP.Context(), slog.LevelInfo, "audit", attrs...)
}

// trickle bounds how often one kind of thing is told: who floods the gateway must
// not flood its log as well. What is left out is counted.
type trickle struct {
	now   func() time.Time
	mu    sync.Mutex
	kinds map[string]*drops
}

type drops struct {
	second  int64 // Unix
	told    int64 // in that second
	skipped int64 // since the last that was told
}

// maxTold is how many refusals of one kind are told in a second.
const maxTold = 100

func newTrickle(now func() time.Time) *trickle {
	return &trickle{now: now, kinds: map[string]*drops{}}
}

// take tells whether the next of a kind is to be told, and how many were left out
// before it. The kinds are few and our own.
func (t *trickle) take(kind string) (told bool, skipped int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.kinds[kind]
	if d == nil {
		d = new(drops)
		t.kinds[kind] = d
	}
	if s := t.now().Unix(); s != d.second {
		d.second, d.told = s, 0
	}
	if d.told >= maxTold {
		d.skipped++
		return false, 0
	}
	d.told++
	skipped, d.skipped = d.skipped, 0
	return true, skipped
}
