package token_test

import (
	"crypto/sha256"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/purser-pay/purser/modules/token"
)

const (
	boundToken = "eyJ.e30.AAAA" // what it says does not matter to a proof
	target     = "https://pay.example.com/v1/payments"
)

// atNoon is a verifier of proofs by a clock that stands.
func atNoon(tb testing.TB, now time.Time) *token.Verifier {
	tb.Helper()
	v, err := token.New(token.Config{Now: func() time.Time { return now }})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// own is the public key as a proof brings it, with changes.
func (s signer) own(change claims) claims {
	var m map[string]any
	if err := json.Unmarshal([]byte(s.jwk(claims{"kid": absent{}, "use": absent{}, "alg": absent{}})), &m); err != nil {
		panic(err)
	}
	return claims(m).with(change)
}

// thumbprint follows RFC 7638 §3: the required members, sorted, in JSON.
func (s signer) thumbprint() string {
	sum := sha256.Sum256([]byte(s.own(nil).text()))
	return b64(sum[:])
}

func athOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return b64(sum[:])
}

func proofHeader(s signer) claims {
	return claims{"typ": "dpop+jwt", "alg": s.alg, "jwk": s.own(nil)}
}

func proofClaims(now time.Time) claims {
	return claims{"jti": "proof-1", "htm": "POST", "htu": target, "iat": now.Unix(), "ath": athOf(boundToken)}
}

func TestProof(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	v := atNoon(t, now)
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	for _, s := range []signer{es(), ps(), ed()} {
		for _, tt := range []struct {
			name           string
			header, claims claims
			url            string
			expires        time.Duration
		}{
			{"as usual", nil, nil, target, 70 * time.Second},
			{"a URL with a query", nil, nil, target + "?a=b", 70 * time.Second},
			{"htu with a query", nil, claims{"htu": target + "?a=b#c"}, target, 70 * time.Second},
			{"htu in another form", nil, claims{"htu": "HTTPS://PAY.example.com:443/v1/%70ayments"}, target, 70 * time.Second},
			{"the other way round", nil, nil, "https://pay.example.com:443/v1/payments", 70 * time.Second},
			{"a minute old", nil, claims{"iat": at(-time.Minute)}, target, 10 * time.Second},
			{"from an early clock", nil, claims{"iat": at(10 * time.Second)}, target, 80 * time.Second},
			{"with decimals", nil, claims{"iat": number("1772366400.5")}, target, 70*time.Second + 500*time.Millisecond},
			{"more members", claims{"kid": "x"}, claims{"nonce": "n", "x": 1}, target, 70 * time.Second},
			{"jwk with more members", claims{"jwk": s.own(claims{"kid": "x", "use": "sig", "alg": s.alg})}, nil, target, 70 * time.Second},
			{"128 bytes of jti", nil, claims{"jti": strings.Repeat("j", 128)}, target, 70 * time.Second},
		} {
			c := proofClaims(now).with(tt.claims)
			got, err := v.VerifyProof(token.Proof{
				Fields: []string{s.raw(proofHeader(s).with(tt.header).text(), c.text())}, Method: "POST", URL: tt.url,
				AccessToken: boundToken, KeyThumbprint: s.thumbprint(),
			})
			want := token.ProofResult{ID: s.thumbprint() + ":" + c["jti"].(string), Expires: now.Add(tt.expires)}
			if err != nil || got.ID != want.ID || !got.Expires.Equal(want.Expires) {
				t.Errorf("%s by %s: got %+v, %v; want %+v", tt.name, s.alg, got, err, want)
			}
		}
	}
}

