package edge_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// accountReport is the answer to a test of an account.
type accountReport struct {
	OK                    bool
	Credentials, Webhooks string
	Checks                []struct {
		Check, Detail string
		OK            bool
	}
	NotTested []string `json:"not_tested"`
}

// check finds one check by the beginning of its name.
func (r *accountReport) check(name string) (ok bool, detail string) {
	for _, c := range r.Checks {
		if strings.HasPrefix(c.Check, name) {
			return c.OK, c.Detail
		}
	}
	return false, "there is no such check"
}

// secret writes a file of the configuration, and returns its reference.
func (w *world) secret(t *testing.T, name, value string) string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(value), 0o600); err != nil {
		t.Fatal(err)
	}
	return "{file." + name + "}"
}

// testKey makes a key of an application, as PEM.
func testKey(t *testing.T) (private string, public []byte) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	b, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b})),
		pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
}

// TestAccountTest holds that a test of an account tells good credentials from
// bad ones and from a PSP that is gone, and moves nothing.
func TestAccountTest(t *testing.T) {
	w := newWorld(t)
	private, public := testKey(t)
	stranger, _ := testKey(t)
	if err := w.sim.SetAlipayMerchantKey("2021000000000001", public); err != nil {
		t.Fatal(err)
	}
	alipayKey := w.secret(t, "alipay_public", w.sim.AlipayPublicKeyPEM())
	other := w.secret(t, "other_public", string(public))
	account := func(base string, codec object) object {
		return object{"mode": "test", "base_url": base, "connector": codec}
	}
	stripe := func(key string) object {
		return object{"name": "stripe", "secret_key": key, "webhook_secret": "{file.stripe_webhook}"}
	}
	hmac := w.secret(t, "hmac", hex.EncodeToString(make([]byte, 32)))
	adyen := func(key string) object {
		return object{"name": "adyen", "api_key": key, "merchant_account": "TestECOM", "hmac_key": hmac}
	}
	alipay := func(app, key, public string) object {
		return object{"name": "alipay", "app_id": app, "private_key": key, "alipay_public_key": public}
	}
	nobody := "http://" + freePort(t)
	mine, theirs := w.secret(t, "app_key", private), w.secret(t, "other_key", stranger)
	tests := map[string]struct {
		account             object
		reached             bool
		credentials, detail string
	}{
		"stripe":         {w.stripe(), true, "accepted", "may read PaymentIntents"},
		"stripe_expired": {account(w.psp+"/stripe", stripe(w.secret(t, "expired", "sk_test_old_revoked"))), true, "refused", "secret_key has expired"},
		"stripe_wrong":   {account(w.psp+"/stripe", stripe(w.secret(t, "wrong", "sk_nonsense"))), true, "refused", "does not know secret_key"},
		"stripe_gone":    {account(nobody, stripe("{file.stripe_key}")), false, "unknown", "cannot tell"},
		"stripe_path":    {account(w.psp+"/elsewhere", stripe("{file.stripe_key}")), true, "unknown", "cannot tell"},
		"adyen":          {account(w.psp+"/adyen", adyen(w.secret(t, "adyen_key", "AQEcanarycanary"))), true, "accepted", "may use merchant_account"},
		"adyen_wrong":    {account(w.psp+"/adyen", adyen(w.secret(t, "adyen_old", "AQEcanary_revoked"))), true, "refused", "does not know api_key"},
		"adyen_gone":     {account(nobody, adyen("{file.adyen_key}")), false, "unknown", "cannot tell"},
		"alipay":         {account(w.psp+"/alipay", alipay("2021000000000001", mine, alipayKey)), true, "accepted", "fit each other"},
		"alipay_app":     {account(w.psp+"/alipay", alipay("2021000000000002", mine, alipayKey)), true, "refused", "does not know app_id"},
		"alipay_private": {account(w.psp+"/alipay", alipay("2021000000000001", theirs, alipayKey)), true, "refused", "private_key does not belong"},
		"alipay_public":  {account(w.psp+"/alipay", alipay("2021000000000001", theirs, other)), true, "refused", "alipay_public_key"},
		"alipay_gone":    {account(nobody, alipay("2021000000000001", mine, alipayKey)), false, "unknown", "cannot tell"},
	}
	for name, tt := range tests {
		w.accounts[name] = tt.account
	}
	w.start(t)
	for name, tt := range tests {
		var r accountReport
		w.operate(t, http.StatusOK, "POST", "/payments/accounts/"+name+"/test", nil, &r)
		want := tt.credentials == "accepted"
		if r.OK != want || r.Credentials != tt.credentials || r.Webhooks != "configured" || len(r.NotTested) != 1 {
			t.Errorf("%s: got %+v, want ok %v and credentials %s", name, r, want, tt.credentials)
		}
		if ok, detail := r.check("credentials"); ok != want || !strings.Contains(detail, tt.detail) {
			t.Errorf("%s: the check of credentials is %v, %q; want %v and %q", name, ok, detail, want, tt.detail)
		}
		if ok, detail := r.check("http://"); ok != tt.reached {
			t.Errorf("%s: the host was reached: %v, %q; want %v", name, ok, detail, tt.reached)
		}
	}
	if n := len(w.sim.Books().All()); n != 0 {
		t.Errorf("the PSPs know %d payments after the tests", n)
	}
	for _, tt := range []struct {
		key, detail string
		ok          bool
	}{{"", "empty", false}, {"sk_test_another", "in use", true}} {
		w.secret(t, "stripe_key", tt.key)
		var r accountReport
		w.operate(t, http.StatusOK, "POST", "/payments/accounts/stripe/test", nil, &r)
		if ok, detail := r.check("secrets"); ok != tt.ok || r.OK != tt.ok || !strings.Contains(detail, tt.detail) {
			t.Errorf("the secret is %q, and the test says %+v", tt.key, r)
		}
	}
	w.operate(t, http.StatusNotFound, "POST", "/payments/accounts/nobody/test", nil, nil)
	stop(t)
	_, text := w.audit(t)
	for _, want := range []string{`"act":"accounts.test","object":"adyen_wrong"`, `"credentials":"refused"`, `"credentials":"unknown"`} {
		if !strings.Contains(text, want) {
			t.Errorf("the audit lacks %s:\n%s", want, text)
		}
	}
	for _, secret := range []string{"AQEcanary", "sk_nonsense", "sk_test_old", "PRIVATE"} {
		if strings.Contains(text, secret) {
			t.Errorf("the audit holds %s", secret)
		}
	}
}
