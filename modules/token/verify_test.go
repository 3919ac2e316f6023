package token_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/token"
)

// number is a number as it is written.
type number string

func (n number) MarshalJSON() ([]byte, error) { return []byte(n), nil }

func TestVerify(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		t := r.t
		now := time.Now()
		at := func(d time.Duration) int64 { return now.Add(d).Unix() }
		want := token.Identity{
			Issuer: issuerName, Subject: "shop-1", ClientID: "till", ID: "j-1", Merchant: merA, Mode: payment.Test,
			Scopes: []access.Scope{access.PaymentsRead, access.PaymentsWrite}, IssuedAt: now, Expires: now.Add(5 * time.Minute),
		}
		sum := b64([]byte(strings.Repeat("s", 32)))
		tests := []struct {
			name   string
			change claims
			want   func(*token.Identity)
		}{
			{"all that there can be", nil, nil},
			{"several audiences", claims{"aud": []string{"x", "payments-api"}}, nil},
			{"no names", claims{"sub": absent{}, "client_id": absent{}, "jti": absent{}}, func(id *token.Identity) { id.Subject, id.ClientID, id.ID = "", "", "" }},
			{"scopes in an array", claims{"scope": []string{"refunds:read", "x"}}, func(id *token.Identity) { id.Scopes = []access.Scope{access.RefundsRead} }},
			{"scopes twice", claims{"scope": "events:read  events:read"}, func(id *token.Identity) { id.Scopes = []access.Scope{access.EventsRead} }},
			{"no scopes", claims{"scope": absent{}}, func(id *token.Identity) { id.Scopes = nil }},
			{"the scopes of others", claims{"scope": "openid payments payments:* PAYMENTS:READ"}, func(id *token.Identity) { id.Scopes = nil }},
			{"no iat", claims{"iat": absent{}}, func(id *token.Identity) { id.IssuedAt = time.Time{} }},
			{"neither iat nor nbf", claims{"iat": absent{}, "nbf": absent{}}, func(id *token.Identity) { id.IssuedAt = time.Time{} }},
			{"an exp with decimals", claims{"exp": number(fmt.Sprintf("%d.25", at(time.Minute)))}, func(id *token.Identity) { id.Expires = now.Add(time.Minute + 250*time.Millisecond) }},
			{"an hour", claims{"exp": at(time.Hour)}, func(id *token.Identity) { id.Expires = now.Add(time.Hour) }},
			{"a clock that is late", claims{"exp": at(-9 * time.Second), "iat": at(-time.Minute), "nbf": at(-time.Minute)}, func(id *token.Identity) {
				id.Expires, id.IssuedAt = now.Add(-9*time.Second), now.Add(-time.Minute)
			}},
			{"a clock that is early", claims{"iat": at(10 * time.Second), "nbf": at(10 * time.Second)}, func(id *token.Identity) { id.IssuedAt = now.Add(10 * time.Second) }},
			{"a certificate", claims{"cnf": claims{"x5t#S256": sum}}, func(id *token.Identity) { id.CertificateThumbprint = sum }},
			{"a proof key", claims{"cnf": claims{"jkt": sum}}, func(id *token.Identity) { id.ProofKey = sum }},
			{"both", claims{"cnf": claims{"jkt": sum, "x5t#S256": sum}}, func(id *token.Identity) { id.ProofKey, id.CertificateThumbprint = sum, sum }},
			{"eight deep", claims{"x": number("[[[[[[[1]]]]]]]")}, nil},
			{"claims of others", claims{"azp": "x", "realm_access": claims{"roles": []string{"a"}}, "x": nil}, nil},
		}
		for _, s := range []signer{es(), ps(), ed()} {
			for _, tt := range tests {
				text := s.token(good(now).with(tt.change))
				if !token.LooksLikeToken(text) {
					t.Errorf("%s by %s: does not look like a token", tt.name, s.alg)
				}
				for _, try := range []string{"verified", "remembered"} {
					id, err := r.Verify(t.Context(), text)
					expected := want
					if tt.want != nil {
						tt.want(&expected)
					}
					if diff := cmp.Diff(expected, id); diff != "" || err != nil {
						t.Errorf("%s by %s, %s: %v (-want +got):\n%s", tt.name, s.alg, try, err, diff)
					}
					synctest.Wait() // until the cache has it
				}
			}
		}
	})
}

