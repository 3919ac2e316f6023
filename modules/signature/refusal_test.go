package signature

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// join writes several signatures into one pair of fields.
func join(m *Message, others ...[2]string) {
	for _, o := range others {
		m.Header.Set(HeaderInput, o[0]+", "+m.Header.Get(HeaderInput))
		m.Header.Set(HeaderSignature, o[1]+", "+m.Header.Get(HeaderSignature))
	}
}

// TestSeveralSignatures: what others add neither grants nor denies.
func TestSeveralSignatures(t *testing.T) {
	t.Parallel()
	k := keyOf(t, Ed25519)
	const good = ""
	for _, test := range []struct {
		name   string
		change func(m *Message)
		kind   error
		says   string
	}{
		{"a proxy's", func(m *Message) { join(m, [2]string{`p=("@method");keyid="proxy"`, "p=:AAAA:"}) }, nil, good},
		{"a proxy's, as lines of their own", func(m *Message) {
			m.Header.Add(HeaderInput, `p=("@method");keyid="proxy"`)
			m.Header.Add(HeaderSignature, "p=:AAAA:")
		}, nil, good},
		{"one with nonsense for components", func(m *Message) { join(m, [2]string{`p=("X" 1 "@no";no);keyid="proxy"`, "p=1"}) }, nil, good},
		{"one without a signature", func(m *Message) { m.Header.Add(HeaderInput, `p=();keyid="proxy"`) }, nil, good},
		{"one that is no list", func(m *Message) { m.Header.Add(HeaderInput, "p=1") }, nil, good},
		{"four", func(m *Message) {
			join(m, [2]string{"a=()", "a=::"}, [2]string{"b=()", "b=::"}, [2]string{"c=()", "c=::"})
		}, nil, good},
		{"five", func(m *Message) {
			join(m, [2]string{"a=()", "a=::"}, [2]string{"b=()", "b=::"}, [2]string{"c=()", "c=::"}, [2]string{"d=()", "d=::"})
		}, ErrMalformed, "4 signatures"},
		{"two with our key", func(m *Message) { join(m, [2]string{`p=("@method");keyid="` + keyID + `"`, "p=:AAAA:"}) }, ErrMalformed, "same key"},
		{"another's label on our signature", func(m *Message) {
			m.Header.Set(HeaderSignature, strings.Replace(m.Header.Get(HeaderSignature), "sig1", "sig2", 1))
		}, ErrMalformed, "names"},
		{"our key on a stranger's signature", func(m *Message) {
			stranger, _ := NewSigner(keyID, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32)))
			if err := SignRequest(m, stranger, Standard, noon, nonce); err != nil {
				t.Error(err)
			}
		}, ErrInvalid, "another key"},
		{"a stranger's alone", func(m *Message) {
			stranger, _ := NewSigner("stranger", ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32)))
			if err := SignRequest(m, stranger, Standard, noon, nonce); err != nil {
				t.Error(err)
			}
		}, ErrInvalid, "keyid"},
		{"no Signature", func(m *Message) { m.Header.Del(HeaderSignature) }, ErrMalformed, "no Signature"},
		{"no Signature-Input", func(m *Message) { m.Header.Del(HeaderInput) }, ErrMalformed, "no Signature-Input"},
		{"neither", func(m *Message) { m.Header.Del(HeaderInput); m.Header.Del(HeaderSignature) }, ErrInvalid, "not signed"},
		{"both schemes", func(m *Message) { m.Header.Set(HeaderSimple, "t=1,n=2,v1=3") }, ErrMalformed, "send one"},
		{"half of one scheme and the other", func(m *Message) {
			m.Header.Del(HeaderInput)
			m.Header.Set(HeaderSimple, "t=1,n=2,v1=3")
		}, ErrMalformed, "send one"},
		{"an empty Signature-Input", func(m *Message) { m.Header.Set(HeaderInput, "") }, ErrInvalid, "keyid"},
		{"no dictionary", func(m *Message) { m.Header.Set(HeaderInput, "Sig1=()") }, ErrMalformed, "no dictionary"},
		{"the draft of Cavage", func(m *Message) { m.Header.Set(HeaderSignature, `keyId="x",algorithm="hs2019",signature="AAAA"`) }, ErrMalformed, "no dictionary"},
		{"a signature that is text", func(m *Message) { m.Header.Set(HeaderSignature, `sig1="AAAA"`) }, ErrMalformed, "byte sequence"},
		{"a signature that is a list", func(m *Message) { m.Header.Set(HeaderSignature, "sig1=(:AAAA:)") }, ErrMalformed, "byte sequence"},
		{"8 KiB of Signature-Input", func(m *Message) { m.Header.Add(HeaderInput, "p=:"+strings.Repeat("A", MaxField)+":") }, ErrMalformed, "longer than"},
		{"8 KiB of Signature", func(m *Message) { m.Header.Add(HeaderSignature, "p=:"+strings.Repeat("A", MaxField)+":") }, ErrMalformed, "longer than"},
		{"many empty lines", func(m *Message) {
			m.Header[HeaderInput] = append(make([]string, MaxField), m.Header[HeaderInput]...)
		}, ErrMalformed, "longer than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := signedRequest(t, k, Standard)
			test.change(m)
			_, err := Verify(m, k.Public(), Standard, noon)
			wantError(t, err, test.kind, test.says)
		})
	}
}

