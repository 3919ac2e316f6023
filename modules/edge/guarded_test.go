package edge_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/caddyserver/caddy/v2"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/signature"
)

// put writes a file of the gateway's folder as an editor does: whole, by renaming.
func (w *world) put(t testing.TB, name, text string) {
	t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+"~", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+"~", path); err != nil {
		t.Fatal(err)
	}
}

// send makes a request with headers of its own, again where the connection broke
// before an answer came, as at the end of a listener.
func (w *world) send(t testing.TB, method, path, body string, headers map[string]string) (int, string, http.Header) {
	t.Helper()
	for range 3 {
		if status, answer, header, err := w.trySend(t, method, path, body, headers); err == nil {
			return status, answer, header
		}
	}
	status, answer, header, err := w.trySend(t, method, path, body, headers)
	if err != nil {
		t.Fatal(err)
	}
	return status, answer, header
}

// trySend makes a request once.
func (w *world) trySend(t testing.TB, method, path, body string, headers map[string]string) (int, string, http.Header, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+w.public+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body == "" {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), resp.Header, err
}

// eventually waits for what a watcher brings about within two seconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second) // twice as long, for a machine with much to do
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come about", what)
		}
		time.Sleep(20 * time.Millisecond) // polls what another goroutine does on its own clock
	}
}

// issuer is an identity provider with one key.
type issuer struct {
	key *ecdsa.PrivateKey
	jwk string
}

func newIssuer(t *testing.T, kid string) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return &issuer{key, `{"kty":"EC","crv":"P-256","use":"sig","alg":"ES256","kid":"` + kid + `","x":"` + b64(point[1:33]) + `","y":"` + b64(point[33:]) + `"}`}
}

