package gateway

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

func (a *App) issuer() *access.Issuer {
	return &access.Issuer{Pepper: a.pepper, Random: rand.Reader, IDs: a.ground.ids, Now: time.Now}
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

// change writes to the store, and lets the directory see it before the operator
// hears that it was done.
func (c call) change(fn func(store.Tx) error) error {
	if err := c.ground.store.Update(c.r.Context(), fn); err != nil {
		return err
	}
	return c.directory.Refresh(c.r.Context())
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
	// Signing is the key's request signing, which is not built yet: null.
	Signing *struct{} `json:"signing"`
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

func createKey(c call) error {
	var in struct {
		Merchant  string         `json:"merchant"`
		Mode      payment.Mode   `json:"mode"`
		Name      string         `json:"name"`
		Scopes    []access.Scope `json:"scopes"`
		ExpiresIn string         `json:"expires_in"`
		ExpiresAt string         `json:"expires_at"`
		// RateLimits are such as "100/1s".
		RateLimits []access.Rate `json:"rate_limits"`
	}
	if err := c.read(&in); err != nil {
		return err
	}
	expires, err := expiry(in.ExpiresIn, in.ExpiresAt, now())
	if err != nil {
		return err
	}
	key, text, err := c.issuer().CreateKey(access.KeyRequest{
		Merchant: in.Merchant, Mode: in.Mode, Name: in.Name, Scopes: in.Scopes, ExpiresAt: expires,
		RateLimits: in.RateLimits,
	})
	if err != nil {
		return err
	}
	err = c.change(func(tx store.Tx) error {
		if _, err := tx.Merchant(key.Merchant); err != nil {
			return fmt.Errorf("merchant %s: %w", key.Merchant, err)
		}
		return tx.PutAPIKey(key)
	})
	c.audit("keys.create", key.ID, err, slog.String("merchant", key.Merchant), slog.String("mode", string(key.Mode)))
	if err != nil {
		return err
	}
	return c.write(http.StatusCreated, issued(key, text))
}

func issued(k access.Key, text string) issuedKey {
	return issuedKey{ID: k.ID, Key: text, Merchant: k.Merchant, Mode: k.Mode, Scopes: k.Scopes, RateLimits: k.RateLimits}
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
	var successor access.Key
	var text string
	id := c.r.PathValue("id")
	err = c.change(func(tx store.Tx) error {
		old, err := tx.APIKey(id)
		if err != nil {
			return fmt.Errorf("key %.40s: %w", id, err)
		}
		var retired access.Key
		if retired, successor, text, err = c.issuer().RotateKey(old, overlap); err != nil {
			return err
		}
		if err := tx.PutAPIKey(retired); err != nil {
			return err
		}
		return tx.PutAPIKey(successor)
	})
	c.audit("keys.rotate", id, err, slog.String("successor", successor.ID))
	if err != nil {
		return err
	}
	return c.write(http.StatusCreated, issued(successor, text))
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
