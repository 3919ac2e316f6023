package signature

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/dunglas/httpsfv"
)

// FuzzVerify lets anybody write the fields of a signature. Nobody without the key
// gets one to verify, unless it says what was signed, in other words at most.
func FuzzVerify(f *testing.F) {
	k := keyOf(f, HMACSHA256)
	m := signedRequest(f, k, Standard)
	truth, signature, digest := m.Header.Get(HeaderInput), m.Header.Get(HeaderSignature), m.Header.Get(HeaderDigest)
	s, err := findSignature(m.Header, keyID)
	if err != nil {
		f.Fatal(err)
	}
	base, _, err := signatureBase(subject{request: m}, s.input)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(truth, signature, digest, "a=1&b=%20")
	f.Add(strings.ToUpper(truth), signature, digest, "")
	f.Add(`sig1=("@query-param";name="a" "x-a";sf;key="b" "dpop";bs "@status";req);keyid="`+keyID+`";created=1;nonce="\"\\"`, "sig1=:AAAA:", digest, "a=%zz&a=+")
	f.Add(`a=1, b;c, d=(1 2.5 ?0 tok :AAAA: "s" @1 %"x");e`, "a=()", "sha-256=1, md5=::", "&&=&")
	f.Fuzz(func(t *testing.T, input, signature, digest, query string) {
		m := request()
		m.Header.Set(HeaderInput, input)
		m.Header.Set(HeaderSignature, signature)
		m.Header.Set(HeaderDigest, digest)
		m.RawQuery = query
		_, err := Verify(m, k.Public(), Standard, noon)
		if err == nil {
			s, ferr := findSignature(m.Header, keyID)
			if ferr != nil {
				t.Fatal(ferr)
			}
			again, _, berr := signatureBase(subject{request: m}, s.input)
			if berr != nil || !bytes.Equal(again, base) {
				t.Fatalf("verified over %q, which nobody signed", again)
			}
			return
		}
		if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrDigest) {
			t.Fatalf("got %v, want an error of this package", err)
		}
		if len(err.Error()) > 300 {
			t.Fatalf("got an error of %d bytes", len(err.Error()))
		}
		checkBase(t, m)
	})
}

// checkBase builds the base of whatever can be read: each component is one line,
// and what was written reads the same again.
func checkBase(t *testing.T, m *Message) {
	t.Helper()
	inputs, err := readDictionary(m.Header, HeaderInput)
	if err != nil {
		return
	}
	for _, label := range inputs.Names() {
		member, _ := inputs.Get(label)
		input, ok := member.(httpsfv.InnerList)
		if !ok {
			continue
		}
		base, all, err := signatureBase(subject{request: m}, input)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("got %v, want %v", err, ErrMalformed)
			}
			continue
		}
		lines := strings.Split(string(base), "\n")
		if len(lines) != len(all)+1 {
			t.Fatalf("got %d lines for %d components: %q", len(lines), len(all), base)
		}
		params, ok := strings.CutPrefix(lines[len(all)], `"@signature-params": `)
		if !ok {
			t.Fatalf("the last line is %q", lines[len(all)])
		}
		again, err := httpsfv.UnmarshalDictionary([]string{"x=" + params})
		if err != nil {
			t.Fatalf("%q does not read again: %v", params, err)
		}
		member, _ = again.Get("x")
		if twice, _, err := signatureBase(subject{request: m}, member.(httpsfv.InnerList)); err != nil || !bytes.Equal(twice, base) {
			t.Fatalf("got %q, then %q, %v", base, twice, err)
		}
	}
}

// FuzzDigest: whatever is taken for the digest of one body is not that of
// another.
func FuzzDigest(f *testing.F) {
	h := http.Header{}
	setDigest(h, []byte(tea))
	f.Add(h.Get(HeaderDigest), "", []byte(tea))
	f.Add(h.Get(HeaderDigest)+" ", "sha-512=::", []byte(tea))
	f.Add("", "md5=:AAAA:", []byte{})
	f.Add("sha-256=:"+strings.Repeat("A", 43)+"=:", "sha-256;a=1", []byte("x"))
	f.Fuzz(func(t *testing.T, a, b string, body []byte) {
		for _, lines := range [][]string{{a}, {a, b}, {b, a}} {
			h := http.Header{HeaderDigest: lines}
			err := CheckDigest(h, body)
			if err != nil {
				if !errors.Is(err, ErrDigest) {
					t.Fatalf("got %v, want %v", err, ErrDigest)
				}
				continue
			}
			if CheckDigest(h, append(bytes.Clone(body), 0)) == nil {
				t.Fatalf("%q is the digest of two bodies", lines)
			}
		}
		// The way around the parser says what the parser says.
		if len(a) == digestSize && isDigestLine(a, body) && CheckDigest(http.Header{HeaderDigest: {a, ""}}, body) == nil {
			t.Fatal("an empty second line was taken")
		}
		if isDigestLine(a, body) && CheckDigest(http.Header{HeaderDigest: {a + " "}}, body) != nil {
			t.Fatalf("the parser refuses %q", a)
		}
	})
}

// FuzzSimple: the one form that is read is the one that is written.
func FuzzSimple(f *testing.F) {
	k := keyOf(f, HMACSHA256)
	truth := simpleRequest(f).Header.Get(HeaderSimple)
	f.Add(truth, "tea-1")
	f.Add(strings.ToUpper(truth), "")
	f.Add("t=0,n=0000000000000000,v1="+strings.Repeat("0", 64), "\n")
	f.Add("t=,n=,v1=,n=", " tea-1")
	f.Fuzz(func(t *testing.T, value, key string) {
		if s, err := parseSimple([]string{value}); err == nil {
			written := "t=" + s.t + ",n=" + s.n + ",v1=" + strings.ToLower(hexOf(s.mac[:]))
			if written != value {
				t.Fatalf("got %q from %q", written, value)
			}
		} else if !errors.Is(err, ErrMalformed) {
			t.Fatalf("got %v, want %v", err, ErrMalformed)
		}
		m := request()
		m.Header.Set(HeaderSimple, value)
		m.Header.Set(headerIdempotencyKey, key)
		_, err := Verify(m, k.Public(), Standard, noon)
		if err == nil && (value != truth || strings.Trim(key, " \t") != "tea-1") {
			t.Fatalf("%q verified for key %q", value, key)
		}
	})
}