// TestComponentRefusals are those that the RFC's cases leave out, and ours.
func TestComponentRefusals(t *testing.T) {
	t.Parallel()
	k := keyOf(t, Ed25519)
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, ` "x-%d"`, i)
		}
		return b.String()
	}
	for _, test := range []struct {
		name, component string
		change          func(m *Message)
		says            string // "" = it is fine
	}{
		{"twice", `"@method"`, nil, "twice"},
		{"twice with parameters in another order", `"x-dict";key="a";req "x-dict";req;key="a"`, nil, "req"},
		{"once each with and without a parameter", `"x-dict" "x-dict";key="a" "x-dict";bs "x-dict";key="b"`, nil, ""},
		{"twice the same member", `"x-dict";key="a" "x-dict";key="a"`, nil, "twice"},
		{"req", `"x-dict";req`, nil, "req"},
		{"req of a derived one", `"@path";req`, nil, "req"},
		{"tr", `"x-dict";tr`, nil, "trailers"},
		{"sf of an unknown structure", `"x-dict";sf`, nil, "known structure"},
		{"bs beside sf", `"content-digest";bs;sf`, nil, "beside sf or key"},
		{"key beside bs", `"x-dict";key="a";bs`, nil, "beside sf or key"},
		{"sf turned off", `"content-digest";sf=?0`, nil, "does not belong"},
		{"sf of a derived one", `"@path";sf`, nil, "does not belong"},
		{"key of a derived one", `"@path";key="a"`, nil, "does not belong"},
		{"key that is a token", `"x-dict";key=a`, nil, "does not belong"},
		{"name of a field", `"x-dict";name="a"`, nil, "does not belong"},
		{"name of another derived one", `"@path";name="a"`, nil, "does not belong"},
		{"key of what is no dictionary", `"user-agent";key="a"`, nil, "no dictionary"},
		{"a number", `1`, nil, "no lower-case name"},
		{"a token", `content-type`, nil, "no lower-case name"},
		{"an empty name", `""`, nil, "no lower-case name"},
		{"an at sign alone", `"@"`, nil, "no lower-case name"},
		{"a name with a space", `"x dict"`, nil, "no lower-case name"},
		{"a name with a quote", `"x\"y"`, nil, "no lower-case name"},
		{"a long name", `"` + strings.Repeat("x", 129) + `"`, nil, "no lower-case name"},
		{"a field of a derived one's name", `"@x"`, func(m *Message) { m.Header["@x"] = []string{"1"} }, "does not exist"},
		{"@status", `"@status"`, nil, "kind of message"},
		{"@query-param in bad encoding", `"@query-param";name="a"`, func(m *Message) { m.RawQuery = "a=%zz" }, "query"},
		{"@query-param that is no UTF-8", `"@query-param";name="a"`, func(m *Message) { m.RawQuery = "a=%ff" }, "query"},
		{"@query-param beside bad encoding", `"@query-param";name="a"`, func(m *Message) { m.RawQuery = "a=1&%zz=2" }, "query"},
		{"@query-param of a long query", `"@query-param";name="a"`, func(m *Message) { m.RawQuery = "a=" + strings.Repeat("1", MaxValue) }, "longer"},
		{"not ASCII", `"x-dict"`, func(m *Message) { m.Header.Set("X-Dict", "ü") }, "printable ASCII"},
		{"not ASCII, as bytes", `"x-dict";bs`, func(m *Message) { m.Header.Set("X-Dict", "ü") }, ""},
		{"the end of a line", `"x-dict"`, func(m *Message) { m.Header.Set("X-Dict", "a\n\"@path\": /x") }, "printable ASCII"},
		{"the end of a line in the path", `"@path"`, func(m *Message) { m.Path = "/\n" }, "printable ASCII"},
		{"a long field", `"x-dict"`, func(m *Message) { m.Header.Set("X-Dict", strings.Repeat("x", MaxValue)) }, "longer"},
		{"long fields together", `"x-a" "x-b" "x-c" "x-d" "x-e"`, func(m *Message) {
			for _, c := range "ABCDE" {
				m.Header.Set("X-"+string(c), strings.Repeat("x", MaxValue-2))
			}
		}, "components have more"},
		{"32 components", many(30), nil, ""}, // beside two
		{"33 components", many(31), nil, "more than 32"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := &Message{Method: http.MethodGet, Scheme: "https", Authority: "pay.example.com", Path: "/v1", Header: http.Header{
				"X-Dict": {"a=1, b=(1 2);c"}, "User-Agent": {"Shop/1.0 (x)"}, "Content-Digest": {"sha-256=:AAAA:"},
			}}
			for i := range 40 {
				m.Header.Set(fmt.Sprintf("X-%d", i), "x")
			}
			if test.change != nil {
				test.change(m)
			}
			input := `("@method" "@target-uri" ` + test.component + ")" + allParams
			base, _, err := signatureBase(subject{request: m}, inputOf(t, input))
			// Its own signature over what it should have refused.
			m.Header.Set(HeaderInput, "sig1="+input)
			sum, _ := k.sign(base)
			m.Header.Set(HeaderSignature, "sig1=:"+encode(sum)+":")
			if test.says == "" {
				wantError(t, err, nil, "")
				return
			}
			wantError(t, err, ErrMalformed, test.says)
			_, err = Verify(m, k.Public(), Standard, noon)
			wantError(t, err, ErrMalformed, test.says)
		})
	}
}

