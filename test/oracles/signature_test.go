package oracles

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remitly-oss/httpsig-go"
	"github.com/remitly-oss/httpsig-go/keyman"
	"github.com/yaronf/httpsign"

	"github.com/purser-pay/purser/modules/signature"
)

const (
	signingKey = "key_01jd0000000000000000000000"
	// As long as httpsign wants one to be.
	signingSecret = "pss_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	signingNonce  = "n0123456789-_ABCDEFGHI"
	order         = `{"amount":1999,"currency":"EUR"}`
)

// signer is one key, as all three of us have it.
type signer struct {
	algorithm signature.Algorithm
	ours      signature.SigningKey
	private   crypto.PrivateKey // nil for HMAC
	public    crypto.PublicKey
}

func signers(t *testing.T) []signer {
	t.Helper()
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	all := []signer{{algorithm: signature.HMACSHA256}}
	if all[0].ours, err = signature.NewSecretSigner(signingKey, []byte(signingSecret)); err != nil {
		t.Fatal(err)
	}
	for _, k := range []crypto.Signer{ed, p256, newKey()} {
		ours, err := signature.NewSigner(signingKey, k)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, signer{ours.Public().Algorithm(), ours, k, k.Public()})
	}
	return all
}

func newOrder(t *testing.T) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://pay.example.com/v1/payments?a=1&b=%20x&c=", strings.NewReader(order))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer pur_test_x")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", "tea-1")
	r.Header.Set("X-Dict", "a=1,   b=(1 2);c")
	r.Header.Add("X-Lines", "one, two")
	r.Header.Add("X-Lines", "three")
	return r
}

// received is the request as our server would see it.
func received(r *http.Request) *signature.Message {
	m := signature.FromRequest(r, []byte(order))
	m.Scheme = "https"
	return &m
}

func wantVerdict(t *testing.T, who string, err error, good bool) {
	t.Helper()
	if (err == nil) != good {
		t.Errorf("%s: got %v, want it taken %v", who, err, good)
	}
}

// tamperings are changes to a signed order that all must refuse.
var tamperings = map[string]func(*http.Request){
	"nothing": func(*http.Request) {},
	"method":  func(r *http.Request) { r.Method = http.MethodPut },
	"path":    func(r *http.Request) { r.URL.Path += "/x" },
	"query":   func(r *http.Request) { r.URL.RawQuery += "&amount=1" },
	"host":    func(r *http.Request) { r.URL.Host, r.Host = "pay.example.org", "pay.example.org" },
	"key":     func(r *http.Request) { r.Header.Set("Idempotency-Key", "tea-2") },
	"caller":  func(r *http.Request) { r.Header.Set("Authorization", "Bearer pur_test_y") },
	"time": func(r *http.Request) {
		r.Header.Set("Signature-Input", strings.Replace(r.Header.Get("Signature-Input"), "created=1", "created=2", 1))
	},
	"digest": func(r *http.Request) {
		r.Header.Set("Content-Digest", "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:")
	},
}

// requiredFields are what a request's signature must cover for us.
var requiredFields = []string{"@method", "@target-uri", "authorization", "content-type", "content-digest", "idempotency-key"}

// httpsignKey makes the signer and the verifier of httpsign.
func (s signer) httpsignKey(t *testing.T, sc *httpsign.SignConfig, vc *httpsign.VerifyConfig, fields httpsign.Fields) (*httpsign.Signer, *httpsign.Verifier) {
	t.Helper()
	var sign *httpsign.Signer
	var verify *httpsign.Verifier
	var err, verr error
	switch k := s.private.(type) {
	case ed25519.PrivateKey:
		sign, err = httpsign.NewEd25519Signer(k, sc, fields)
		verify, verr = httpsign.NewEd25519Verifier(s.public.(ed25519.PublicKey), vc, fields)
	case *ecdsa.PrivateKey:
		sign, err = httpsign.NewP256Signer(*k, sc, fields)
		verify, verr = httpsign.NewP256Verifier(k.PublicKey, vc, fields)
	case *rsa.PrivateKey:
		sign, err = httpsign.NewRSAPSSSigner(*k, sc, fields)
		verify, verr = httpsign.NewRSAPSSVerifier(k.PublicKey, vc, fields)
	default:
		sign, err = httpsign.NewHMACSHA256Signer([]byte(signingSecret), sc, fields)
		verify, verr = httpsign.NewHMACSHA256Verifier([]byte(signingSecret), vc, fields)
	}
	if err != nil || verr != nil {
		t.Fatal(err, verr)
	}
	return sign, verify
}