func TestSize(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		t := r.t
		var taken, refused int
		for n := 5700; n < 5850; n++ {
			text := ed().token(good(time.Now()).with(claims{"x": strings.Repeat("x", n)}))
			_, err := r.Verify(t.Context(), text)
			if want := len(text) <= 8<<10; (err == nil) != want {
				t.Errorf("%d bytes: %v, want them taken: %v", len(text), err, want)
			}
			if err == nil {
				taken++
			} else {
				refused++
			}
		}
		if taken == 0 || refused == 0 {
			t.Errorf("%d were taken and %d refused, want some on both sides of 8 KiB", taken, refused)
		}
	})
}

func TestTypes(t *testing.T) {
	tests := []struct {
		types []string
		typ   string // a member of the header, or ""
		taken bool
	}{
		{nil, ``, true},
		{nil, `,"typ":"JWT"`, true},
		{nil, `,"typ":"jwt"`, true},
		{nil, `,"typ":"AT+JWT"`, true},
		{nil, `,"typ":"application/at+jwt"`, true},
		{nil, `,"typ":"dpop+jwt"`, false},
		{[]string{"at+jwt"}, `,"typ":"at+jwt"`, true},
		{[]string{"at+jwt"}, `,"typ":"JWT"`, false},
		{[]string{"at+jwt"}, ``, false},
		{[]string{"at+jwt"}, `,"typ":""`, false},
		{[]string{""}, ``, true},
		{[]string{""}, `,"typ":""`, false},
		{[]string{""}, `,"typ":"at+jwt"`, false},
	}
	for _, tt := range tests {
		inBubble(t, func(cfg *token.Config, _ *idp) { cfg.Issuers[0].Types = tt.types }, func(r *rig) {
			t := r.t
			_, err := r.Verify(t.Context(), ed().raw(`{"alg":"EdDSA","kid":"ed"`+tt.typ+`}`, good(time.Now()).text()))
			if (err == nil) != tt.taken {
				t.Errorf("types %q, header %s: %v, want it taken: %v", tt.types, tt.typ, err, tt.taken)
			}
		})
	}
}

func TestClaimNamesAndLifetime(t *testing.T) {
	inBubble(t, func(cfg *token.Config, _ *idp) {
		is := &cfg.Issuers[0]
		is.MerchantClaim, is.ModeClaim, is.ScopesClaim = "https://shop.example/merchant", "env", "scp"
		is.MaxLifetime, is.Algorithms = 24*time.Hour, []string{"RS256"}
	}, func(r *rig) {
		t := r.t
		r.idp.publish(rs().jwk(claims{"alg": absent{}, "use": absent{}}))
		time.Sleep(6 * time.Minute) // of the bubble: the next reading of the keys has come
		c := good(time.Now()).with(claims{
			"https://shop.example/merchant": merA, "env": "test", "scp": []string{"account:read"}, "exp": time.Now().Add(24 * time.Hour).Unix(),
			"merchant": merB, "mode": "live", "scope": "proxy:use",
		})
		id := r.takes(t, rs().token(c))
		if id.Merchant != merA || id.Mode != payment.Test || len(id.Scopes) != 1 || id.Scopes[0] != access.AccountRead {
			t.Errorf("got %+v, want the claims that were configured", id)
		}
		r.refuses(t, rs().token(c.with(claims{"exp": time.Now().Add(24*time.Hour + time.Second).Unix()})), token.ErrInvalid)
		r.refuses(t, ps().token(c), token.ErrInvalid)
	})
}

