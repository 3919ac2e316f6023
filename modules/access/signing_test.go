package access_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
)

// signer is a pair of keys, made once: RSA takes its time.
type signer struct{ public, private any }

var signers = sync.OnceValue(func() map[string]signer {
	all := map[string]signer{}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	all["ed25519"] = signer{public, private}
	for name, curve := range map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384()} {
		k, again := ecdsa.GenerateKey(curve, rand.Reader)
		all[name], err = signer{k.Public(), k}, errors.Join(err, again)
	}
	k, again := rsa.GenerateKey(rand.Reader, 2048)
	all["rsa"] = signer{k.Public(), k}
	if err = errors.Join(err, again); err != nil {
		panic(err) // no randomness
	}
	return all
})

func publicPEM(t testing.TB, public any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// crooked returns an RSA key that nobody should have.
func crooked(bits uint, low int64, e int) *rsa.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	return &rsa.PublicKey{N: n.Add(n, big.NewInt(low)), E: e}
}

func TestParsePublicKey(t *testing.T) {
	s := signers()
	good := publicPEM(t, s["ed25519"].public)
	private, err := x509.MarshalPKCS8PrivateKey(s["ed25519"].private)
	if err != nil {
		t.Fatal(err)
	}
	secret := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	rsaKey, _ := s["rsa"].public.(*rsa.PublicKey)
	block := func(kind string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}) }
	for _, tt := range []struct {
		name string
		text []byte
		want access.Algorithm // "" = refused
		says string
	}{
		{"Ed25519", good, access.Ed25519, ""},
		{"P-256", publicPEM(t, s["P-256"].public), access.ECDSAP256SHA256, ""},
		{"RSA", publicPEM(t, s["rsa"].public), access.RSAPSSSHA512, ""},
		{"words before it, white space after it", append(append([]byte("my key\n"), good...), " \n\n"...), access.Ed25519, ""},
		{"the longest RSA", publicPEM(t, crooked(8192, 1, 65537)), access.RSAPSSSHA512, ""},
		{"RSA that is too short", publicPEM(t, crooked(2047, 1, 65537)), "", "2048 … 8192 bits, not 2047"},
		{"RSA that is too long", publicPEM(t, crooked(8193, 1, 65537)), "", "not 8193"},
		{"RSA with a small exponent", publicPEM(t, crooked(2048, 1, 3)), "", "65537"},
		{"RSA with an even exponent", publicPEM(t, crooked(2048, 1, 65538)), "", "odd"},
		{"RSA with an even modulus", publicPEM(t, crooked(2048, 2, 65537)), "", "odd"},
		{"another curve", publicPEM(t, s["P-384"].public), "", "P-256, not on P-384"},
		{"a private key", secret, "", "private key"},
		{"a private key behind the public one", append(bytes.Clone(good), secret...), "", "private key"},
		{"a private key that is damaged", []byte("-----BEGIN EC PRIVATE KEY-----\nTUlJ"), "", "private key"},
		{"a certificate", block("CERTIFICATE", []byte("x")), "", "-pubkey"},
		{"PKCS #1", block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(rsaKey)), "", "-RSAPublicKey_in"},
		{"another thing", block("X509 CRL", []byte("x")), "", `"X509 CRL"`},
		{"two keys", append(bytes.Clone(good), good...), "", "alone"},
		{"a damaged key", block("PUBLIC KEY", []byte("damaged")), "", "damaged"},
		{"DER", []byte("0*0\x05"), "", "PEM"},
		{"nothing", nil, "", "PEM"},
		{"too long", bytes.Repeat(good, 200), "", "16384 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			der, got, err := access.ParsePublicKey(tt.text)
			if got != tt.want || (err == nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("ParsePublicKey = %q, %v; want %q, or an error with %q", got, err, tt.want, tt.says)
			}
			if err != nil {
				if strings.Contains(err.Error(), "MC4C") {
					t.Errorf("the error quotes a key: %v", err)
				}
				return
			}
			k := access.NewSigningKey("key_a", got, der)
			public, err := k.Public()
			if err != nil {
				t.Fatalf("Public: %v", err)
			}
			if again := publicPEM(t, public); !bytes.Contains(tt.text, bytes.TrimSpace(again)) {
				t.Errorf("the key is read as\n%s", again)
			}
			for _, other := range []access.Algorithm{access.HMACSHA256, access.Ed25519, access.ECDSAP256SHA256, access.RSAPSSSHA512} {
				confused := access.SigningKey{Algorithm: other, PublicKey: der}
				if _, err := confused.Public(); (err == nil) != (other == got) {
					t.Errorf("a key of %s as one of %s: got error %v", got, other, err)
				}
			}
		})
	}
}

func TestSigningKeyParts(t *testing.T) {
	var none *access.SigningKey
	if none.Kind() != "" || none.Material() != nil || access.NewSigningKey("key_a", "", nil) != nil {
		t.Error("no key is taken for one")
	}
	if _, err := none.Public(); err == nil {
		t.Error("no key has a public key")
	}
	for _, k := range []access.SigningKey{
		{KeyID: "key_a", Algorithm: access.HMACSHA256, SealedSecret: []byte("sealed")},
		{KeyID: "key_a", Algorithm: access.Ed25519, PublicKey: []byte("public")},
	} {
		if diff := cmp.Diff(&k, access.NewSigningKey(k.KeyID, k.Kind(), k.Material())); diff != "" {
			t.Errorf("taken apart and put together (-want +got):\n%s", diff)
		}
	}
}

