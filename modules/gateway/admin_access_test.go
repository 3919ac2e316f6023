package gateway

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/seal"
	"github.com/purser-pay/purser/modules/store"
)

// office is an operator's desk: an app with a store and a directory alone.
type office struct {
	*App
	merchant string
	audited  bytes.Buffer
}

func newOffice(t *testing.T) *office {
	t.Helper()
	s := openStore(t, filepath.Join(t.TempDir(), "purser.db"))
	box, err := seal.New(nil, bytes.Repeat([]byte{1}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	o := &office{}
	pepper := bytes.Repeat([]byte{2}, keyBytes)
	log := slog.New(slog.NewJSONHandler(&o.audited, nil))
	o.App = &App{
		pepper: pepper, box: box, log: log, auditLog: log,
		ground: &ground{store: s, ids: &payment.IDs{Now: time.Now, Random: rand.Reader}},
	}
	m, err := o.issuer().CreateMerchant("Shop")
	if err != nil {
		t.Fatal(err)
	}
	inStore(t, s, func(tx store.Tx) error { return tx.PutMerchant(m) })
	o.merchant = m.ID
	if o.directory, _, err = o.ground.newDirectory(t.Context(), [][]byte{pepper}); err != nil {
		t.Fatal(err)
	}
	return o
}

// do has an operator's request served.
func (o *office) do(t *testing.T, serve func(call) error, id string, in any) (answer []byte, err error) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body))
	r.SetPathValue("id", id)
	err = serve(call{o.App, w, r, new(bool)})
	return w.Body.Bytes(), err
}

// TestKeyGuards makes keys with all that limits them, rotates them, and lists them.
func TestKeyGuards(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	secretDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	secretFile := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secretDER}))
	type object = map[string]any
	with := func(more object) object {
		in := object{"merchant": o.merchant, "mode": "test"}
		maps.Copy(in, more)
		return in
	}
	create := func(more object) issuedKey {
		t.Helper()
		answer, err := o.do(t, createKey, "", with(more))
		var out issuedKey
		if err := errors.Join(err, json.Unmarshal(answer, &out)); err != nil {
			t.Fatal(err)
		}
		return out
	}

	plain := create(nil)
	if plain.Signing != nil || plain.AllowIP != nil {
		t.Errorf("a plain key: got %+v, want no signing and no networks", plain)
	}
	mac := create(object{"signing": "hmac-sha256", "allow_ip": []string{"10.0.0.0/8", "192.0.2.7"}})
	if s := mac.Signing; s == nil || s.KeyID != mac.ID || s.Algorithm != access.HMACSHA256 || !access.IsSigningSecret(s.Secret) || len(mac.AllowIP) != 2 {
		t.Errorf("a key with a secret: got %+v, %+v", mac, s)
	}
	asymmetric := create(object{"signing_public_key": file})
	if s := asymmetric.Signing; s == nil || s.KeyID != asymmetric.ID || s.Algorithm != access.Ed25519 || s.Secret != "" {
		t.Errorf("a key with a public key: got %+v", s)
	}
	held := func(id string) (k access.Key) {
		t.Helper()
		err := o.ground.store.View(t.Context(), func(r store.Reader) (err error) { k, err = r.APIKey(id); return err })
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	if got, err := o.SigningSecret(held(mac.ID).Signing); err != nil || string(got) != mac.Signing.Secret {
		t.Errorf("the secret opens as %q, %v; want %q", got, err, mac.Signing.Secret)
	}
	for name, k := range map[string]*access.SigningKey{
		"none": nil, "public key": held(asymmetric.ID).Signing,
		"another key's": {KeyID: plain.ID, Algorithm: access.HMACSHA256, SealedSecret: held(mac.ID).Signing.SealedSecret},
	} {
		if got, err := o.SigningSecret(k); err == nil {
			t.Errorf("%s opens as %q", name, got)
		}
	}

	answer, err := o.do(t, rotateKey, mac.ID, object{"overlap": "1h"})
	var next issuedKey
	if err := errors.Join(err, json.Unmarshal(answer, &next)); err != nil {
		t.Fatal(err)
	}
	if next.Signing == nil || next.Signing.KeyID != next.ID || next.Signing.Secret == mac.Signing.Secret || len(next.AllowIP) != 2 {
		t.Errorf("the successor: got %+v, %+v", next, next.Signing)
	}
	if old := held(mac.ID); len(old.AllowIP) != 2 || old.Signing == nil || old.RotatedTo != next.ID {
		t.Errorf("the key that was rotated: got %+v, want its networks and its signing for the overlap", old)
	}

	list, err := o.do(t, listKeys, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"allow_ip":["10.0.0.0/8","192.0.2.7/32"]`, `"algorithm":"hmac-sha256"`, `"algorithm":"ed25519"`, `"rotated_to":"` + next.ID} {
		if !bytes.Contains(list, []byte(want)) {
			t.Errorf("the list lacks %s: %s", want, list)
		}
	}
	sealed, _ := json.Marshal(held(mac.ID).Signing.SealedSecret)
	for name, secret := range map[string]string{
		"signing secret": mac.Signing.Secret, "successor's": next.Signing.Secret, "key": plain.Key, "sealed secret": strings.Trim(string(sealed), `"`),
	} {
		if bytes.Contains(list, []byte(secret)) || strings.Contains(o.audited.String(), secret) {
			t.Errorf("the list or the audit tells the %s", name)
		}
	}

	for name, in := range map[string]object{
		"both":                {"signing": "hmac-sha256", "signing_public_key": file},
		"another algorithm":   {"signing": "ed25519"},
		"a private key":       {"signing_public_key": secretFile},
		"no key":              {"signing_public_key": "nonsense"},
		"no network":          {"allow_ip": []string{"office"}},
		"bits beyond":         {"allow_ip": []string{"10.1.2.3/8"}},
		"a network twice":     {"allow_ip": []string{"10.0.0.0/8", "::ffff:10.0.0.0/104"}},
		"too many":            {"allow_ip": strings.Fields(strings.Repeat("10.0.0.0/8 ", access.MaxNetworks+1))},
		"a member nobody has": {"signing_secret": "x"},
	} {
		_, err := o.do(t, createKey, "", with(in))
		var refusal caddy.APIError
		if err == nil || !errors.As(adminFailure(err), &refusal) || refusal.HTTPStatus != http.StatusBadRequest {
			t.Errorf("%s: got %d, %v; want 400", name, refusal.HTTPStatus, err)
		}
		if err != nil && strings.Contains(err.Error(), "MC4C") {
			t.Errorf("%s: the error quotes a key: %v", name, err)
		}
	}
}