// TestIssuersAreApart: a token is verified by the keys of its iss, and no other's.
func TestIssuersAreApart(t *testing.T) {
	inBubble(t, func(cfg *token.Config, i *idp) {
		other := anIssuer()
		other.Name, other.Merchants, other.JWKS = "https://other.example", []string{merB}, writeSet(t, setOf(es2().jwk(claims{"kid": "ec"})))
		cfg.Issuers = append(cfg.Issuers, other)
		i.body = setOf(es().jwk(nil))
	}, func(r *rig) {
		t := r.t
		mine := good(time.Now())
		theirs := mine.with(claims{"iss": "https://other.example", "merchant": merB})
		impostor := signer{"ES256", "ec", anotherEC()}
		r.takes(t, es().token(mine))
		r.takes(t, impostor.token(theirs))
		r.refuses(t, impostor.token(mine), token.ErrInvalid)
		r.refuses(t, es().token(theirs), token.ErrInvalid)
		r.refuses(t, impostor.token(theirs.with(claims{"merchant": merA})), token.ErrInvalid)
	})
}

func TestKeyWithoutName(t *testing.T) {
	inBubble(t, func(_ *token.Config, i *idp) {
		i.body = setOf(es().jwk(claims{"kid": absent{}}), ed().jwk(nil), ps().jwk(nil), rs().jwk(claims{"kid": "rsa2", "alg": absent{}}))
	}, func(r *rig) {
		t := r.t
		c := good(time.Now()).text()
		for _, tt := range []struct {
			name, text string
			taken      bool
		}{
			{"the only one for ES256, which has none", es().raw(`{"alg":"ES256"}`, c), true},
			{"the only one for EdDSA", ed().raw(`{"alg":"EdDSA"}`, c), true},
			{"two for PS256", ps().raw(`{"alg":"PS256"}`, c), false},
			{"a name that none has", es().raw(`{"alg":"ES256","kid":"ec"}`, c), false},
			{"an empty name is a name", es().raw(`{"alg":"ES256","kid":""}`, c), false},
		} {
			if _, err := r.Verify(t.Context(), tt.text); (err == nil) != tt.taken || !tt.taken && !errors.Is(err, token.ErrInvalid) {
				t.Errorf("%s: %v, want it taken: %v", tt.name, err, tt.taken)
			}
		}
	})
}

func TestLooksLikeToken(t *testing.T) {
	for text, want := range map[string]bool{
		"eyJ.e30.AA": true, "eyJhbGciOiJFUzI1NiJ9.e30.-_": true,
		"": false, "eyJ": false, "eyJ.e30": false, "eyJ.e30.": false, "eyJ..AA": false, ".e30.AA": false, "eyJ.e30.AA.AA": false,
		"eyJ.e30.AA.AA.AA": false, "EYJ.e30.AA": false, "eyJ.e30.AA=": false, "eyJ.e30.A A": false, " eyJ.e30.AA": false, "eyJ.e3+.AA": false,
		"pur_test_01h455vb4pex5vsknk084sn02q_0123456789ABCDEFGHIJabcdefghijkl4Vnv2K": false, "{\"payload\":\"eyJ\"}": false,
	} {
		if got := token.LooksLikeToken(text); got != want {
			t.Errorf("LooksLikeToken(%q) = %v, want %v", text, got, want)
		}
	}
}

