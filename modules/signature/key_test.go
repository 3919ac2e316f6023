package signature

import (
	"bytes"
	"crypto"
	"crypto/dsa" //nolint:staticcheck // a kind of key that must be refused
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func derOf(t testing.TB, k Key) []byte {
	t.Helper()
	block, _ := pem.Decode(k.PEM())
	if block == nil {
		t.Fatal("no PEM")
	}
	return block.Bytes
}

// rawOf is the public key without its wrapping.
func rawOf(k Key) []byte {
	switch p := k.of().public.(type) {
	case ed25519.PublicKey:
		return p
	case *ecdsa.PublicKey:
		b, _ := p.Bytes()
		return b
	case *rsa.PublicKey:
		return p.N.Bytes()
	}
	return nil
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func pkix0(t *testing.T, public any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestParsePublicKey(t *testing.T) {
	t.Parallel()
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	ed, edPrivate, _ := ed25519.GenerateKey(rand.Reader)
	pkcs8, _ := x509.MarshalPKCS8PrivateKey(edPrivate)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "shop"}, NotAfter: noon}
	certificate, _ := x509.CreateCertificate(rand.Reader, template, template, ed, edPrivate)
	good := block("PUBLIC KEY", pkix0(t, ed))
	for _, test := range []struct {
		name, id string
		text     []byte
		want     Algorithm
		says     string
	}{
		{"Ed25519", keyID, good, Ed25519, ""},
		{"P-256", keyID, keyOf(t, ECDSAP256SHA256).Public().PEM(), ECDSAP256SHA256, ""},
		{"RSA of 2048", keyID, keyOf(t, RSAPSSSHA512).Public().PEM(), RSAPSSSHA512, ""},
		{"with text around it", keyID, append(append([]byte("my key:\n"), good...), "\n \n"...), Ed25519, ""},
		{"nothing", keyID, nil, "", "no PEM block"},
		{"not PEM", keyID, pkix0(t, ed), "", "no PEM block"},
		{"two keys", keyID, append(slices.Clip(good), good...), "", "more than one"},
		{"much text", keyID, append(slices.Clip(good), bytes.Repeat([]byte("\n"), maxPEM)...), "", "more than 16384 bytes"},
		{"a certificate", keyID, block("CERTIFICATE", certificate), "", "openssl x509"},
		{"a private key", keyID, block("PRIVATE KEY", pkcs8), "", "openssl pkey"},
		{"a private key by another name", keyID, block("PUBLIC KEY", pkcs8), "", "holds no public key"},
		{"PKCS #1", keyID, block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: big.NewInt(15), E: 3})), "", "must be"},
		{"half a key", keyID, block("PUBLIC KEY", pkix0(t, ed)[:20]), "", "holds no public key"},
		{"P-224", keyID, block("PUBLIC KEY", pkix0(t, &p224.PublicKey)), "", "P-256"},
		{"P-384", keyID, block("PUBLIC KEY", pkix0(t, &p384.PublicKey)), "", "P-256"},
		{"RSA of 1024", keyID, block("PUBLIC KEY", pkix0(t, rsaOf(1024))), "", "not 1024"},
		{"RSA of 2047", keyID, block("PUBLIC KEY", pkix0(t, rsaOf(2047))), "", "not 2047"},
		{"RSA of 8193", keyID, block("PUBLIC KEY", pkix0(t, rsaOf(8193))), "", "not 8193"},
		{"no ID", "", good, "", "ID"},
		{"an ID with a space", "key 1", good, "", "ID"},
		{"an ID that is not ASCII", "kéy", good, "", "ID"},
		{"a long ID", strings.Repeat("k", 129), good, "", "ID"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			k, err := ParsePublicKey(test.id, test.text)
			if test.says != "" {
				wantError(t, err, ErrKey, test.says)
				if !k.IsZero() {
					t.Error("got a key beside the error")
				}
				return
			}
			if err != nil || k.Algorithm() != test.want || k.ID() != keyID {
				t.Fatalf("got %v, %v; want %s", k, err, test.want)
			}
			again, err := ParsePublicKey(keyID, k.PEM())
			if err != nil || !bytes.Equal(again.PEM(), k.PEM()) {
				t.Errorf("its own PEM: got %v", err)
			}
		})
	}
	if _, err := publicKey(keyID, &dsa.PublicKey{}); err == nil {
		t.Error("DSA: got no error")
	}
}

// rsaOf is the public half of nothing, of so many bits.
func rsaOf(bits uint) *rsa.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}
}

