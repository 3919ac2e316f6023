package token

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// noon is the time of the fuzz targets' clock.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fuzzKey is a key whose signatures are the same each time, so that what was not
// signed here can be told from what was.
var fuzzKey = ed25519.NewKeyFromSeed([]byte("a seed of thirty-two bytes: fuzz"))

func fuzzSign(header, payload string) string {
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(fuzzKey, []byte(signed)))
}

func fuzzJWK() string {
	return `{"kty":"OKP","crv":"Ed25519","x":"` + base64.RawURLEncoding.EncodeToString(fuzzKey.Public().(ed25519.PublicKey)) + `"}`
}

const (
	fuzzClaims = `{"iss":"https://idp.example","aud":["payments-api"],"exp":1772366700,"nbf":1772366400.5,"iat":1772366400,` +
		`"merchant":"mer_01h455vb4pex5vsknk084sn02q","mode":"test","scope":"payments:read","sub":"s","cnf":{"jkt":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}`
	fuzzProofClaims = `{"jti":"1","htm":"POST","htu":"https://pay.example/v1","iat":1772366400,"ath":"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"}`
)

// FuzzVerify: nothing but what the issuer signed is taken, nothing panics, and no
// error is of another kind than those that are promised.
func FuzzVerify(f *testing.F) {
	v, err := New(Config{
		Issuers: []Issuer{{Name: "https://idp.example", Audiences: []string{"payments-api"}, JWKS: "/none", Merchants: []string{"*"}, Algorithms: []string{"EdDSA"}}},
		Now:     func() time.Time { return noon },
	})
	if err != nil {
		f.Fatal(err)
	}
	keys, err := parseKeySet([]byte(`{"keys":[`+fuzzJWK()+`]}`), []string{"EdDSA"})
	if err != nil {
		f.Fatal(err)
	}
	v.sources["https://idp.example"].held.Store(&holding{keys: keys, until: noon.Add(time.Hour)})

	signed := []string{fuzzSign(`{"alg":"EdDSA","typ":"at+jwt"}`, fuzzClaims), fuzzSign(`{ "alg" : "EdDSA" }`, fuzzClaims)}
	for _, s := range signed {
		if _, err := v.Verify(f.Context(), s); err != nil {
			f.Fatalf("the seed: %v", err)
		}
		f.Add(s)
	}
	for _, s := range []string{
		fuzzSign(`{"alg":"EdDSA","crit":["x"]}`, fuzzClaims), fuzzSign(`{"alg":"EdDSA"}`, `{"iss":"https://idp.example","aud":1}`),
		fuzzSign(`{"alg":"EdDSA","kid":"x"}`, fuzzClaims), "eyJ.e30.AA", "..", "eyJhbGciOiJub25lIn0.e30.",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := v.Verify(t.Context(), s)
		switch {
		case err == nil && !slices.Contains(signed, s):
			t.Errorf("took %q, which nobody signed", s)
		case err == nil && (id.Merchant == "" || id.Mode == ""):
			t.Errorf("took %q as %+v", s, id)
		case err != nil && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrUnavailable):
			t.Errorf("an error of another kind: %v", err)
		}
	})
}

// FuzzClaims: whatever an issuer signs is taken or refused, and what is taken lies
// within its rights.
func FuzzClaims(f *testing.F) {
	is := Issuer{Name: "https://idp.example", Audiences: []string{"payments-api"}, Merchants: []string{"mer_01h455vb4pex5vsknk084sn02q"}}.withDefaults()
	f.Add(fuzzClaims)
	f.Add(`{"exp":1e300}`)
	f.Add(`{"aud":[1],"exp":"1","x":{"a":[{}]}}`)
	f.Fuzz(func(t *testing.T, s string) {
		claims, err := parseObject([]byte(s))
		if err != nil {
			return
		}
		if !jsontext.Value(s).IsValid() {
			t.Errorf("%q is read, and is no JSON", s)
		}
		id, good, err := is.identify(&compact{header: object{}}, claims, noon)
		if err != nil {
			return
		}
		if id.Merchant != is.Merchants[0] || id.Mode != "test" || !noon.Before(good.until) || noon.Before(good.from) || id.Expires.After(noon.Add(time.Hour+skew)) ||
			strings.ContainsAny(id.Subject+id.ClientID+id.ID, "\r\n\x00") {
			t.Errorf("%q is taken as %+v, good %+v", s, id, good)
		}
	})
}

// FuzzProof: nothing but what the key signed proves anything.
func FuzzProof(f *testing.F) {
	o, err := parseObject([]byte(fuzzJWK()))
	if err != nil {
		f.Fatal(err)
	}
	k, err := parseKey(o)
	if err != nil {
		f.Fatal(err)
	}
	verify := func(s, url string) (ProofResult, error) {
		p := Proof{Fields: []string{s}, Method: "POST", URL: url, KeyThumbprint: k.thumbprint}
		return p.verify(noon)
	}
	header := `{"typ":"dpop+jwt","alg":"EdDSA","jwk":` + fuzzJWK() + `}`
	signed := fuzzSign(header, fuzzProofClaims)
	if _, err := verify(signed, "https://pay.example/v1"); err != nil {
		f.Fatalf("the seed: %v", err)
	}
	f.Add(signed, "https://pay.example/v1")
	f.Add(signed, "HTTPS://PAY.EXAMPLE:443/%761?a#b")
	f.Add(fuzzSign(header, `{"jti":"1"}`), "https://[::1]:1/%2e")
	f.Add(fuzzSign(`{"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"EC","crv":"P-256","x":"AA","y":""}}`, `{}`), "%")
	f.Fuzz(func(t *testing.T, s, url string) {
		if r, err := verify(s, url); err == nil && (s != signed || r.ID != k.thumbprint+":1") {
			t.Errorf("took %q as %+v", s, r)
		}
		n, ok := normalize(url)
		if again, still := normalize(n); ok && (!still || again != n) {
			t.Errorf("normalize(%q) = %q, and that becomes %q", url, n, again)
		}
	})
}

// FuzzKeySet: whatever a source says, what comes of it is public keys that fit,
// within limits, each with a name of its own.
func FuzzKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[` + fuzzJWK() + `]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","kid":"a","use":"sig","crv":"P-256","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"},{}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"` + strings.Repeat("_", 342) + `","e":"AQAB","key_ops":["verify"]}]}`))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":""}]}`))
	f.Add([]byte(`<html>`))
	algorithms := []string{"RS256", "PS256", "ES256", "EdDSA"}
	f.Fuzz(func(t *testing.T, b []byte) {
		set, err := parseKeySet(b, algorithms)
		if err != nil {
			if !errors.Is(err, errKeySet) || set != nil {
				t.Errorf("got %v, %v", set, err)
			}
			return
		}
		if len(set.all) == 0 || len(set.all) > maxKeys || len(b) > maxKeySet {
			t.Errorf("%d keys from %d bytes", len(set.all), len(b))
		}
		for _, k := range set.all {
			if len(k.thumbprint) != 43 || !slices.ContainsFunc(algorithms, k.fits) {
				t.Errorf("a key that fits nothing: %+v", k)
			}
			if k.id != "" && set.byID[k.id] != k {
				t.Errorf("two keys of one name: %+v", k)
			}
			for _, alg := range algorithms { // whatever the key, a wrong signature is one
				c := &compact{signed: "x", alg: alg, signature: make([]byte, 64)}
				if k.kind != okpKey && c.verify(k) == nil {
					t.Errorf("a signature of zeros is right under %+v", k)
				}
			}
		}
	})
}