func TestNew(t *testing.T) {
	tests := []struct {
		name   string
		change func(*token.Issuer)
		want   string // of the error; "" = none
	}{
		{"the good one", func(*token.Issuer) {}, ""},
		{"loopback by http", func(is *token.Issuer) { is.JWKS = "http://127.0.0.1:8080/jwks" }, ""},
		{"loopback by name", func(is *token.Issuer) { is.JWKS = "http://localhost/jwks" }, ""},
		{"loopback of IPv6", func(is *token.Issuer) { is.JWKS = "http://[::1]:80/jwks?x=y" }, ""},
		{"a file", func(is *token.Issuer) { is.JWKS = "/etc/jwks.json" }, ""},
		{"the merchant in sub", func(is *token.Issuer) { is.MerchantClaim = "sub" }, ""},
		{"no name", func(is *token.Issuer) { is.Name = "" }, "jwt : name: "},
		{"a name with a space", func(is *token.Issuer) { is.Name = "a b" }, ": name: "},
		{"no audience", func(is *token.Issuer) { is.Audiences = nil }, "jwt https://idp.example: audience: 0 values"},
		{"an empty audience", func(is *token.Issuer) { is.Audiences = []string{""} }, ": audience: "},
		{"an audience twice", func(is *token.Issuer) { is.Audiences = []string{"a", "a"} }, `: audience: "a" twice`},
		{"no keys", func(is *token.Issuer) { is.JWKS = "" }, ": jwks: "},
		{"a relative path", func(is *token.Issuer) { is.JWKS = "jwks.json" }, ": jwks: "},
		{"plain http", func(is *token.Issuer) { is.JWKS = "http://idp.example/jwks" }, ": jwks: plain http"},
		{"plain http to a name like loopback", func(is *token.Issuer) { is.JWKS = "http://127.0.0.1.example/jwks" }, ": jwks: plain http"},
		{"a user name", func(is *token.Issuer) { is.JWKS = "https://a:b@idp.example/jwks" }, ": jwks: the URL has"},
		{"another scheme", func(is *token.Issuer) { is.JWKS = "ftp://idp.example/jwks" }, ": jwks: "},
		{"no host", func(is *token.Issuer) { is.JWKS = "https:///jwks" }, ": jwks: "},
		{"none", func(is *token.Issuer) { is.Algorithms = []string{"none"} }, `: algorithms: "none": not RS256`},
		{"HS256", func(is *token.Issuer) { is.Algorithms = []string{"ES256", "HS256"} }, `: algorithms: "HS256"`},
		{"no merchants", func(is *token.Issuer) { is.Merchants = nil }, ": merchants: "},
		{"no merchant's ID", func(is *token.Issuer) { is.Merchants = []string{"mer_a"} }, `: merchants: "mer_a"`},
		{"no mode", func(is *token.Issuer) { is.Modes = []payment.Mode{"prod"} }, `: modes: "prod"`},
		{"the merchant in iss", func(is *token.Issuer) { is.MerchantClaim = "iss" }, `: claims: "iss" means`},
		{"one claim for two", func(is *token.Issuer) { is.ModeClaim = "merchant" }, `: claims: "merchant" twice`},
		{"a type with a space", func(is *token.Issuer) { is.Types = []string{"a b"} }, ": types: "},
		{"a life of two days", func(is *token.Issuer) { is.MaxLifetime = 48 * time.Hour }, ": max_lifetime: "},
		{"a life of no length", func(is *token.Issuer) { is.MaxLifetime = -time.Hour }, ": max_lifetime: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			is := anIssuer()
			tt.change(&is)
			_, err := token.New(token.Config{Issuers: []token.Issuer{is}, Client: &idp{}})
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	for name, cfg := range map[string]token.Config{
		"an issuer twice":  {Issuers: []token.Issuer{anIssuer(), anIssuer()}, Client: &idp{}},
		"no client":        {Issuers: []token.Issuer{anIssuer()}},
		"too many entries": {Entries: 1_000_001},
		"negative entries": {Entries: -1},
		"too many issuers": {Issuers: make([]token.Issuer, 33)},
	} {
		if _, err := token.New(cfg); err == nil {
			t.Errorf("%s: New took it", name)
		}
	}
}

// TestNobody: the zero configuration works, and takes no token.
func TestNobody(t *testing.T) {
	v, err := token.New(token.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if _, err := v.Verify(context.Background(), es().token(good(time.Now()))); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
}
