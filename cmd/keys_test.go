package pursercmd

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAddSigning: a public key goes into the request as it stands in its file, and
// a private one that was given by mistake goes nowhere.
func TestAddSigning(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte, err error) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err == nil {
			err = os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	good := write("public.pem", "PUBLIC KEY", der, err)
	der, err = x509.MarshalPKCS8PrivateKey(private)
	secret := write("private.pem", "PRIVATE KEY", der, err)
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}

	in := map[string]any{}
	if err := addSigning(in, false, "", true, good); err != nil || in["signing_public_key"] != string(text) {
		t.Errorf("public key: got %v and error %v, want %q", in, err, text)
	}
	in = map[string]any{}
	if err := addSigning(in, false, "", true, secret); err == nil || !strings.Contains(err.Error(), "private key") || len(in) > 0 {
		t.Errorf("private key: got %v and error %v, want nothing and an error that says so", in, err)
	}
	if err := addSigning(in, true, "hmac-sha256", false, ""); err != nil || in["signing"] != "hmac-sha256" {
		t.Errorf("secret: got %v and error %v", in, err)
	}
}

func TestShowKeys(t *testing.T) {
	var out bytes.Buffer
	answer := `{"id":"key_a","key":"pur_test_x","merchant":"mer_a","mode":"test","scopes":["a","b"],"allow_ip":["10.0.0.0/8"],
		"signing":{"keyid":"key_a","algorithm":"hmac-sha256","secret":"pss_x"}}`
	if err := showNewKey(&out, json.RawMessage(answer)); err != nil {
		t.Fatal(err)
	}
	want := `id:       key_a
merchant: mer_a
mode:     test
scopes:   a b
networks: 10.0.0.0/8
key:      pur_test_x
signing:  hmac-sha256
keyid:    key_a
secret:   pss_x

The key is shown this once; the gateway keeps a hash of it.
So is the signing secret; its characters as they stand are the key of the HMAC.
`
	if got := out.String(); got != want {
		t.Errorf("a new key: got\n%s\nwant\n%s", got, want)
	}
	out.Reset()
	list := `{"object":"list","data":[{"id":"key_a","merchant":"mer_a","mode":"test","name":"till","allow_ip":["10.0.0.0/8","192.0.2.1/32"],
		"signing":{"keyid":"key_a","algorithm":"ed25519"},"last_used_at":"2026-03-01T12:00:00Z","rotated_to":"key_b"},
		{"id":"key_b","merchant":"mer_a","mode":"live"}]}`
	if err := showKeys(&out, json.RawMessage(list)); err != nil {
		t.Fatal(err)
	}
	want = `KEY    MERCHANT  MODE  NAME  NETWORKS                 SIGNING  LAST USED             EXPIRES  REVOKED  ROTATED TO
key_a  mer_a     test  till  10.0.0.0/8 192.0.2.1/32  ed25519  2026-03-01T12:00:00Z  -        -        key_b
key_b  mer_a     live  -     -                        -        -                     -        -        -
`
	if got := out.String(); got != want {
		t.Errorf("keys: got\n%s\nwant\n%s", got, want)
	}
}
