package alipay

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/purser-pay/purser/modules/connector"
)

func toPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func must(t *testing.T, der []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestParsePrivate(t *testing.T) {
	_, key := testKey(t, "test_application.pem")
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	pkcs8 = must(t, pkcs8, err)
	pkcs1 := x509.MarshalPKCS1PrivateKey(key)
	weak, err := rsa.GenerateKey(rand.Reader, 1024) // it must be refused
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalPKCS8PrivateKey(ec)
	ecDER = must(t, ecDER, err)
	bare := base64.StdEncoding.EncodeToString(pkcs8)
	tests := map[string]struct {
		text string
		want error
	}{
		"PKCS 8, PEM":         {toPEM("PRIVATE KEY", pkcs8), nil},
		"PKCS 1, PEM":         {toPEM("RSA PRIVATE KEY", pkcs1), nil},
		"PKCS 8, bare":        {bare, nil},
		"PKCS 1, bare":        {base64.StdEncoding.EncodeToString(pkcs1), nil},
		"bare with breaks":    {" " + bare[:64] + "\r\n" + bare[64:] + "\n", nil},
		"empty":               {" \n", errKeyEmpty},
		"not base64":          {"secret?", errKeyFormat},
		"not DER":             {"c2VjcmV0", errKeyFormat},
		"PEM and more":        {toPEM("PRIVATE KEY", pkcs8) + "x", errKeyFormat},
		"broken PEM":          {"-----BEGIN PRIVATE KEY-----\n", errKeyFormat},
		"1024 bits":           {toPEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(weak)), errKeyKind},
		"elliptic":            {toPEM("PRIVATE KEY", ecDER), errKeyKind},
		"public for private":  {publicText(t, &key.PublicKey), errKeyFormat},
		"cut off in the body": {bare[:len(bare)/2], errKeyFormat},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parsePrivate(tt.text)
			if !errors.Is(err, tt.want) || (tt.want == nil && !key.Equal(got)) {
				t.Errorf("got error %v, want %v", err, tt.want)
			}
		})
	}
}

func TestParsePublic(t *testing.T) {
	_, key := testKey(t, "test_alipay.pem")
	bare := publicText(t, &key.PublicKey)
	spki, err := base64.StdEncoding.DecodeString(bare)
	spki = must(t, spki, err)
	tests := map[string]struct {
		text string
		want error
	}{
		"PEM":       {toPEM("PUBLIC KEY", spki), nil},
		"bare":      {bare, nil},
		"empty":     {"", errKeyEmpty},
		"a private": {toPEM("PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)), errKeyFormat},
		"PKCS 1":    {toPEM("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&key.PublicKey)), errKeyFormat},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parsePublic(tt.text)
			if !errors.Is(err, tt.want) || (tt.want == nil && !key.PublicKey.Equal(got)) {
				t.Errorf("got error %v, want %v", err, tt.want)
			}
		})
	}
}

func TestPrepare(t *testing.T) {
	good, _ := newTest(t)
	private, app := testKey(t, "test_application.pem")
	tests := map[string]struct {
		change func(*Connector)
		want   string // the field that the error names; "" = none
	}{
		"sound":              {func(*Connector) {}, ""},
		"no app_id":          {func(c *Connector) { c.AppID = "" }, "app_id"},
		"odd app_id":         {func(c *Connector) { c.AppID = "{env.APP}" }, "app_id"},
		"long app_id":        {func(c *Connector) { c.AppID = strings.Repeat("1", 33) }, "app_id"},
		"no private_key":     {func(c *Connector) { c.PrivateKey = connector.Secret{} }, "private_key"},
		"no public key":      {func(c *Connector) { c.PublicKey = connector.Secret{} }, "alipay_public_key"},
		"keys the wrong way": {func(c *Connector) { c.PrivateKey = c.PublicKey }, "private_key"},
		// The most common mistake: the console shows both public keys.
		"our own public key": {func(c *Connector) { c.PublicKey = connector.NewSecret(publicText(t, &app.PublicKey)) }, "application's own key"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := &Connector{AppID: good.AppID, PrivateKey: good.PrivateKey, PublicKey: good.PublicKey}
			tt.change(c)
			err := c.Prepare()
			if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got error %v, want one that says %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), strings.Split(private, "\n")[1]) {
				t.Error("the error holds the key")
			}
		})
	}
}

// TestUnprepared: a connector whose keys are unusable sends and believes
// nothing, and does not panic.
func TestUnprepared(t *testing.T) {
	c := &Connector{AppID: testAppID}
	if _, err := c.Encode(testCall(barcode())); err == nil {
		t.Error("encoded without a key")
	}
	if _, err := c.Decode(testCall(barcode()), connector.Response{StatusCode: 200, Body: []byte(`{"x_response":{}}`)}); err == nil {
		t.Error("decoded without a key")
	}
	if err := c.VerifyWebhook(connector.Delivery{}); !errors.Is(err, connector.ErrSignature) {
		t.Errorf("verify: %v, want ErrSignature", err)
	}
	// The secrets are there now: the next call finds them.
	good, _ := newTest(t)
	c.PrivateKey, c.PublicKey = good.PrivateKey, good.PublicKey
	if _, err := c.Encode(testCall(barcode())); err != nil {
		t.Errorf("encode after all: %v", err)
	}
}
