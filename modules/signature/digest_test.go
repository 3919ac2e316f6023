package signature

import (
	"crypto/sha512"
	"net/http"
	"strings"
	"testing"
)

func TestCheckDigest(t *testing.T) {
	t.Parallel()
	h := http.Header{}
	setDigest(h, []byte(tea))
	good256 := h.Get(HeaderDigest)
	sum := sha512.Sum512([]byte(tea))
	good512 := "sha-512=:" + encode(sum[:]) + ":"
	setDigest(h, []byte("coffee"))
	bad256 := h.Get(HeaderDigest)
	sum = sha512.Sum512([]byte("coffee"))
	bad512 := "sha-512=:" + encode(sum[:]) + ":"
	setDigest(h, nil)
	empty256 := h.Get(HeaderDigest)
	for _, test := range []struct {
		name  string
		lines []string
		body  string
		says  string // "" = it is fine
	}{
		{"none", nil, tea, ""},
		{"sha-256", []string{good256}, tea, ""},
		{"sha-512", []string{good512}, tea, ""},
		{"both", []string{good256 + ", " + good512}, tea, ""},
		{"both, as two lines", []string{good256, good512}, tea, ""},
		{"with a parameter", []string{good256 + ";x=1"}, tea, ""},
		{"with an unknown one", []string{"shake=1, " + good256}, tea, ""},
		{"with an insecure one, which is wrong", []string{"md5=:AAAA:, " + good256}, tea, ""},
		{"with spaces", []string{"  " + good256 + "  "}, tea, ""},
		{"of an empty body", []string{empty256}, "", ""},
		{"of an empty body, for another", []string{empty256}, tea, "not that of the body"},
		{"of another body", []string{good256}, tea + "\n", "not that of the body"},
		{"wrong", []string{bad256}, tea, "not that of the body"},
		{"wrong beside a right one", []string{good512 + ", " + bad256}, tea, "sha-256"},
		{"wrong before a right one", []string{bad256 + ", " + good512}, tea, "sha-256"},
		{"the wrong one in a line of its own", []string{good256, bad512}, tea, "sha-512"},
		{"short", []string{"sha-256=:AAAA:"}, tea, "not that of the body"},
		{"empty bytes", []string{"sha-256=::"}, tea, "not that of the body"},
		{"of sha-512 under the name of sha-256", []string{strings.Replace(good512, "512", "256", 1)}, tea, "not that of the body"},
		{"an insecure one alone", []string{"md5=:AAAA:"}, tea, "neither"},
		{"an unknown one alone", []string{"sha-257=:AAAA:"}, tea, "neither"},
		{"in capitals", []string{strings.ToUpper(good256[:7]) + good256[7:]}, tea, "no dictionary"},
		{"an empty field", []string{""}, tea, "neither"},
		{"text for bytes", []string{`sha-256="` + good256[9:len(good256)-1] + `"`}, tea, "byte sequence"},
		{"a list", []string{"sha-256=(" + good256[8:] + ")"}, tea, "byte sequence"},
		{"a flag", []string{"sha-256"}, tea, "byte sequence"},
		{"no base64", []string{"sha-256=:????:"}, tea, "no dictionary"},
		{"the older form", []string{"SHA-256=" + good256[9:len(good256)-1]}, tea, "no dictionary"},
		{"long", []string{good256, "x=:" + strings.Repeat("A", maxDigest) + ":"}, tea, "longer than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := http.Header{}
			if test.lines != nil {
				h[HeaderDigest] = test.lines
			}
			h.Set("Digest", "SHA-256=AAAA") // RFC 3230: of no account
			err := CheckDigest(h, []byte(test.body))
			if test.says == "" {
				wantError(t, err, nil, "")
				return
			}
			wantError(t, err, ErrDigest, test.says)
		})
	}
}

// A signature over a digest that is not the body's is worth nothing, though it
// verifies.
func TestDigestIsCheckedWithTheSignature(t *testing.T) {
	t.Parallel()
	k := keyOf(t, Ed25519)
	for _, digest := range []string{"sha-256=:AAAA:", "md5=:AAAA:", "x", ""} {
		m := request()
		m.Header.Set(HeaderDigest, digest)
		signWith(t, m, k, "("+allParts+")"+allParams)
		_, err := Verify(m, k.Public(), Standard, noon)
		wantError(t, err, ErrDigest, "")
	}
	// Nor does the simple scheme pass over one that it has no need of.
	m := request()
	value, err := SignSimple(m, keyOf(t, HMACSHA256), noon, nonce)
	if err != nil {
		t.Fatal(err)
	}
	m.Header.Set(HeaderSimple, value)
	m.Header.Set(HeaderDigest, "sha-256=:AAAA:")
	_, err = Verify(m, keyOf(t, HMACSHA256).Public(), Standard, noon)
	wantError(t, err, ErrDigest, "not that of the body")
}