// TestHTTPSign holds our signatures of requests against yaronf/httpsign.
func TestHTTPSign(t *testing.T) {
	t.Parallel()
	for _, s := range signers(t) {
		fields := *httpsign.NewFields()
		fields.AddHeaders(requiredFields...)
		sc := httpsign.NewSignConfig().SetNonce(signingNonce).SetKeyID(signingKey)
		vc := httpsign.NewVerifyConfig().SetKeyID(signingKey)
		_, verify := s.httpsignKey(t, sc, vc, fields)
		// They may sign more than is asked for, in every form that there is.
		fields.AddHeaders("@scheme", "@authority", "@path", "@query", "@request-target")
		fields.AddQueryParam("a").AddDictHeader("x-dict", "b").AddHeaderExt("x-lines", false, true, false, false)
		sign, _ := s.httpsignKey(t, sc, vc, fields)

		for name, change := range tamperings {
			r := newOrder(t)
			body := io.NopCloser(strings.NewReader(order))
			digest, err := httpsign.GenerateContentDigestHeader(&body, []string{httpsign.DigestSha512, httpsign.DigestSha256})
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Digest", digest)
			input, value, err := httpsign.SignRequest("shop", *sign, r)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Signature-Input", input)
			r.Header.Set("Signature", value)
			change(r)
			_, err = signature.Verify(received(r), s.ours.Public(), signature.Standard, time.Now())
			wantVerdict(t, string(s.algorithm)+", signed by httpsign, "+name, err, name == "nothing")

			r = newOrder(t)
			if err := signature.SignRequest(received(r), s.ours, signature.Standard, time.Now(), signingNonce); err != nil {
				t.Fatal(err)
			}
			change(r)
			err = httpsign.VerifyRequest("sig1", *verify, r)
			wantVerdict(t, string(s.algorithm)+", verified by httpsign, "+name, err, name == "nothing")
		}
		body := io.NopCloser(strings.NewReader(order))
		m := received(newOrder(t))
		if err := signature.SignRequest(m, s.ours, signature.Standard, time.Now(), signingNonce); err != nil {
			t.Fatal(err)
		}
		if err := httpsign.ValidateContentDigestHeader(m.Header["Content-Digest"], &body, []string{httpsign.DigestSha256}); err != nil {
			t.Errorf("our digest: %v", err)
		}
	}
}