// sealing is a stand-in for a box: what it sealed opens in its context alone.
func sealing(is *access.Issuer) {
	is.Seal = func(secret, keyID []byte) ([]byte, error) { return fmt.Appendf(nil, "%s|%s", keyID, secret), nil }
}

func TestIssueSigning(t *testing.T) {
	now := start
	is := issuer(&now)
	base := access.KeyRequest{Merchant: "mer_01h455vb4pex5vsknk084sn02q", Mode: payment.Test}
	withSecret, withKey := base, base
	withSecret.Signing = access.HMACSHA256
	withKey.PublicKey = publicPEM(t, signers()["P-256"].public)
	if _, err := is.Issue(withSecret); !errors.Is(err, access.ErrIssue) {
		t.Errorf("a secret that nobody seals: %v, want ErrIssue", err)
	}
	sealing(is)
	if _, _, err := is.CreateKey(withSecret); !errors.Is(err, access.ErrIssue) {
		t.Errorf("CreateKey with a secret: %v, want ErrIssue", err)
	}
	for name, change := range map[string]func(*access.KeyRequest){
		"both":                  func(r *access.KeyRequest) { r.Signing = access.HMACSHA256 },
		"algorithm and key":     func(r *access.KeyRequest) { r.Signing = access.ECDSAP256SHA256 },
		"algorithm without key": func(r *access.KeyRequest) { r.Signing, r.PublicKey = access.Ed25519, nil },
		"unknown algorithm":     func(r *access.KeyRequest) { r.Signing, r.PublicKey = "rsa-v1_5-sha256", nil },
		"no key":                func(r *access.KeyRequest) { r.PublicKey = []byte("-----BEGIN PUBLIC KEY-----") },
	} {
		r := withKey
		change(&r)
		if got, err := is.Issue(r); !errors.Is(err, access.ErrIssue) || got.Text != "" {
			t.Errorf("%s: %v, want ErrIssue", name, err)
		}
	}

	mac, err := is.Issue(withSecret)
	if err != nil {
		t.Fatal(err)
	}
	if k := mac.Key.Signing; k.KeyID != mac.Key.ID || k.Algorithm != access.HMACSHA256 ||
		!access.IsSigningSecret(mac.SigningSecret) || string(k.SealedSecret) != mac.Key.ID+"|"+mac.SigningSecret {
		t.Errorf("signing key %+v with secret %q, want it sealed under %s", k, mac.SigningSecret, mac.Key.ID)
	}
	for _, printed := range []string{fmt.Sprint(mac), fmt.Sprintf("%+v", mac), fmt.Sprintf("%#v", mac), mac.LogValue().String()} {
		if printed != mac.Key.ID {
			t.Errorf("what was issued prints as %q, want its ID", printed)
		}
	}
	asymmetric, err := is.Issue(withKey)
	if err != nil || asymmetric.SigningSecret != "" {
		t.Fatalf("Issue = %q, %v; want no secret", asymmetric.SigningSecret, err)
	}

	// Rotation: a secret of its own, the same public key, and the new key's ID.
	for name, old := range map[string]access.Issued{"secret": mac, "public key": asymmetric} {
		_, next, err := is.RotateKey(old.Key, time.Hour)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		was, is := old.Key.Signing, next.Key.Signing
		if is.KeyID != next.Key.ID || is.Algorithm != was.Algorithm || !bytes.Equal(is.PublicKey, was.PublicKey) {
			t.Errorf("%s: rotated to %+v, from %+v", name, is, was)
		}
		if secret := next.SigningSecret; (secret == "") != (old.SigningSecret == "") || secret != "" &&
			(secret == old.SigningSecret || string(is.SealedSecret) != next.Key.ID+"|"+secret) {
			t.Errorf("%s: rotated to the secret %q, sealed %q", name, secret, is.SealedSecret)
		}
	}
	is.Seal = func([]byte, []byte) ([]byte, error) { return nil, errors.New("no box") }
	if _, _, err := is.RotateKey(mac.Key, 0); err == nil {
		t.Error("rotated without a box")
	}
}

func TestNewSigningSecret(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		s, err := access.NewSigningSecret(rand.Reader)
		if err != nil || len(s) != 47 || !strings.HasPrefix(s, "pss_") || !access.IsSigningSecret(s) || seen[s] {
			t.Fatalf("secret %q, %v", s, err)
		}
		seen[s] = true
	}
	if _, err := access.NewSigningSecret(bytes.NewReader(make([]byte, 42))); err == nil {
		t.Error("NewSigningSecret took a reader that ran dry")
	}
	for _, s := range []string{"", "pss_", "pss_" + strings.Repeat("a", 42), "pss_" + strings.Repeat("a", 44), "pss_" + strings.Repeat("-", 43), "psk_" + strings.Repeat("a", 43)} {
		if access.IsSigningSecret(s) {
			t.Errorf("%q passes for a signing secret", s)
		}
	}
}

func FuzzParsePublicKey(f *testing.F) {
	for _, s := range signers() {
		f.Add(publicPEM(f, s.public))
	}
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		der, kind, err := access.ParsePublicKey(text)
		if err != nil {
			return
		}
		if _, err := access.NewSigningKey("key_a", kind, der).Public(); err != nil {
			t.Errorf("what was read as %s does not read again: %v", kind, err)
		}
	})
}