// TestConfusion: nothing but the key says how a signature is checked.
func TestConfusion(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms[1:] {
		public := keyOf(t, a).Public()
		// The public key, in all forms that somebody might take for a secret.
		for i, known := range [][]byte{public.PEM(), bytes.TrimSpace(public.PEM()), derOf(t, public), rawOf(public)} {
			if len(known) < MinSecret || len(known) > MaxSecret {
				continue
			}
			forger, err := NewSecretSigner(keyID, known)
			if err != nil {
				t.Fatal(err)
			}
			for _, alg := range []string{"", `;alg="hmac-sha256"`, `;alg="` + string(a) + `"`} {
				m := request()
				setDigest(m.Header, m.Body)
				signWith(t, m, forger, "("+allParts+")"+allParams+alg)
				if _, err := Verify(m, public, Standard, noon); !errors.Is(err, ErrInvalid) {
					t.Errorf("%s, form %d, %s: got %v, want %v", a, i, alg, err, ErrInvalid)
				}
			}
			simple, err := SignSimple(request(), forger, noon, nonce)
			if err != nil {
				t.Fatal(err)
			}
			m := request()
			m.Header.Set(HeaderSimple, simple)
			if _, err := Verify(m, public, Standard, noon); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s, form %d, simple: got %v, want %v", a, i, err, ErrInvalid)
			}
		}
	}
	// Every key against every other's signature.
	for _, a := range algorithms {
		for _, b := range algorithms {
			_, err := Verify(signedRequest(t, keyOf(t, a), Standard), keyOf(t, b).Public(), Standard, noon)
			if (err == nil) != (a == b) {
				t.Errorf("signed by %s, verified by %s: got %v", a, b, err)
			}
		}
	}
	for _, m := range []*Message{signedRequest(t, keyOf(t, HMACSHA256), Standard), request()} {
		if _, err := Verify(m, Key{}, Standard, noon); !errors.Is(err, ErrInvalid) {
			t.Errorf("no key: got %v, want %v", err, ErrInvalid)
		}
	}
	m := request()
	setDigest(m.Header, m.Body)
	m.Header.Set(HeaderInput, "sig1=("+allParts+`);created=1800000000;nonce="12345678";keyid=""`)
	m.Header.Set(HeaderSignature, "sig1=::")
	if _, err := Verify(m, Key{}, Standard, noon); !errors.Is(err, ErrInvalid) {
		t.Errorf("no key, and a keyid of nothing: got %v, want %v", err, ErrInvalid)
	}
}
