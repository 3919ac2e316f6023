package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/token"
)

// TokenIssuerConfig is somebody whose access tokens (JWT, RFC 9068) are taken as
// credentials, and for what.
type TokenIssuerConfig struct {
	// Audience lists the names under which the issuer knows this gateway: a token's
	// aud must have one of them.
	Audience []string `json:"audience"`
	// JWKS is where the issuer's public keys are: an https URL, or a file, relative to
	// the app's root. They are read again every few minutes, when a token names a key
	// that is not there, and, for a file, within two seconds of a change. While the
	// URL cannot be reached the keys that there are stay good, for a day.
	JWKS string `json:"jwks"`
	// Algorithms are some of RS256, PS256, ES256 and EdDSA; default all but RS256.
	Algorithms []string `json:"algorithms,omitempty"`
	// Merchants are those that the issuer may speak for, mer_…, or "*" for all.
	Merchants []string `json:"merchants"`
	// Modes are those that the issuer may speak for; default test alone.
	Modes []payment.Mode `json:"modes,omitempty"`
	// Claims name the claims of the token that hold the merchant's ID, the mode and
	// the scopes, each as merchant=NAME, mode=NAME or scopes=NAME; default
	// merchant=merchant mode=mode scopes=scope. Scopes are one string with spaces, or
	// a list; those of other services are passed over.
	Claims []string `json:"claims,omitempty"`
	// Types are the values of the header typ that are taken; default at+jwt,
	// application/at+jwt, JWT and none, which is written "".
	Types []string `json:"types,omitempty"`
	// MaxLifetime bounds the time between a token's iat and exp; at most 24 h, default
	// 1 h. The command purser tokens revoke ends tokens before their time.
	MaxLifetime caddy.Duration `json:"max_lifetime,omitempty"`
}

// issuer is the configuration as package token takes it.
func (c *TokenIssuerConfig) issuer(name, root string) (token.Issuer, error) {
	if c == nil {
		return token.Issuer{}, fmt.Errorf("jwt %s: it is empty", name)
	}
	is := token.Issuer{
		Name: name, Audiences: c.Audience, JWKS: c.JWKS, Algorithms: c.Algorithms, Merchants: c.Merchants,
		Modes: c.Modes, Types: c.Types, MaxLifetime: time.Duration(c.MaxLifetime),
	}
	if c.JWKS != "" && !strings.HasPrefix(c.JWKS, "http://") && !strings.HasPrefix(c.JWKS, "https://") && !filepath.IsAbs(c.JWKS) {
		path, err := under(root, c.JWKS)
		if err != nil {
			return is, fmt.Errorf("jwt %s: jwks: %w", name, err)
		}
		is.JWKS = path
	}
	claims := map[string]*string{"merchant": &is.MerchantClaim, "mode": &is.ModeClaim, "scopes": &is.ScopesClaim}
	for _, pair := range c.Claims {
		of, claim, ok := strings.Cut(pair, "=")
		to := claims[of]
		if !ok || to == nil || claim == "" || *to != "" {
			return is, fmt.Errorf("jwt %s: claims: %.60q is not merchant=NAME, mode=NAME or scopes=NAME, each once", name, pair)
		}
		*to = claim
	}
	return is, nil
}

// verifiers keeps the keys of issuers over reloads: a reload while an issuer
// cannot be reached must not make its tokens worthless.
var verifiers = caddy.NewUsagePool()

type verifierKey [sha256.Size]byte

// pooledVerifier is a pool's entry.
type pooledVerifier struct{ *token.Verifier }

// Destruct ends the reading of keys.
func (v pooledVerifier) Destruct() error {
	v.Close()
	return nil
}

// checkTokens refuses issuers that make no sense.
func (a *App) checkTokens() error {
	_, err := a.newVerifier()
	return err
}

func (a *App) newVerifier() (*token.Verifier, error) {
	cfg := token.Config{Now: time.Now, Client: token.NewClient(), Changed: a.keysOfIssuer}
	for _, name := range sorted(a.TokenIssuers) {
		is, err := a.TokenIssuers[name].issuer(name, a.Root)
		if err != nil {
			return nil, err
		}
		cfg.Issuers = append(cfg.Issuers, is)
	}
	return token.New(cfg)
}

// keysOfIssuer logs that an issuer's keys cannot be read, and that they can again.
func (a *App) keysOfIssuer(issuer string, err error) {
	log := a.log
	if running, found := Running(); found == nil {
		log = running.log // a reload may have changed where it goes
	}
	if err != nil {
		log.Error("keys of a token issuer cannot be read", slog.String("issuer", issuer), slog.String("error", err.Error()))
		return
	}
	log.Info("keys of a token issuer are read again", slog.String("issuer", issuer))
}

// openTokens takes the verifier, if any issuer is configured.
func (a *App) openTokens(ctx context.Context) error {
	if len(a.TokenIssuers) == 0 {
		return nil
	}
	text, err := json.Marshal(a.TokenIssuers)
	if err != nil {
		return fmt.Errorf("jwt: %w", err)
	}
	key := verifierKey(sha256.Sum256(append([]byte(a.Root+"\x00"), text...)))
	v, err := pooled(verifiers, key, func() (pooledVerifier, error) {
		v, err := a.newVerifier()
		if err != nil {
			return pooledVerifier{}, err
		}
		return pooledVerifier{v}, v.Start(ctx)
	})
	if err != nil {
		return fmt.Errorf("jwt: %w", err)
	}
	a.onCleanup(func() error { return drop(verifiers, key) })
	a.tokens = v.Verifier
	return nil
}

// parseTokenIssuer reads one jwt block.
func (a *App) parseTokenIssuer(d *caddyfile.Dispenser) error {
	first := here(d)
	args := d.RemainingArgs()
	if len(args) != 1 {
		return d.Err("an issuer has a name, as its tokens say it: jwt https://idp.example { … }")
	}
	name := args[0]
	if _, given := a.TokenIssuers[name]; given {
		return first.errorf("jwt %s is given twice", name)
	}
	options := newFields("jwt", reflect.TypeFor[TokenIssuerConfig]())
	raw, err := options.block(d)
	if err != nil {
		return err
	}
	if missing := options.missing(); len(missing) > 0 {
		return first.errorf("jwt %s: %s is missing", name, strings.Join(missing, ", "))
	}
	config := new(TokenIssuerConfig)
	if err := caddy.StrictUnmarshalJSON(raw, config); err != nil {
		return d.WrapErr(err)
	}
	is, err := config.issuer(name, a.Root)
	if err == nil {
		_, err = token.New(token.Config{Issuers: []token.Issuer{is}, Client: token.NewClient(), Now: time.Now})
	}
	if err != nil {
		return first.errorf("%v", err)
	}
	if a.TokenIssuers == nil {
		a.TokenIssuers = map[string]*TokenIssuerConfig{}
	}
	a.TokenIssuers[name] = config
	return nil
}
