package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

func (a *App) issuer() *access.Issuer {
	return &access.Issuer{Pepper: a.keyPeppers()[0], Random: rand.Reader, IDs: a.ground.ids, Now: time.Now, Seal: a.box.Seal}
}

// SigningSecret opens the secret of a key that signs with [access.HMACSHA256]: the
// HMAC's key.
func (a *App) SigningSecret(k *access.SigningKey) ([]byte, error) {
	if k.Kind() != access.HMACSHA256 {
		return nil, errors.New("the key has no signing secret")
	}
	secret, err := a.box.Open(k.SealedSecret, []byte(k.KeyID))
	if err != nil {
		return nil, fmt.Errorf("signing secret of %s: %w", k.KeyID, err)
	}
	return secret, nil
}

// now is the time as records keep it.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

func listMerchants(c call) error {
	merchants := []access.Merchant{}
	err := c.ground.store.View(c.r.Context(), func(r store.Reader) error {
		all, err := r.Merchants()
		merchants = append(merchants, all...)
		return err
	})
	if err != nil {
		return err
	}
	return c.list(merchants, "")
}

func createMerchant(c call) error {
	var in struct {
		Name string `json:"name"`
	}
	if err := c.read(&in); err != nil {
		return err
	}
	m, err := c.issuer().CreateMerchant(in.Name)
	if err != nil {
		return err
	}
	err = c.change(func(tx store.Tx) error { return tx.PutMerchant(m) })
	c.audit("merchants.create", m.ID, err)
	if err != nil {
		return err
	}
	return c.write(http.StatusCreated, m)
}

// change writes to the store, and lets the directories see it before the operator
// hears that it was done: that of a configuration which starts or ends as well. One who
// hangs up meanwhile does not keep a key alive: where there are no other nodes, nobody
// else would have it read.
func (c call) change(fn func(store.Tx) error) error {
	var written []news
	err := c.ground.store.Update(c.r.Context(), func(tx store.Tx) error { return fn(writtenTx{tx, &written}) })
	if err != nil && !errors.Is(err, store.ErrUncertain) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), relayPatience)
	defer cancel()
	return errors.Join(err, c.ground.directories.read(ctx, written))
}

// writtenTx notes which merchants and keys are written. What a run writes that is
// thrown away is noted as well, and does no harm.
type writtenTx struct {
	store.Tx
	written *[]news
}

// PutMerchant writes a merchant and notes it.
func (t writtenTx) PutMerchant(m access.Merchant) error {
	*t.written = append(*t.written, news{kind: keysChanged, merchant: m.ID})
	return t.Tx.PutMerchant(m)
}

// PutAPIKey writes a key and notes it.
func (t writtenTx) PutAPIKey(k access.Key) error {
	*t.written = append(*t.written, news{kind: keysChanged, key: k.ID})
	return t.Tx.PutAPIKey(k)
}

// issuedKey is a new key as its maker sees it, once.
type issuedKey struct {
	ID       string         `json:"id"`
	Key      string         `json:"key"`
	Merchant string         `json:"merchant"`
	Mode     payment.Mode   `json:"mode"`
	Scopes   []access.Scope `json:"scopes"`
	// RateLimits are the key's own; none = the gateway's.
	RateLimits []access.Rate `json:"rate_limits,omitempty"`
	// AllowIP are the networks from which the key is good; none = from everywhere.
	AllowIP   []netip.Prefix `json:"allow_ip,omitempty"`
	ExpiresAt time.Time      `json:"expires_at,omitzero"`
	// Signing is how requests under the key are signed; null = they are not.
	Signing *issuedSigning `json:"signing"`
}

// issuedSigning is a new signing key.
type issuedSigning struct {
	KeyID     string           `json:"keyid"`
	Algorithm access.Algorithm `json:"algorithm"`
	// Secret is that of hmac-sha256, which is shown this once.
	Secret string `json:"secret,omitempty"`
}

func listKeys(c call) error {
	keys := []access.Key{}
	err := c.ground.store.View(c.r.Context(), func(r store.Reader) error {
		all, err := r.APIKeys(c.r.FormValue("merchant"))
		keys = append(keys, all...)
		return err
	})
	if err != nil {
		return err
	}
	return c.list(keys, "")
}

// newKey is what an operator says of a key.
type newKey struct {
	Merchant  string         `json:"merchant"`
	Mode      payment.Mode   `json:"mode"`
	Name      string         `json:"name"`
	Scopes    []access.Scope `json:"scopes"`
	ExpiresIn string         `json:"expires_in"`
	ExpiresAt string         `json:"expires_at"`
	// RateLimits are such as "100/1s".
	RateLimits []access.Rate `json:"rate_limits"`
	// AllowIP are networks or addresses.
	AllowIP []string `json:"allow_ip"`
	// Signing is "hmac-sha256" for a signing secret.
	Signing access.Algorithm `json:"signing"`
	// SigningPublicKey is the signer's public key, in PEM.
	SigningPublicKey string `json:"signing_public_key"`
}