// TestHTTPSignResponses holds our signatures of responses against
// yaronf/httpsign.
func TestHTTPSignResponses(t *testing.T) {
	t.Parallel()
	for _, s := range signers(t) {
		fields := httpsign.NewFields().AddHeaders("@status", "content-type", "content-digest")
		for _, name := range []string{"@method", "@target-uri", "content-digest", "signature", "signature-input"} {
			fields.AddHeaderExt(name, false, false, true, false)
		}
		sc := httpsign.NewSignConfig().SetKeyID(signingKey).SetTag("purser-response")
		vc := httpsign.NewVerifyConfig().SetKeyID(signingKey).SetAllowedTags([]string{"purser-response"})
		sign, verify := s.httpsignKey(t, sc, vc, *fields)
		req := newOrder(t)
		m := received(req)
		if err := signature.SignRequest(m, s.ours, signature.Standard, time.Now(), signingNonce); err != nil {
			t.Fatal(err)
		}
		answer := func() *signature.Response {
			return &signature.Response{Status: http.StatusCreated, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"id":"pay_1"}`)}
		}
		theirs := func(r *signature.Response) *http.Response {
			return &http.Response{StatusCode: r.Status, Header: r.Header, Body: io.NopCloser(bytes.NewReader(r.Body))}
		}
		r := answer()
		if err := signature.SignResponse(m, r, s.ours, signature.Standard, time.Now(), signature.Wish{}); err != nil {
			t.Fatal(err)
		}
		wantVerdict(t, string(s.algorithm)+", verified by httpsign", httpsign.VerifyResponse("sig1", *verify, theirs(r), req), true)
		r.Status = http.StatusOK
		wantVerdict(t, string(s.algorithm)+", verified by httpsign, another status", httpsign.VerifyResponse("sig1", *verify, theirs(r), req), false)

		r = answer()
		body := io.NopCloser(bytes.NewReader(r.Body))
		digest, err := httpsign.GenerateContentDigestHeader(&body, []string{httpsign.DigestSha256})
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Digest", digest)
		input, value, err := httpsign.SignResponse("gate", *sign, theirs(r), req)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Signature-Input", input)
		r.Header.Set("Signature", value)
		_, err = signature.VerifyResponse(m, r, s.ours.Public(), signature.Standard, time.Now())
		wantVerdict(t, string(s.algorithm)+", signed by httpsign", err, true)
		r.Status = http.StatusOK
		_, err = signature.VerifyResponse(m, r, s.ours.Public(), signature.Standard, time.Now())
		wantVerdict(t, string(s.algorithm)+", signed by httpsign, another status", err, false)
	}
}

// asHTTPSig makes a request of which httpsig-go 1.2.0 takes the right @target-uri:
// it joins RawPath and RawQuery, and forgets the question mark.
func asHTTPSig(r *http.Request) *http.Request {
	r = r.Clone(r.Context())
	r.TLS = &tls.ConnectionState{}
	r.URL.RawPath = r.URL.EscapedPath()
	r.URL.RawQuery = "?" + r.URL.RawQuery
	return r
}

// TestHTTPSig holds our signatures of requests against remitly-oss/httpsig-go.
// What it signs has @authority, @path and @query in place of @target-uri.
func TestHTTPSig(t *testing.T) {
	t.Parallel()
	for _, s := range signers(t) {
		algorithm := httpsig.Algorithm(s.algorithm)
		profile := httpsig.SigningProfile{
			Algorithm: algorithm, Digest: httpsig.DigestSHA512, Label: "shop",
			Fields:   httpsig.Fields(slices.Concat([]string{"@method", "@authority", "@path", "@query"}, requiredFields[2:])...),
			Metadata: []httpsig.Metadata{httpsig.MetaCreated, httpsig.MetaNonce, httpsig.MetaKeyID, httpsig.MetaAlgorithm, httpsig.MetaExpires},
		}
		key := httpsig.SigningKey{Key: s.private, MetaKeyID: signingKey}
		spec := httpsig.KeySpec{KeyID: signingKey, Algo: algorithm, PubKey: s.public}
		if s.private == nil {
			key.Secret, spec.Secret = []byte(signingSecret), []byte(signingSecret)
		}
		fetch := keyman.NewKeyFetchInMemory(map[string]httpsig.KeySpec{signingKey: spec})
		wanted := httpsig.VerifyProfile{
			SignatureLabel: "sig1", AllowedAlgorithms: []httpsig.Algorithm{algorithm},
			RequiredFields:   httpsig.Fields(requiredFields...),
			RequiredMetadata: []httpsig.Metadata{httpsig.MetaCreated, httpsig.MetaNonce, httpsig.MetaKeyID},
		}
		for name, change := range tamperings {
			r := newOrder(t)
			if err := httpsig.Sign(r, profile, key); err != nil {
				t.Fatal(err)
			}
			change(r)
			_, err := signature.Verify(received(r), s.ours.Public(), signature.Standard, time.Now())
			wantVerdict(t, string(s.algorithm)+", signed by httpsig-go, "+name, err, name == "nothing")

			r = newOrder(t)
			if err := signature.SignRequest(received(r), s.ours, signature.Standard, time.Now(), signingNonce); err != nil {
				t.Fatal(err)
			}
			change(r)
			_, err = httpsig.Verify(asHTTPSig(r), fetch, wanted)
			wantVerdict(t, string(s.algorithm)+", verified by httpsig-go, "+name, err, name == "nothing")
		}
	}
}