// hungUp is a store whose caller hangs up as soon as the commit is done.
type hungUp struct {
	store.Store
	hangUp func()
	err    error // what is told of the commit
}

func (s hungUp) Update(ctx context.Context, fn func(store.Tx) error) error {
	err := s.Store.Update(ctx, fn)
	s.hangUp()
	return errors.Join(err, s.err)
}

// TestRevocationIsRead: a key that was revoked is refused when the operator has the
// answer, and also where the operator hung up, or nobody can say whether it is durable.
func TestRevocationIsRead(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		hangUp bool
		told   error
	}{
		{"as it should be", false, nil},
		{"the operator hangs up", true, nil},
		{"the commit is uncertain", false, store.ErrUncertain},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t)
			answer, err := o.do(t, createKey, "", map[string]any{"merchant": o.merchant, "mode": "test"})
			if err != nil {
				t.Fatal(err)
			}
			var made issuedKey
			if err := json.Unmarshal(answer, &made); err != nil {
				t.Fatal(err)
			}
			if _, err := o.directory.Authenticate(t.Context(), made.Key); err != nil {
				t.Fatalf("a new key: got error %v, want none", err)
			}
			ctx, hangUp := context.WithCancel(t.Context())
			defer hangUp()
			if !tt.hangUp {
				hangUp = func() {}
			}
			o.ground.store = hungUp{o.ground.store, hangUp, tt.told}
			r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader("{}"))
			r.SetPathValue("id", made.ID)
			other, forget, err := o.ground.newDirectory(t.Context(), [][]byte{bytes.Repeat([]byte{3}, keyBytes), o.pepper})
			if err != nil {
				t.Fatal(err)
			}
			defer forget()
			if err := revokeKey(call{o.App, httptest.NewRecorder(), r, new(bool)}); !errors.Is(err, tt.told) {
				t.Errorf("got error %v, want %v", err, tt.told)
			}
			for name, d := range map[string]*access.Directory{"here": o.directory, "with the next peppers": other} {
				if _, err := d.Authenticate(t.Context(), made.Key); !errors.Is(err, access.ErrUnauthenticated) {
					t.Errorf("a revoked key, %s: got error %v, want %v", name, err, access.ErrUnauthenticated)
				}
			}
		})
	}
}