// request turns it into what the issuer takes.
func (k *newKey) request(now time.Time) (r access.KeyRequest, err error) {
	r = access.KeyRequest{
		Merchant: k.Merchant, Mode: k.Mode, Name: k.Name, Scopes: k.Scopes, RateLimits: k.RateLimits,
		Signing: k.Signing, PublicKey: []byte(k.SigningPublicKey),
	}
	if r.ExpiresAt, err = expiry(k.ExpiresIn, k.ExpiresAt, now); err != nil {
		return r, err
	}
	for _, text := range k.AllowIP {
		network, err := access.ParseNetwork(text)
		if err != nil {
			return r, fmt.Errorf("%w: allow_ip: %w", errRequest, err)
		}
		r.AllowIP = append(r.AllowIP, network)
	}
	return r, nil
}

func createKey(c call) error {
	var in newKey
	if err := c.read(&in); err != nil {
		return err
	}
	request, err := in.request(now())
	if err != nil {
		return err
	}
	made, err := c.issuer().Issue(request)
	if err != nil {
		return err
	}
	key := made.Key
	err = c.change(func(tx store.Tx) error {
		if _, err := tx.Merchant(key.Merchant); err != nil {
			return fmt.Errorf("merchant %s: %w", key.Merchant, err)
		}
		return tx.PutAPIKey(key)
	})
	c.audit("keys.create", key.ID, err, slog.String("merchant", key.Merchant), slog.String("mode", string(key.Mode)),
		slog.String("signing", string(key.Signing.Kind())), slog.Int("networks", len(key.AllowIP)))
	if err != nil {
		return err
	}
	return c.write(http.StatusCreated, issued(made))
}

func issued(i access.Issued) issuedKey {
	k := i.Key
	out := issuedKey{
		ID: k.ID, Key: i.Text, Merchant: k.Merchant, Mode: k.Mode, Scopes: k.Scopes, RateLimits: k.RateLimits,
		AllowIP: k.AllowIP, ExpiresAt: k.ExpiresAt,
	}
	if s := k.Signing; s != nil {
		out.Signing = &issuedSigning{s.KeyID, s.Algorithm, i.SigningSecret}
	}
	return out
}

// expiry reads the two ways to say when a key ends; zero = never.
func expiry(in, at string, from time.Time) (time.Time, error) {
	switch {
	case in != "" && at != "":
		return time.Time{}, fmt.Errorf("%w: expires_in and expires_at exclude each other", errRequest)
	case in != "":
		d, err := time.ParseDuration(in)
		if err != nil || d <= 0 {
			return time.Time{}, fmt.Errorf("%w: expires_in %.40q is not a duration, such as 720h", errRequest, in)
		}
		return from.Add(d), nil
	case at != "":
		t, err := time.Parse(time.RFC3339, at)
		if err != nil {
			return time.Time{}, fmt.Errorf("%w: expires_at %.40q is not a time of RFC 3339", errRequest, at)
		}
		return t, nil
	default:
		return time.Time{}, nil
	}
}

// defaultOverlap is how long a rotated key goes on where nothing is said.
const defaultOverlap = 24 * time.Hour

func rotateKey(c call) error {
	in := struct {
		Overlap string `json:"overlap"`
	}{defaultOverlap.String()}
	if err := c.read(&in); err != nil {
		return err
	}
	overlap, err := time.ParseDuration(in.Overlap)
	if err != nil {
		return fmt.Errorf("%w: overlap %.40q is not a duration, such as 24h", errRequest, in.Overlap)
	}
	var successor access.Issued
	id := c.r.PathValue("id")
	err = c.change(func(tx store.Tx) error {
		old, err := tx.APIKey(id)
		if err != nil {
			return fmt.Errorf("key %.40s: %w", id, err)
		}
		var retired access.Key
		if retired, successor, err = c.issuer().RotateKey(old, overlap); err != nil {
			return err
		}
		if err := tx.PutAPIKey(retired); err != nil {
			return err
		}
		return tx.PutAPIKey(successor.Key)
	})
	c.audit("keys.rotate", id, err, slog.String("successor", successor.Key.ID))
	if err != nil {
		return err
	}
	return c.write(http.StatusCreated, issued(successor))
}

func revokeKey(c call) error {
	var key access.Key
	id := c.r.PathValue("id")
	err := c.change(func(tx store.Tx) error {
		old, err := tx.APIKey(id)
		if err != nil {
			return fmt.Errorf("key %.40s: %w", id, err)
		}
		key = access.RevokeKey(old, now())
		return tx.PutAPIKey(key)
	})
	c.audit(actRevokeKey, id, err)
	if err != nil {
		return err
	}
	return c.write(http.StatusOK, key)
}
