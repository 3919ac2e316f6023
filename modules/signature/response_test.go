package signature

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func answer() *Response {
	return &Response{
		Status: http.StatusCreated,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   []byte(`{"id":"pay_1","status":"succeeded"}`),
	}
}

// exchanges are a request of each kind, and its signed response.
func exchanges(t *testing.T, a Algorithm, p Profile) map[string]*Message {
	t.Helper()
	wish := signedRequest(t, keyOf(t, Ed25519), FAPI)
	wish.Header.Set(HeaderAccept, `sig-b=("@status");created;nonce="of-the-caller"`)
	all := map[string]*Message{
		"signed":   signedRequest(t, keyOf(t, Ed25519), FAPI),
		"simple":   simpleRequest(t),
		"unsigned": {Method: http.MethodGet, Scheme: "https", Authority: "pay.example.com", Path: "/v1/account", Header: http.Header{}},
		"a wish":   wish,
	}
	if p == FAPI && a == HMACSHA256 {
		return nil
	}
	return all
}

func signedAnswer(t *testing.T, req *Message, k SigningKey, p Profile) *Response {
	t.Helper()
	r := answer()
	w, _ := WantsSignature(req.Header)
	if err := SignResponse(req, r, k, p, noon, w); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestResponses(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms {
		for _, p := range []Profile{Standard, FAPI} {
			k := keyOf(t, a)
			for name, req := range exchanges(t, a, p) {
				got, err := VerifyResponse(req, signedAnswer(t, req, k, p), k.Public(), p, noon.Add(time.Second))
				if err != nil {
					t.Errorf("%s, %s, %s: %v", a, p, name, err)
					continue
				}
				want := Result{Scheme: RFC9421, KeyID: keyID, Created: noon, Label: "sig1", Tag: p.responseTag()}
				if name == "a wish" {
					want.Label, want.Nonce = "sig-b", "of-the-caller"
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s, %s, %s: %s", a, p, name, diff)
				}
			}
		}
	}
	wantError(t, SignResponse(request(), answer(), keyOf(t, HMACSHA256), FAPI, noon, Wish{}), ErrKey, "fapi")
	wantError(t, SignResponse(request(), answer(), SigningKey{}, Standard, noon, Wish{}), ErrKey, "")
	k := keyOf(t, HMACSHA256)
	req := exchanges(t, HMACSHA256, Standard)["unsigned"]
	_, err := VerifyResponse(req, signedAnswer(t, req, k, Standard), k.Public(), FAPI, noon)
	wantError(t, err, ErrInvalid, "fapi")
	empty := &Response{Status: http.StatusNoContent}
	if err := SignResponse(req, empty, k, Standard, noon, Wish{}); err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyResponse(req, empty, k.Public(), Standard, noon); err != nil {
		t.Errorf("without a body: %v", err)
	}
}

// TestResponseTampering changes each part of a response, and of the request that
// it is held against.
func TestResponseTampering(t *testing.T) {
	t.Parallel()
	k := keyOf(t, Ed25519)
	for _, test := range []struct {
		name   string
		change func(req *Message, r *Response)
		kind   error
	}{
		{"status", func(_ *Message, r *Response) { r.Status = http.StatusOK }, ErrInvalid},
		{"content-type", func(_ *Message, r *Response) { r.Header.Set("Content-Type", "text/html") }, ErrInvalid},
		{"body", func(_ *Message, r *Response) { r.Body = append(r.Body, ' ') }, ErrDigest},
		{"body and digest", func(_ *Message, r *Response) { r.Body = []byte("{}"); setDigest(r.Header, r.Body) }, ErrInvalid},
		{"no digest", func(_ *Message, r *Response) { r.Header.Del(HeaderDigest) }, ErrMalformed},
		{"nothing but a body", func(_ *Message, r *Response) { r.Header = http.Header{} }, ErrMalformed},
		{"another method", func(req *Message, _ *Response) { req.Method = http.MethodGet }, ErrInvalid},
		{"another path", func(req *Message, _ *Response) { req.Path = "/v1/refunds" }, ErrInvalid},
		{"another host", func(req *Message, _ *Response) { req.Authority = "pay.example.org" }, ErrInvalid},
		{"another body", func(req *Message, _ *Response) { setDigest(req.Header, []byte("{}")) }, ErrInvalid},
		{"another request of the same content", func(req *Message, _ *Response) {
			if err := SignRequest(req, k, FAPI, noon, "another-nonce-000"); err != nil {
				t.Error(err)
			}
		}, ErrInvalid},
		{"a request that was not signed", func(req *Message, _ *Response) {
			req.Header.Del(HeaderInput)
			req.Header.Del(HeaderSignature)
		}, ErrMalformed},
		{"a nonce that was asked for", func(req *Message, _ *Response) { req.Header.Set(HeaderAccept, `s=();nonce="12345678"`) }, ErrInvalid},
		{"another tag", func(_ *Message, r *Response) {
			r.Header.Set(HeaderInput, strings.Replace(r.Header.Get(HeaderInput), "purser-response", "fapi-2-response", 1))
		}, ErrInvalid},
		{"later", func(_ *Message, r *Response) {
			r.Header.Set(HeaderInput, strings.Replace(r.Header.Get(HeaderInput), "1800000000", "1800000001", 1))
		}, ErrInvalid},
		{"no signature", func(_ *Message, r *Response) { r.Header.Del(HeaderSignature) }, ErrMalformed},
		{"not signed", func(_ *Message, r *Response) { r.Header.Del(HeaderSignature); r.Header.Del(HeaderInput) }, ErrMalformed},
		{"the request's signature for its own", func(req *Message, r *Response) {
			r.Header[HeaderInput], r.Header[HeaderSignature] = req.Header[HeaderInput], req.Header[HeaderSignature]
		}, ErrInvalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			req := signedRequest(t, k, FAPI)
			r := signedAnswer(t, req, k, Standard)
			test.change(req, r)
			_, err := VerifyResponse(req, r, k.Public(), Standard, noon)
			wantError(t, err, test.kind, "")
		})
	}
	req := signedRequest(t, k, FAPI)
	for after, ok := range map[time.Duration]bool{MaxAge: true, MaxAge + 1: false, -MaxAhead - 1: false} {
		_, err := VerifyResponse(req, signedAnswer(t, req, k, Standard), k.Public(), Standard, noon.Add(after))
		if (err == nil) != ok {
			t.Errorf("after %v: got %v, want accepted %v", after, err, ok)
		}
	}
}