func TestParsePrivateKey(t *testing.T) {
	t.Parallel()
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	big, _ := rsa.GenerateKey(rand.Reader, 2048)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	pkcs8 := func(k any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return block("PRIVATE KEY", der)
	}
	sec1, _ := x509.MarshalECPrivateKey(p256)
	for _, test := range []struct {
		name string
		text []byte
		want Algorithm
		says string
	}{
		{"Ed25519", pkcs8(ed), Ed25519, ""},
		{"P-256", pkcs8(p256), ECDSAP256SHA256, ""},
		{"P-256, SEC 1", block("EC PRIVATE KEY", sec1), ECDSAP256SHA256, ""},
		{"RSA", pkcs8(big), RSAPSSSHA512, ""},
		{"RSA, PKCS #1", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(big)), RSAPSSSHA512, ""},
		{"P-384", pkcs8(p384), "", "P-256"},
		{"an encrypted one", block("ENCRYPTED PRIVATE KEY", []byte("x")), "", "must be"},
		{"a public one", keyOf(t, Ed25519).Public().PEM(), "", "must be"},
		{"half of one", block("PRIVATE KEY", sec1[:40]), "", "no private key"},
		{"nothing", nil, "", "no PEM block"},
	} {
		k, err := ParsePrivateKey(keyID, test.text)
		if test.says != "" {
			wantError(t, err, ErrKey, test.says)
			continue
		}
		if err != nil || k.Public().Algorithm() != test.want || k.ID() != keyID {
			t.Errorf("%s: got %v, %v; want %s", test.name, k, err, test.want)
			continue
		}
		if _, err := Verify(signedRequest(t, k, Standard), k.Public(), Standard, noon); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestSecretSizes(t *testing.T) {
	t.Parallel()
	for n, ok := range map[int]bool{0: false, 15: false, 16: true, 512: true, 513: false} {
		_, err := NewSecretKey(keyID, bytes.Repeat([]byte("s"), n))
		_, err2 := NewSecretSigner(keyID, bytes.Repeat([]byte("s"), n))
		if (err == nil) != ok || (err2 == nil) != ok {
			t.Errorf("%d bytes: got %v and %v, want accepted %v", n, err, err2, ok)
		}
	}
	own := []byte(secret)
	k, err := NewSecretKey(keyID, own)
	if err != nil {
		t.Fatal(err)
	}
	clear(own) // whose bytes they were may do with them as they like
	if _, err := Verify(signedRequest(t, keyOf(t, HMACSHA256), Standard), k, Standard, noon); err != nil {
		t.Errorf("after the caller's copy was wiped: %v", err)
	}
}

// TestKeysDoNotPrint looks for the secret in everything that prints.
func TestKeysDoNotPrint(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms {
		s := keyOf(t, a)
		k := s.Public()
		hidden := []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%d", []byte(secret)), encode([]byte(secret))}
		var log bytes.Buffer
		logger := slog.New(slog.NewJSONHandler(&log, nil))
		logger.Info("keys", slog.Any("key", k), slog.Any("signer", s), slog.Any("both", []any{k, s}))
		asJSON, _ := json.Marshal([]any{k, &k, s, &s, struct{ K Key }{k}})
		said := log.String() + string(asJSON)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			said += fmt.Sprintf(verb, k) + fmt.Sprintf(verb, s) + fmt.Sprintf(verb, struct {
				k Key
				s *SigningKey
			}{k, &s})
		}
		for _, h := range hidden {
			if strings.Contains(said, h) {
				t.Errorf("%s: a secret is in %s", a, said)
			}
		}
		if !strings.Contains(log.String(), keyID) || !strings.Contains(fmt.Sprint(k), keyID) {
			t.Errorf("%s: the key's ID is not in %s", a, said)
		}
	}
	if keyOf(t, HMACSHA256).Public().PEM() != nil || (Key{}).PEM() != nil {
		t.Error("a secret key has a PEM, want none")
	}
}

// TestSalt holds that the salt of RSA-PSS is 64 bytes (RFC 9421 §3.3.1), both ways.
func TestSalt(t *testing.T) {
	t.Parallel()
	private, err := rsa.GenerateKey(rand.Reader, MinRSABits)
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewSigner(keyID, private)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512([]byte(tea))
	for salt, want := range map[int]bool{20: false, 32: false, 64: true} {
		signature, err := rsa.SignPSS(rand.Reader, private, crypto.SHA512, sum[:], &rsa.PSSOptions{SaltLength: salt})
		if err != nil {
			t.Fatal(err)
		}
		if got := k.Public().verify([]byte(tea), signature); got != want {
			t.Errorf("a salt of %d: got verified %v, want %v", salt, got, want)
		}
	}
	ours, err := k.sign([]byte(tea))
	if err != nil || rsa.VerifyPSS(&private.PublicKey, crypto.SHA512, sum[:], ours, &rsa.PSSOptions{SaltLength: 64}) != nil {
		t.Errorf("our own has another salt than 64: %v", err)
	}
}

func TestNewNonce(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		n, err := NewNonce(nil)
		if err != nil || !isNonce(n) || !isSimpleNonce(n) || seen[n] {
			t.Fatalf("got %q, %v; want a new one that is good for both schemes", n, err)
		}
		seen[n] = true
	}
	if _, err := NewNonce(strings.NewReader("short")); err == nil {
		t.Error("got a nonce without chance")
	}
}

// TestConcurrent is for the race detector: keyed states are used again.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	k := keyOf(t, HMACSHA256).Public()
	m := signedRequest(t, keyOf(t, HMACSHA256), Standard)
	done := make(chan error)
	for range 8 {
		go func() {
			var err error
			for range 200 {
				if _, e := Verify(m, k, Standard, noon.Add(time.Second)); e != nil {
					err = e
				}
			}
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func hexOf(b []byte) string { return fmt.Sprintf("%x", b) }
