package token_test

import (
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/token"
)

func benchVerifier(b *testing.B) *token.Verifier {
	b.Helper()
	is := anIssuer()
	is.Algorithms = []string{"ES256", "EdDSA", "PS256"}
	v, err := token.New(token.Config{Issuers: []token.Issuer{is}, Client: &idp{body: setOf(es().jwk(nil), ps().jwk(nil), ed().jwk(nil))}})
	if err != nil {
		b.Fatal(err)
	}
	if err := v.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(v.Close)
	return v
}

func BenchmarkVerify(b *testing.B) {
	v := benchVerifier(b)
	ok := good(time.Now()).with(claims{"cnf": claims{"jkt": es().thumbprint()}, "exp": time.Now().Add(time.Hour).Unix()})
	b.Run("remembered", func(b *testing.B) {
		text := es().token(ok)
		if _, err := v.Verify(b.Context(), text); err != nil {
			b.Fatal(err)
		}
		for !v.Remembered(text) { // the cache takes it in its own time
			if _, err := v.Verify(b.Context(), text); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(b.Context(), text); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, s := range []signer{es(), ps(), ed()} {
		b.Run(s.alg, func(b *testing.B) {
			text := s.token(ok)
			b.ReportAllocs()
			for b.Loop() {
				v.Forget()
				if _, err := v.Verify(b.Context(), text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("refused by its form", func(b *testing.B) {
		text := es().token(ok) + "A="
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(b.Context(), text); err == nil {
				b.Fatal("taken")
			}
		}
	})
}

func BenchmarkVerifyProof(b *testing.B) {
	now := time.Now()
	v := atNoon(b, now)
	for _, s := range []signer{es(), ps(), ed()} {
		b.Run(s.alg, func(b *testing.B) {
			p := token.Proof{
				Fields: []string{s.raw(proofHeader(s).text(), proofClaims(now).text())}, Method: "POST", URL: target,
				AccessToken: boundToken, KeyThumbprint: s.thumbprint(),
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.VerifyProof(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