// TestResponseCoverage leaves out each component in turn.
func TestResponseCoverage(t *testing.T) {
	t.Parallel()
	k := keyOf(t, Ed25519)
	req := signedRequest(t, k, FAPI)
	r := answer()
	setDigest(r.Header, r.Body)
	all := responseComponents(req, r)
	if len(all) != 8 {
		t.Fatalf("got %v, want 8 components", all)
	}
	for i, c := range all {
		without := append(all[:i:i], all[i+1:]...)
		input := newInput(without, k, noon, "", tagResponse)
		if err := sign(subject{req, r}, input, k, "sig1", r.Header); err != nil {
			t.Fatal(err)
		}
		_, err := VerifyResponse(req, r, k.Public(), Standard, noon)
		wantError(t, err, ErrInvalid, "cover "+c.String())
	}
	for _, c := range []component{plain("@method"), plain("@target-uri"), plain("@status").ofRequest()} {
		if _, err := c.appendValue(nil, subject{req, r}); err == nil {
			t.Errorf("%s of a response: got no error", c)
		}
	}
}

func TestWantsSignature(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		lines []string
		want  Wish
		ok    bool
	}{
		{nil, Wish{}, false},
		{[]string{""}, Wish{}, false},
		{[]string{"sig1=()"}, Wish{Label: "sig1"}, true},
		{[]string{`sig1=("@status" "content-digest");keyid="x";created;tag="app"`}, Wish{Label: "sig1"}, true},
		{[]string{`a=();nonce="12345678"`, "b=()"}, Wish{"a", "12345678"}, true},
		{[]string{`a=();nonce="1234567"`}, Wish{}, false},
		{[]string{`a=();nonce="1234 5678"`}, Wish{}, false},
		{[]string{`a=();nonce=12345678`}, Wish{}, false},
		{[]string{"sig1"}, Wish{}, false},
		{[]string{"sig1=?1"}, Wish{}, false},
		{[]string{"Sig1=()"}, Wish{}, false},
		{[]string{"sig1=("}, Wish{}, false},
		{[]string{"sig1=()", "x=:" + strings.Repeat("A", maxAccept) + ":"}, Wish{}, false},
	} {
		got, ok := WantsSignature(http.Header{HeaderAccept: test.lines})
		if got != test.want || ok != test.ok {
			t.Errorf("%q: got %+v, %v; want %+v, %v", test.lines, got, ok, test.want, test.ok)
		}
	}
}