func (i *issuer) token(t *testing.T, kid string, claims jwt.MapClaims) string {
	t.Helper()
	now := time.Now()
	all := jwt.MapClaims{"iss": "https://idp.example", "aud": "payments-api", "sub": "till-7", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "mode": "test", "scope": "account:read payments:write"}
	maps.Copy(all, claims)
	token := jwt.NewWithClaims(jwt.SigningMethodES256, all)
	token.Header["kid"] = kid
	text, err := token.SignedString(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestTokens calls by JWT, and rotates the issuer's key while the gateway runs.
func TestTokens(t *testing.T) {
	w := newWorld(t)
	first, second := newIssuer(t, "a"), newIssuer(t, "b")
	w.put(t, "jwks.json", `{"keys":[`+first.jwk+`]}`)
	w.options = object{"jwt": object{"https://idp.example": object{"audience": []string{"payments-api"}, "jwks": "jwks.json", "merchants": []string{"*"}}}}
	w.start(t)
	account := func(token string) (int, string) {
		status, body, _ := w.send(t, "GET", "/v1/account", "", map[string]string{"Authorization": "Bearer " + token})
		return status, body
	}
	mine := jwt.MapClaims{"merchant": w.merchant}
	if status, body := account(first.token(t, "a", mine)); status != 200 || !strings.Contains(body, `"by":"token"`) ||
		!strings.Contains(body, `"subject":"https://idp.example#till-7"`) || !strings.Contains(body, w.merchant) {
		t.Fatalf("a good token: %d %s", status, body)
	}
	for name, token := range map[string]string{
		"of another key":      second.token(t, "b", mine),
		"for mode live":       first.token(t, "a", jwt.MapClaims{"merchant": w.merchant, "mode": "live"}),
		"for nobody we know":  first.token(t, "a", jwt.MapClaims{"merchant": "mer_01h455vb4pex5vsknk084sn02q"}),
		"expired":             first.token(t, "a", jwt.MapClaims{"merchant": w.merchant, "exp": time.Now().Add(-time.Minute).Unix()}),
		"for another service": first.token(t, "a", jwt.MapClaims{"merchant": w.merchant, "aud": "other"}),
	} {
		if status, body := account(token); status != 401 || !strings.Contains(body, `"code":"unauthenticated"`) {
			t.Errorf("a token %s: %d %s, want 401", name, status, body)
		}
	}
	status, body, _ := w.send(t, "GET", "/v1/payments", "", map[string]string{"Authorization": "Bearer " + first.token(t, "a", mine)})
	if status != 403 || !strings.Contains(body, "insufficient_scope") {
		t.Errorf("beyond the token's scopes: %d %s, want 403", status, body)
	}
	revoked, kept := maps.Clone(mine), maps.Clone(mine)
	revoked["jti"], kept["jti"] = "lost", "mine"
	lost, other := first.token(t, "a", revoked), first.token(t, "a", kept)
	for _, token := range []string{lost, other} {
		if status, body := account(token); status != 200 {
			t.Fatalf("before it is revoked: %d %s", status, body)
		}
	}
	w.operate(t, http.StatusCreated, "POST", "/payments/token_revocations", object{"issuer": "https://idp.example", "claim": "jti", "value": "lost"}, nil)
	w.reload(t)
	if status, body := account(lost); status != 401 {
		t.Errorf("a token that was revoked, and verified before: %d %s, want 401", status, body)
	}
	if status, body := account(other); status != 200 {
		t.Errorf("the token beside it: %d %s, want 200", status, body)
	}
	old := first.token(t, "a", mine)
	w.put(t, "jwks.json", `{"keys":[`+second.jwk+`]}`)
	eventually(t, "the issuer's new key", func() bool { status, _ := account(second.token(t, "b", mine)); return status == 200 })
	if status, _ := account(old); status != 401 {
		t.Errorf("a token of the key that was taken away, verified before: %d, want 401", status)
	}
}

// TestPoliciesChange writes rules while the gateway runs: good ones hold within two
// seconds, on connections that are open, and bad ones never.
func TestPoliciesChange(t *testing.T) {
	w := newWorld(t)
	w.put(t, "policies/a.yaml", "rules: []\n")
	w.options = object{"policies": "policies"}
	w.start(t)
	const pay = `{"amount":1999,"currency":"EUR","confirm":false}`
	create := func(key string) (int, string) {
		status, body, _ := w.send(t, "POST", "/v1/payments", pay, map[string]string{
			"Authorization": "Bearer " + w.key, "Content-Type": "application/json", "Idempotency-Key": key,
		})
		return status, body
	}
	if status, body := create("a"); status != 201 {
		t.Fatalf("without rules: %d %s", status, body)
	}
	w.put(t, "policies/a.yaml", "rules:\n- {name: small, limit: {amount_max: {EUR: 1000}}}\n")
	n := 0
	eventually(t, "the new rule", func() bool {
		n++
		status, body := create("b" + strconv.Itoa(n))
		return status == 403 && strings.Contains(body, `"policy":"small"`)
	})
	w.put(t, "policies/a.yaml", "rules:\n- {name: small, limit: {amount_max: {EUR: nonsense}}}\n")
	eventually(t, "the fault in the log", func() bool {
		b, _ := os.ReadFile(filepath.Join(w.dir, "log"))
		return bytes.Contains(b, []byte("a.yaml:2"))
	})
	if status, body := create("c"); status != 403 {
		t.Errorf("the old rule while the new one is wrong: %d %s, want 403", status, body)
	}
	if got := w.metric(t, "purser_policies_wrong"); got != 1 {
		t.Errorf("purser_policies_wrong is %d, want 1", got)
	}
	var report struct{ Changed []string }
	w.operate(t, http.StatusUnprocessableEntity, "POST", "/payments/reload", nil, nil)
	w.mustFail(t, "a.yaml:2")
	wrong := func() int64 { return w.metric(t, "purser_policies_wrong") }
	if got := wrong(); got != 1 {
		t.Errorf("after a refused reload purser_policies_wrong is %d, want 1", got)
	}
	// What holds comes back, and nothing has changed.
	w.put(t, "policies/a.yaml", "rules:\n- {name: small, limit: {amount_max: {EUR: 1000}}}\n")
	w.operate(t, http.StatusOK, "POST", "/payments/reload", nil, &report)
	if got := wrong(); got != 0 || len(report.Changed) != 0 {
		t.Errorf("undone: purser_policies_wrong is %d, and %v changed; want 0 and nothing", got, report.Changed)
	}
	w.put(t, "policies/b.yaml", "nonsense")
	eventually(t, "another file that is wrong", func() bool { return wrong() == 1 })
	if err := os.Remove(filepath.Join(w.dir, "policies/b.yaml")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the file's removal", func() bool { return wrong() == 0 })
	w.put(t, "policies/b.yaml", "nonsense")
	eventually(t, "the wrong file again", func() bool { return wrong() == 1 })
	if err := os.Remove(filepath.Join(w.dir, "policies/b.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := w.load(t); err != nil {
		t.Fatal(err)
	}
	if got := wrong(); got != 0 {
		t.Errorf("after a reload on good files purser_policies_wrong is %d, want 0", got)
	}
	w.put(t, "policies/a.yaml", "rules: []\n")
	w.operate(t, http.StatusOK, "POST", "/payments/reload", nil, &report)
	if status, body := create("d"); status != 201 {
		t.Errorf("without rules again: %d %s", status, body)
	}
}

// TestSecretsChange rotates a PSP's key in its file: it is in use within two
// seconds, and a file that is empty for a moment changes nothing.
func TestSecretsChange(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	w.pay(t, "before")
	seen := func() string { s, _ := w.seen.Load().(string); return s }
	w.put(t, "stripe_key", "")
	eventually(t, "the empty file in the log", func() bool {
		b, _ := os.ReadFile(filepath.Join(w.dir, "log"))
		return bytes.Contains(b, []byte("secrets cannot be renewed"))
	})
	w.pay(t, "meanwhile")
	if got := seen(); got != "Bearer "+secrets["stripe_key"] {
		t.Errorf("the PSP saw %q, want the key that was there", got)
	}
	const next = "sk_test_canarycanarycanarynext"
	w.put(t, "stripe_key", next+"\n")
	n := 0
	eventually(t, "the new key", func() bool {
		n++
		// To the simulator another key is another account: a payment in the midst of
		// which the key changes may fail there.
		_, err := w.tryPay("after-" + strconv.Itoa(n))
		return seen() == "Bearer "+next && err == nil
	})
	b, err := os.ReadFile(filepath.Join(w.dir, "audit"))
	if err != nil || !bytes.Contains(b, []byte(`"act":"secrets.renew"`)) || bytes.Contains(b, []byte(next)) {
		t.Errorf("the audit does not tell of the renewal, or tells too much: %v", err)
	}
}

// signed makes the headers of a payment that is signed by the simple scheme.
func (w *world) signed(t testing.TB, keyID, secret, key, nonce, body string) map[string]string {
	t.Helper()
	signer, err := signature.NewSecretSigner(keyID, []byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	m := signature.Message{
		Method: "POST", Scheme: "http", Authority: w.public, Path: "/v1/payments", Body: []byte(body),
		Header: http.Header{"Idempotency-Key": {key}},
	}
	value, err := signature.SignSimple(&m, signer, time.Now(), nonce)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"Content-Type": "application/json", "Idempotency-Key": key, "Purser-Signature": value}
}

// TestReloadForgetsNothing reloads ten times under load: no request is dropped, no
// nonce is good twice, no limit begins anew, and a circuit breaker stays open. (That
// who guessed still waits has [TestGuessersWait].)
func TestReloadForgetsNothing(t *testing.T) {
	w := newWorld(t)
	dead := w.stripe()
	dead["base_url"], dead["pinned_only"] = "http://"+freePort(t), true
	dead["circuit_breaker"] = object{"failures": 2, "open_for": "10m"}
	w.accounts["dead"] = dead
	w.options = object{"rate_limits": object{"key": object{"rates": []string{"100000/1s", "40/1h"}}}}
	w.start(t)
	var signing, counted struct {
		ID, Key string
		Signing struct{ KeyID, Secret string }
	}
	w.operate(t, http.StatusCreated, "POST", "/payments/keys", object{"merchant": w.merchant, "mode": "test", "signing": "hmac-sha256", "rate_limits": []string{"100000/1s"}}, &signing)
	w.operate(t, http.StatusCreated, "POST", "/payments/keys", object{"merchant": w.merchant, "mode": "test"}, &counted)

	for n := range 2 {
		w.payPinned(t, "dead", "dead-"+strconv.Itoa(n), "failed")
	}
	if got := w.circuit(t, "dead"); got != "open" {
		t.Fatalf("the circuit is %s after two failures", got)
	}
	const body = `{"amount":1999,"currency":"EUR","confirm":false}`
	auth := func(h map[string]string, key string) map[string]string {
		h["Authorization"] = "Bearer " + key
		return h
	}
	once := w.signed(t, signing.Signing.KeyID, signing.Signing.Secret, "once", "nonce-0123456789abcdef", body)
	if status, answer, _ := w.send(t, "POST", "/v1/payments", body, auth(once, signing.Key)); status != 201 {
		t.Fatalf("a signed payment: %d %s", status, answer)
	}
	if status, answer, _ := w.send(t, "POST", "/v1/payments", body, auth(map[string]string{"Content-Type": "application/json", "Idempotency-Key": "unsigned"}, signing.Key)); status != 401 {
		t.Fatalf("a payment that is not signed, by a key that signs: %d %s", status, answer)
	}

	ctx, enough := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	var made atomic.Int64
	defer clients.Wait()
	defer enough()
	for n := range 3 {
		clients.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key := "load-" + strconv.Itoa(n) + "-" + strconv.Itoa(i)
				headers := w.signed(t, signing.Signing.KeyID, signing.Signing.Secret, key, "n-"+key+"-0123456789", body)
				status, answer, _, err := w.trySend(t, "POST", "/v1/payments", body, auth(headers, signing.Key))
				if status != 201 || err != nil {
					t.Errorf("%s: %d %s %v", key, status, answer, err)
					return
				}
				made.Add(1)
			}
		})
	}
	passed := 0
	for i := range 10 {
		until := made.Load() + 3
		if err := caddy.Load(w.config(t), true); err != nil {
			t.Fatalf("reload %d: %v", i, err)
		}
		if status, answer, _ := w.send(t, "POST", "/v1/payments", body, auth(once, signing.Key)); status != 401 || !strings.Contains(answer, "used before") {
			t.Errorf("reload %d: the nonce is good again: %d %s", i, status, answer)
		}
		if got := w.circuit(t, "dead"); got != "open" {
			t.Errorf("reload %d: the circuit is %s", i, got)
		}
		for range 6 {
			if status, _, _ := w.send(t, "GET", "/v1/account", "", auth(map[string]string{}, counted.Key)); status == 200 {
				passed++
			}
		}
		for made.Load() < until && !t.Failed() {
			time.Sleep(5 * time.Millisecond) // the clients' requests
		}
	}
	enough()
	clients.Wait()
	const state = `purser_circuit_breaker_state{account="dead"}`
	if got := w.metric(t, state); got != 2 {
		t.Errorf("%s is %d, want 2", state, got)
	}
	dead["circuit_breaker"] = object{"off": true}
	if err := w.load(t); err != nil {
		t.Fatal(err)
	}
	if got, circuit := w.metric(t, state), w.circuit(t, "dead"); got != 0 || circuit != "none" {
		t.Errorf("without a breaker: %s is %d, and the circuit %s", state, got, circuit)
	}
	if passed != 40 {
		t.Errorf("%d calls passed a limit of 40 an hour over ten reloads", passed)
	}
	t.Logf("%d signed payments over ten reloads", made.Load())
}

// TestGuessersWait holds that a reload forgives nobody who guesses keys.
func TestGuessersWait(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	guess, err := access.NewSecret(rand.Reader, "key_"+w.key[len("pur_test_"):len("pur_test_")+26], payment.Test)
	if err != nil {
		t.Fatal(err)
	}
	typo := w.key[:len(w.key)-1] + "!"
	for range 60 {
		if status, _, _ := w.send(t, "GET", "/v1/payments", "", map[string]string{"Authorization": "Bearer " + typo}); status != 401 {
			t.Fatalf("a typo: %d, want 401 however often", status)
		}
	}
	status := 0
	var header http.Header
	for range 15 {
		status, _, header = w.send(t, "GET", "/v1/account", "", map[string]string{"Authorization": "Bearer " + guess})
	}
	if status != 429 || header.Get("Retry-After") == "" {
		t.Fatalf("the fifteenth guess: %d, want 429 with Retry-After", status)
	}
	if err := w.load(t); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := w.send(t, "GET", "/v1/account", "", map[string]string{"Authorization": "Bearer " + guess}); status != 429 {
		t.Errorf("after a reload: %d, want 429", status)
	}
	b, err := os.ReadFile(filepath.Join(w.dir, "audit"))
	if err != nil || !bytes.Contains(b, []byte(`"act":"call.refused"`)) || bytes.Contains(b, []byte(guess)) {
		t.Errorf("the audit does not tell of the guesses, or tells the key: %v", err)
	}
}

// routes is the present configuration with other handlers.
func (w *world) routes(t testing.TB, handlers ...object) []byte {
	t.Helper()
	return w.site(t, func(server object) { server["routes"] = []object{{"handle": handlers}} })
}

// site is the present configuration with a change to its server.
func (w *world) site(t testing.TB, change func(server object)) []byte {
	t.Helper()
	var config map[string]any
	if err := json.Unmarshal(w.config(t), &config); err != nil {
		t.Fatal(err)
	}
	change(config["apps"].(object)["http"].(object)["servers"].(object)["test"].(object))
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPartsSkipNothingElse holds which paths the single steps let pass without a
// credential, and that nobody names a caller there.
func TestPartsSkipNothingElse(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	paths := map[string]int{
		"/private": 401, "/docs": 200, "/readyz": 200, "/healthz": 200, "/openapi.json": 200,
		"/webhooks/stripe": 200, "/return/abc": 200, "/docs?page=2": 200,
		"/docsecret": 401, "/readyz-admin": 401, "/docs/private": 401, "/docs/": 401, "/%64ocs": 401, "/webhooks": 401, "/webhooksx/a": 401,
		"/docs/../private": 400, "/docs%2f..%2fprivate": 400, "/webhooks/../private": 400, "/webhooks/%2e%2e/private": 400,
		"/return/..;/private": 400, "/webhooks//private": 400, `/webhooks/..%5cprivate`: 400,
	}
	const seen = "[{payments.merchant}{payments.mode}{payments.key}{payments.by}{http.request.header.X-Purser-Merchant}]"
	for _, handler := range []string{"payments_auth", "payments_rate_limit", "payments_signature"} {
		config := w.routes(t, object{"handler": handler}, object{"handler": "static_response", "status_code": 200, "body": seen})
		if err := caddy.Load(config, true); err != nil {
			t.Fatal(err)
		}
		for path, want := range paths {
			status, body, _ := w.send(t, "GET", path, "", map[string]string{"X-Purser-Merchant": w.merchant})
			if status != want {
				t.Errorf("%s: GET %s = %d %s, want %d", handler, path, status, body, want)
			}
			if want == 200 && body != "[]" {
				t.Errorf("%s: behind GET %s is told %s, want nobody", handler, path, body)
			}
		}
	}
}

// TestPartsInARow puts single steps before a handler that is not ours, and before
// the API: every step is taken once, whoever takes it.
func TestPartsInARow(t *testing.T) {
	w := newWorld(t)
	w.options = object{"rate_limits": object{"key": object{"rates": []string{"5/1h"}}}}
	w.start(t)
	who := object{"handler": "static_response", "status_code": 200, "body": "{payments.merchant} {payments.mode} {payments.key} {payments.by}"}
	if err := caddy.Load(w.routes(t, object{"handler": "payments_auth"}, object{"handler": "payments_signature"}, who), true); err != nil {
		t.Fatal(err)
	}
	if status, body, _ := w.send(t, "GET", "/anything", "", map[string]string{"Authorization": "Bearer " + w.key}); status != 200 || !strings.HasPrefix(body, w.merchant+" test key_") || !strings.HasSuffix(body, " key") {
		t.Errorf("behind payments_auth: %d %q", status, body)
	}
	if status, body, h := w.send(t, "GET", "/anything", "", nil); status != 401 || !strings.Contains(body, `"code":"unauthenticated"`) || h.Get("Request-Id") == "" {
		t.Errorf("without a credential: %d %s", status, body)
	}
	if err := caddy.Load(w.routes(t, object{"handler": "payments_auth"}, object{"handler": "payments_rate_limit"}, object{"handler": "payments_api"}), true); err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		if n == 0 {
			continue // payments_signature has counted one
		}
		if status, body, _ := w.send(t, "GET", "/v1/account", "", map[string]string{"Authorization": "Bearer " + w.key}); status != 200 {
			t.Errorf("call %d of 5: %d %s", n, status, body)
		}
	}
	if status, _, _ := w.send(t, "GET", "/v1/account", "", map[string]string{"Authorization": "Bearer " + w.key}); status != 429 {
		t.Errorf("the sixth call: %d, want 429: each is counted once, and none twice", status)
	}
	if status, _, _ := w.send(t, "GET", "/healthz", "", nil); status != 200 {
		t.Errorf("/healthz behind the steps: %d, want 200", status)
	}
}