// TestProofAttacks: each of the twelve checks of RFC 9449 §4.3, and what is known
// of JWT besides.
func TestProofAttacks(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	v := atNoon(t, now)
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	header, ok := proofHeader(es()), proofClaims(now)
	plain := es().raw(header.text(), ok.text())
	by := func(h, c claims) []string { return []string{es().raw(header.with(h).text(), ok.with(c).text())} }
	private := es().own(claims{"d": b64(make([]byte, 32))})
	evil := signer{"ES256", "", newEC()}
	tests := []struct {
		name   string
		fields []string
		change func(*token.Proof)
		want   string // of the reason
	}{
		{"no field", nil, nil, "exactly one"},
		{"two fields", []string{plain, plain}, nil, "exactly one"},
		{"two in one field", []string{plain + ", " + plain}, nil, "three parts"},
		{"an empty field", []string{""}, nil, "three parts"},
		{"no JWT", []string{"hostile"}, nil, "three parts"},
		{"padding", []string{plain + "="}, nil, "three parts"},
		{"too long", by(nil, claims{"x": strings.Repeat("x", 8000)}), nil, "8 KiB"},
		{"jti is missing", by(nil, claims{"jti": absent{}}), nil, "jti is missing"},
		{"jti is empty", by(nil, claims{"jti": ""}), nil, "jti is not of 1 to 128"},
		{"jti is long", by(nil, claims{"jti": strings.Repeat("j", 129)}), nil, "jti is not of 1 to 128"},
		{"jti is a number", by(nil, claims{"jti": 1}), nil, "jti is not a string"},
		{"jti has a line break", by(nil, claims{"jti": "hostile\n"}), nil, "jti is not of 1 to 128"},
		{"htm is missing", by(nil, claims{"htm": absent{}}), nil, "htm is not"},
		{"htm is another", by(nil, claims{"htm": "GET"}), nil, "htm is not"},
		{"htm in lower case", by(nil, claims{"htm": "post"}), nil, "htm is not"},
		{"htm is empty, and so is the method", by(nil, claims{"htm": ""}), func(p *token.Proof) { p.Method = "" }, "htm is not"},
		{"htu is missing", by(nil, claims{"htu": absent{}}), nil, "htu is not"},
		{"htu is missing, and so is the URL", by(nil, claims{"htu": absent{}}), func(p *token.Proof) { p.URL = "" }, "htu is not"},
		{"htu of another host", by(nil, claims{"htu": "https://hostile.example/v1/payments"}), nil, "htu is not"},
		{"htu of another path", by(nil, claims{"htu": target + "/"}), nil, "htu is not"},
		{"htu of another case", by(nil, claims{"htu": "https://pay.example.com/V1/payments"}), nil, "htu is not"},
		{"htu of another port", by(nil, claims{"htu": "https://pay.example.com:8443/v1/payments"}), nil, "htu is not"},
		{"htu by http", by(nil, claims{"htu": "http://pay.example.com/v1/payments"}), nil, "htu is not"},
		{"htu of a path alone", by(nil, claims{"htu": "/v1/payments"}), nil, "htu is not"},
		{"htu with an escaped slash", by(nil, claims{"htu": "https://pay.example.com/v1%2Fpayments"}), nil, "htu is not"},
		{"htu with a user", by(nil, claims{"htu": "https://hostile@pay.example.com/v1/payments"}), nil, "htu is not"},
		{"htu is a list", by(nil, claims{"htu": []string{target}}), nil, "htu is not a string"},
		{"iat is missing", by(nil, claims{"iat": absent{}}), nil, "iat is missing"},
		{"iat is text", by(nil, claims{"iat": "1772366400"}), nil, "iat is not"},
		{"iat is too old", by(nil, claims{"iat": at(-61 * time.Second)}), nil, "too old"},
		{"iat is ahead", by(nil, claims{"iat": at(11 * time.Second)}), nil, "lies ahead"},
		{"iat is huge", by(nil, claims{"iat": number("1e300")}), nil, "iat is not"},
		{"ath is missing", by(nil, claims{"ath": absent{}}), nil, "ath is not"},
		{"ath of another token", by(nil, claims{"ath": athOf("hostile")}), nil, "ath is not"},
		{"ath is padded", by(nil, claims{"ath": athOf(boundToken) + "="}), nil, "ath is not"},
		{"ath is empty", by(nil, claims{"ath": ""}), nil, "ath is not"},
		{"another token came", []string{plain}, func(p *token.Proof) { p.AccessToken += "A" }, "ath is not"},
		{"typ is missing", by(claims{"typ": absent{}}, nil), nil, "typ is not"},
		{"typ is JWT", by(claims{"typ": "JWT"}, nil), nil, "typ is not"},
		{"typ is at+jwt", by(claims{"typ": "at+jwt"}, nil), nil, "typ is not"},
		{"none", by(claims{"alg": "none"}, nil), nil, "algorithm"},
		{"none, unsigned", []string{b64s(header.with(claims{"alg": "none"}).text()) + "." + b64s(ok.text()) + "."}, nil, "algorithm"},
		{"HS256 with a key that everybody has", []string{hs256(header.with(claims{"alg": "HS256", "jwk": claims{"kty": "oct", "k": b64s("hostile")}}).text(), ok.text(), []byte("hostile"))}, nil, "algorithm"},
		{"RS256", []string{rs().raw(proofHeader(rs()).text(), ok.text())}, func(p *token.Proof) { p.KeyThumbprint = rs().thumbprint() }, "algorithm"},
		{"no jwk", by(claims{"jwk": absent{}}, nil), nil, "jwk: "},
		{"jwk is null", by(claims{"jwk": nil}, nil), nil, "jwk: "},
		{"jwk is text", by(claims{"jwk": es().own(nil).text()}, nil), nil, "jwk: "},
		{"a private jwk", by(claims{"jwk": private}, nil), nil, "private or symmetric"},
		{"a symmetric jwk", by(claims{"jwk": claims{"kty": "oct", "k": "AAAA"}}, nil), nil, "private or symmetric"},
		{"a jwk for encryption", by(claims{"jwk": es().own(claims{"use": "enc"})}, nil), nil, "something else"},
		{"a jwk of another algorithm", by(claims{"jwk": es().own(claims{"alg": "PS256"})}, nil), nil, "something else"},
		{"a jwk beside the curve", by(claims{"jwk": es().own(claims{"y": b64(make([]byte, 32))})}, nil), nil, "not a point"},
		{"another's key, signed by it", []string{evil.raw(proofHeader(evil).text(), ok.text())}, nil, "not bound"},
		{"another's key, the signer's jwk", []string{evil.raw(header.text(), ok.text())}, nil, "signature"},
		{"signed well, another's jwk", []string{es().raw(proofHeader(evil).text(), ok.text())}, nil, "not bound"},
		{"a token that is bound to no key", []string{plain}, func(p *token.Proof) { p.KeyThumbprint = "" }, "not bound"},
		{"a token that is bound to another key", []string{plain}, func(p *token.Proof) { p.KeyThumbprint = evil.thumbprint() }, "not bound"},
		{"EC as EdDSA", by(claims{"alg": "EdDSA"}, nil), nil, "not one for this algorithm"},
		{"zero signature", []string{plain[:strings.LastIndexByte(plain, '.')+1] + b64(make([]byte, 64))}, nil, "signature"},
		{"no signature", []string{plain[:strings.LastIndexByte(plain, '.')+1]}, nil, "signature"},
		{"claims that were changed", []string{b64s(header.text()) + "." + b64s(ok.with(claims{"jti": "2"}).text()) + plain[strings.LastIndexByte(plain, '.'):]}, nil, "signature"},
		{"crit", by(claims{"crit": []string{"jwk"}}, nil), nil, "understood"},
		{"b64", by(claims{"b64": true}, nil), nil, "understood"},
		{"jku", by(claims{"jku": "https://hostile.example"}, nil), nil, "address of one"},
		{"jwk and JWK", by(claims{"JWK": evil.own(nil)}, nil), nil, "case"},
		{"jwk twice", []string{es().raw(`{"jwk":{},`+header.text()[1:], ok.text())}, nil, "once"},
		{"htm twice", []string{es().raw(header.text(), `{"htm":"GET",`+ok.text()[1:])}, nil, "once"},
		{"claims that are a list", []string{es().raw(header.text(), "["+ok.text()+"]")}, nil, "not one JSON object"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := token.Proof{Fields: tt.fields, Method: "POST", URL: target, AccessToken: boundToken, KeyThumbprint: es().thumbprint()}
			if tt.change != nil {
				tt.change(&p)
			}
			got, err := v.VerifyProof(p)
			if !errors.Is(err, token.ErrProof) || !strings.Contains(err.Error(), tt.want) || got != (token.ProofResult{}) {
				t.Fatalf("got %+v, %v; want ErrProof for %q", got, err, tt.want)
			}
			quotesNothing(t, err, strings.Join(tt.fields, "."))
		})
	}
	if _, err := v.VerifyProof(token.Proof{Fields: []string{plain}, Method: "POST", URL: target, AccessToken: boundToken, KeyThumbprint: es().thumbprint()}); err != nil {
		t.Errorf("the proof that they differ from: %v", err)
	}
}

