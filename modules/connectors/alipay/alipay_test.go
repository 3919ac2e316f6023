package alipay

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"flag"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connector/connectortest"
)

// testAppID is the application of the published sandbox notifications.
const testAppID = "9021000122682882"

func testKey(tb testing.TB, name string) (string, *rsa.PrivateKey) {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "keys", name))
	if err != nil {
		tb.Fatal(err)
	}
	key, err := parsePrivate(string(b))
	if err != nil {
		tb.Fatal(err)
	}
	return string(b), key
}

func publicText(tb testing.TB, key *rsa.PublicKey) string {
	tb.Helper()
	b, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// newTest returns a connector of the test keys, and what signs as its Alipay.
func newTest(tb testing.TB) (*Connector, *keyPair) {
	tb.Helper()
	private, _ := testKey(tb, "test_application.pem")
	_, alipay := testKey(tb, "test_alipay.pem")
	c := &Connector{
		AppID: testAppID, PrivateKey: connector.NewSecret(private),
		PublicKey: connector.NewSecret(publicText(tb, &alipay.PublicKey)),
	}
	if err := c.Prepare(); err != nil {
		tb.Fatal(err)
	}
	return c, &keyPair{private: alipay}
}

// unsigned stands in a transcript's answer where -update puts a signature.
const unsigned = `"sign":"?"`

// seal puts Alipay's signature into an answer that holds [unsigned].
func (k *keyPair) seal(tb testing.TB, body string) string {
	tb.Helper()
	// Signing must not depend on the code that is under test.
	head, _, ok := strings.Cut(body, ","+unsigned)
	_, object, found := strings.Cut(head, `_response":`)
	if !ok || !found {
		tb.Fatalf("nothing to sign in %.100s", body)
	}
	sum := sha256.Sum256([]byte(object))
	sig, err := rsa.SignPKCS1v15(rand.Reader, k.private, crypto.SHA256, sum[:])
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Replace(body, unsigned, `"sign":"`+base64.StdEncoding.EncodeToString(sig)+`"`, 1)
}

// sealAll signs the answers of new transcripts under -update.
func sealAll(t *testing.T, k *keyPair, dir string) {
	t.Helper()
	if f := flag.Lookup("update"); f == nil || f.Value.String() != "true" {
		return
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		a := txtar.Parse(b)
		for i := range a.Files {
			if f := &a.Files[i]; f.Name == "response.http" && strings.Contains(string(f.Data), unsigned) {
				f.Data = []byte(k.seal(t, string(f.Data)))
			}
		}
		if err := os.WriteFile(path, txtar.Format(a), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTranscripts(t *testing.T) {
	c, alipay := newTest(t)
	sealAll(t, alipay, "testdata/calls")
	connectortest.Run(t, c, "testdata/calls")
}

func TestProbe(t *testing.T) {
	c, alipay := newTest(t)
	sealAll(t, alipay, "testdata/probe")
	connectortest.RunProbe(t, c, "testdata/probe")
}

// signWebhook signs a delivery as Alipay does.
func (k *keyPair) signWebhook(d *connector.Delivery) {
	p, err := url.ParseQuery(string(d.Body))
	if err != nil {
		panic(err)
	}
	sig, err := k.sign(signText(p))
	if err != nil {
		panic(err)
	}
	d.Body = append(append([]byte(nil), d.Body...), "&sign_type=RSA2&sign="+url.QueryEscape(sig)...)
}

func TestWebhooks(t *testing.T) {
	c, alipay := newTest(t)
	connectortest.RunWebhooks(t, c, alipay.signWebhook, "testdata/webhooks")
}
