package signature

import (
	"bytes"
	"testing"
)

// BenchmarkVerify measures a payment of 400 bytes of JSON. That of hmac-sha256 is
// to stay under 12 µs.
func BenchmarkVerify(b *testing.B) {
	payment := func() *Message {
		m := request()
		m.Body = append(bytes.Repeat([]byte(" "), 400-len(tea)), tea...)
		m.Header.Del(headerDPoP)
		return m
	}
	type row struct {
		name string
		m    *Message
		key  Key
	}
	var rows []row
	for _, a := range algorithms {
		k, m := keyOf(b, a), payment()
		if err := SignRequest(m, k, Standard, noon, nonce); err != nil {
			b.Fatal(err)
		}
		rows = append(rows, row{string(a), m, k.Public()})
	}
	m := payment()
	value, err := SignSimple(m, keyOf(b, HMACSHA256), noon, nonce)
	if err != nil {
		b.Fatal(err)
	}
	m.Header.Set(HeaderSimple, value)
	for _, r := range append(rows, row{string(Simple), m, keyOf(b, HMACSHA256).Public()}) {
		b.Run(r.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Verify(r.m, r.key, Standard, noon); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSignResponse is the other half, for those who ask.
func BenchmarkSignResponse(b *testing.B) {
	req := signedRequest(b, keyOf(b, HMACSHA256), Standard)
	for _, a := range []Algorithm{HMACSHA256, Ed25519} {
		b.Run(string(a), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := SignResponse(req, answer(), keyOf(b, a), Standard, noon, Wish{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