// TestExamplesOfRFC9449 verifies the examples of the standard at their time. The
// first two are for a token endpoint and have no ath, which is the one thing that
// is wrong with them.
func TestExamplesOfRFC9449(t *testing.T) {
	b, err := os.ReadFile("testdata/rfc9449_examples.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Token      string `json:"access_token_for_ath"`
		Thumbprint string `json:"jwk_thumbprint"`
		Proofs     []struct {
			Proof  string                    `json:"proof"`
			Claims map[string]jsontext.Value `json:"claims"`
		} `json:"proofs"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	verified := 0
	for i, p := range file.Proofs {
		claim := func(name string) (s string) {
			if err := json.Unmarshal(p.Claims[name], &s); err != nil {
				t.Fatal(err)
			}
			return s
		}
		var iat int64
		if err := json.Unmarshal(p.Claims["iat"], &iat); err != nil {
			t.Fatal(err)
		}
		v := atNoon(t, time.Unix(iat, 0).Add(30*time.Second))
		proof := token.Proof{Fields: []string{p.Proof}, Method: claim("htm"), URL: claim("htu"), AccessToken: file.Token, KeyThumbprint: file.Thumbprint}
		got, err := v.VerifyProof(proof)
		if _, bound := p.Claims["ath"]; !bound {
			if err == nil || !strings.Contains(err.Error(), "ath") {
				t.Errorf("proof %d: %v, want nothing wrong but ath", i, err)
			}
			continue
		}
		verified++
		if want := file.Thumbprint + ":" + claim("jti"); err != nil || got.ID != want {
			t.Errorf("proof %d: %+v, %v; want %s", i, got, err, want)
		}
	}
	if len(file.Proofs) != 3 || verified != 1 {
		t.Errorf("%d proofs, of which %d have ath; want 3 and 1", len(file.Proofs), verified)
	}
}
