package signature

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"
	"github.com/google/go-cmp/cmp"
)

const (
	keyID  = "key_01jd0000000000000000000000"
	secret = "0123456789abcdefghijklmnopqrstuv"
	nonce  = "n0123456789-_ABCDEFGHI"
	tea    = `{"amount":1999,"currency":"EUR","confirm":false}`
)

var noon = time.Unix(1_800_000_000, 0)

// keyring makes each kind of key once: that of RSA costs more than the tests.
var keyring = sync.OnceValues(func() (map[Algorithm]SigningKey, error) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	big, err := rsa.GenerateKey(rand.Reader, MinRSABits)
	if err != nil {
		return nil, err
	}
	all := map[Algorithm]SigningKey{}
	var errs [4]error
	all[HMACSHA256], errs[0] = NewSecretSigner(keyID, []byte(secret))
	all[Ed25519], errs[1] = NewSigner(keyID, ed25519.NewKeyFromSeed([]byte(secret)))
	all[ECDSAP256SHA256], errs[2] = NewSigner(keyID, p256)
	all[RSAPSSSHA512], errs[3] = NewSigner(keyID, big)
	return all, errors.Join(errs[:]...)
})

func keyOf(t testing.TB, a Algorithm) SigningKey {
	t.Helper()
	all, err := keyring()
	if err != nil {
		t.Fatal(err)
	}
	return all[a]
}

// request is a payment that nobody has signed yet.
func request() *Message {
	return &Message{
		Method: http.MethodPost, Scheme: "https", Authority: "pay.example.com", Path: "/v1/payments", RawQuery: "a=1&b=%20", HasQuery: true,
		Header: http.Header{
			"Authorization":   {"Bearer pur_test_x"},
			"Content-Type":    {"application/json"},
			"Idempotency-Key": {"tea-1"},
			"Dpop":            {"eyJ.e30.x"},
		},
		Body: []byte(tea),
	}
}

func signedRequest(t testing.TB, k SigningKey, p Profile) *Message {
	t.Helper()
	m := request()
	if err := SignRequest(m, k, p, noon, nonce); err != nil {
		t.Fatal(err)
	}
	return m
}

// signWith signs a request over components and parameters of the test's choice.
func signWith(t testing.TB, m *Message, k SigningKey, input string) {
	t.Helper()
	d, err := httpsfv.UnmarshalDictionary([]string{"sig1=" + input})
	if err != nil {
		t.Fatalf("%s: %v", input, err)
	}
	list, _ := d.Get("sig1")
	if err := sign(subject{request: m}, list.(httpsfv.InnerList), k, "sig1", m.Header); err != nil {
		t.Fatalf("%s: %v", input, err)
	}
}

// wantError checks the kind and, if it is given, a part of the text.
func wantError(t testing.TB, got, kind error, says string) {
	t.Helper()
	if !errors.Is(got, kind) || (kind != nil && !strings.Contains(got.Error(), says)) {
		t.Errorf("got %v, want %v with %q", got, kind, says)
	}
}

var algorithms = []Algorithm{HMACSHA256, Ed25519, ECDSAP256SHA256, RSAPSSSHA512}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms {
		for _, p := range []Profile{Standard, FAPI} {
			t.Run(string(a)+" "+p.String(), func(t *testing.T) {
				t.Parallel()
				k := keyOf(t, a)
				if p == FAPI && a == HMACSHA256 {
					wantError(t, SignRequest(request(), k, p, noon, nonce), ErrKey, "fapi")
					_, err := Verify(signedRequest(t, k, Standard), k.Public(), p, noon)
					wantError(t, err, ErrInvalid, "fapi")
					return
				}
				got, err := Verify(signedRequest(t, k, p), k.Public(), p, noon.Add(time.Second))
				if err != nil {
					t.Fatal(err)
				}
				want := Result{
					Scheme: RFC9421, KeyID: keyID, Nonce: nonce, Created: noon, Remember: noon.Add(310 * time.Second),
					Label: "sig1", Tag: p.requestTag(),
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// tampers change one thing of a signed request each.
var tampers = map[string]func(m *Message){
	"method":          func(m *Message) { m.Method = http.MethodPut },
	"scheme":          func(m *Message) { m.Scheme = "http" },
	"authority":       func(m *Message) { m.Authority = "pay.example.org" },
	"port":            func(m *Message) { m.Authority += ":8443" },
	"path":            func(m *Message) { m.Path += "/x" },
	"path encoding":   func(m *Message) { m.Path = "/v1/payment%73" },
	"query":           func(m *Message) { m.RawQuery += "&c=1" },
	"query encoding":  func(m *Message) { m.RawQuery = "a=1&b=+" },
	"no query":        func(m *Message) { m.RawQuery, m.HasQuery = "", false },
	"authorization":   func(m *Message) { m.Header.Set("Authorization", "Bearer pur_test_y") },
	"idempotency-key": func(m *Message) { m.Header.Set("Idempotency-Key", "tea-2") },
	"content-type":    func(m *Message) { m.Header.Set("Content-Type", "text/plain") },
	"dpop":            func(m *Message) { m.Header.Set("Dpop", "eyJ.e30.y") },
	"body and digest": func(m *Message) { m.Body = []byte(tea + " "); setDigest(m.Header, m.Body) },
	"other nonce":     replace(HeaderInput, nonce, "n0123456789-_ABCDEFGHJ"),
	"later":           replace(HeaderInput, "created=1800000000", "created=1800000001"),
	"no order":        replace(HeaderInput, `"@method" "@target-uri"`, `"@target-uri" "@method"`),
	"a parameter":     replace(HeaderInput, ";created", `;tag="x";created`),
	"a component":     replace(HeaderInput, `("@method"`, `("@path" "@method"`),
	"another keyid":   replace(HeaderInput, keyID, "key_01jd0000000000000000000001"),
	"the signature":   replace(HeaderSignature, "sig1=:", "sig1=:AAAA"),
	"no signature":    func(m *Message) { m.Header.Set(HeaderSignature, "sig1=::") },
}

func replace(header, old, by string) func(*Message) {
	return func(m *Message) {
		is := m.Header.Get(header)
		if !strings.Contains(is, old) {
			panic(header + " has no " + old)
		}
		m.Header.Set(header, strings.Replace(is, old, by, 1))
	}
}

func TestTampering(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms {
		k := keyOf(t, a)
		for name, change := range tampers {
			m := signedRequest(t, k, Standard)
			change(m)
			if _, err := Verify(m, k.Public(), Standard, noon); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s, %s: got %v, want %v", a, name, err, ErrInvalid)
			}
		}
		// Each bit counts of what proves the rest.
		m := signedRequest(t, k, Standard)
		s, err := findSignature(m.Header, keyID)
		if err != nil {
			t.Fatal(err)
		}
		base, _, err := signatureBase(subject{request: m}, s.input)
		if err != nil || !k.Public().verify(base, s.bytes) {
			t.Fatal(err)
		}
		for _, bit := range []int{0, 7, 8*len(s.bytes) - 1, 4 * len(s.bytes)} {
			s.bytes[bit/8] ^= 1 << (bit % 8)
			if k.Public().verify(base, s.bytes) {
				t.Errorf("%s: verified with bit %d turned", a, bit)
			}
			s.bytes[bit/8] ^= 1 << (bit % 8)
		}
		for _, other := range [][]byte{nil, s.bytes[:len(s.bytes)-1], append([]byte{0}, s.bytes...), append(slices.Clone(s.bytes), 0)} {
			if k.Public().verify(base, other) {
				t.Errorf("%s: verified with a signature of %d bytes", a, len(other))
			}
		}
	}
}

// What is not covered may change: that is what covering means.
func TestUncoveredMayChange(t *testing.T) {
	t.Parallel()
	k := keyOf(t, HMACSHA256)
	m := signedRequest(t, k, Standard)
	m.Header.Set("User-Agent", "a proxy")
	m.Authority = "PAY.example.com:443" // the same by RFC 9421 §2.2.3
	if _, err := Verify(m, k.Public(), Standard, noon); err != nil {
		t.Error(err)
	}
}

func TestBodyMustMatch(t *testing.T) {
	t.Parallel()
	k := keyOf(t, HMACSHA256)
	m := signedRequest(t, k, Standard)
	m.Body = []byte(strings.Replace(tea, "1999", "1998", 1))
	_, err := Verify(m, k.Public(), Standard, noon)
	wantError(t, err, ErrDigest, "not that of the body")
	m.Header.Del(HeaderDigest)
	_, err = Verify(m, k.Public(), Standard, noon)
	wantError(t, err, ErrMalformed, "content-digest")

	empty := request()
	empty.Body = nil
	if err := SignRequest(empty, k, Standard, noon, nonce); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(empty, k.Public(), Standard, noon); err != nil {
		t.Errorf("without a body: %v", err)
	}
	empty.Body = []byte("{}")
	_, err = Verify(empty, k.Public(), Standard, noon)
	wantError(t, err, ErrInvalid, "cover content-type")
}

const (
	allParts  = `"@method" "@authority" "@path" "@query" "authorization" "content-type" "content-digest" "idempotency-key" "dpop"`
	allParams = `;created=1800000000;nonce="` + nonce + `";keyid="` + keyID + `"`
)

// TestCoverage leaves out each component in turn.
func TestCoverage(t *testing.T) {
	t.Parallel()
	target := strings.Replace(allParts, `"@authority" "@path" "@query"`, `"@target-uri"`, 1)
	tests := []struct {
		name, parts string
		profile     Profile
		says        string // "" = it is enough
	}{
		{"all parts", allParts, Standard, ""},
		{"@target-uri", target, Standard, ""},
		{"more than needed", allParts + ` "host" "@scheme" "@request-target" "@query-param";name="a" "content-digest";key="sha-256" "dpop";bs`, Standard, ""},
		{"parts in fapi", allParts, FAPI, "@target-uri"},
		{"@target-uri in fapi", target, FAPI, ""},
		{"nothing", "", Standard, "@method"},
		{"a member for the whole", strings.Replace(allParts, `"content-digest"`, `"content-digest";key="sha-256"`, 1), Standard, "content-digest"},
		{"another form", strings.Replace(allParts, `"content-digest"`, `"content-digest";sf`, 1), Standard, "content-digest"},
		{"bytes", strings.Replace(allParts, `"authorization"`, `"authorization";bs`, 1), Standard, "authorization"},
	}
	for part := range strings.FieldsSeq(allParts) {
		says := strings.Trim(part, `"`)
		if slices.Contains([]string{"@authority", "@path", "@query"}, says) {
			says = "@target-uri"
		}
		tests = append(tests, struct {
			name, parts string
			profile     Profile
			says        string
		}{"without " + part, strings.Join(slices.DeleteFunc(strings.Fields(allParts), func(s string) bool { return s == part }), " "), Standard, says})
	}
	k := keyOf(t, Ed25519)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := request()
			setDigest(m.Header, m.Body)
			signWith(t, m, k, "("+test.parts+")"+allParams+`;tag="fapi-2-request"`)
			_, err := Verify(m, k.Public(), test.profile, noon)
			if test.says == "" {
				wantError(t, err, nil, "")
				return
			}
			wantError(t, err, ErrInvalid, test.says)
		})
	}
}

// What is not sent need not be covered; what is sent twice cannot be.
func TestCoverageWhenSent(t *testing.T) {
	t.Parallel()
	k := keyOf(t, Ed25519)
	m := &Message{Method: http.MethodGet, Scheme: "https", Authority: "pay.example.com", Path: "/v1/account", Header: http.Header{}}
	signWith(t, m, k, `("@method" "@target-uri")`+allParams)
	if _, err := Verify(m, k.Public(), Standard, noon); err != nil {
		t.Errorf("with nothing to cover: %v", err)
	}
	for _, header := range []string{"Authorization", "Idempotency-Key", "Dpop"} {
		h := m.Header.Clone()
		m.Header.Set(header, "x")
		_, err := Verify(m, k.Public(), Standard, noon)
		wantError(t, err, ErrInvalid, strings.ToLower(header))
		m.Header = h
	}
	for _, header := range []string{"Authorization", "Idempotency-Key", "Dpop", "Content-Type"} {
		m := request()
		m.Header[header] = []string{"a", "b"}
		if err := SignRequest(m, k, Standard, noon, nonce); err != nil {
			t.Fatal(err)
		}
		_, err := Verify(m, k.Public(), Standard, noon)
		wantError(t, err, ErrMalformed, header)
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	k := keyOf(t, Ed25519)
	for _, test := range []struct {
		name    string
		profile Profile
		after   time.Duration
		expires string
		kind    error
		says    string
	}{
		{"now", Standard, 0, "", nil, ""},
		{"just in time", Standard, MaxAge, "", nil, ""},
		{"too late", Standard, MaxAge + 1, "", ErrInvalid, "more than 300 s ago"},
		{"just in time, fapi", FAPI, MaxAgeFAPI, "", nil, ""},
		{"too late, fapi", FAPI, MaxAgeFAPI + 1, "", ErrInvalid, "more than 60 s ago"},
		{"ahead", Standard, -MaxAhead, "", nil, ""},
		{"too far ahead", Standard, -MaxAhead - 1, "", ErrInvalid, "10 s in the future"},
		{"too far ahead, fapi", FAPI, -MaxAhead - 1, "", ErrInvalid, "10 s in the future"},
		{"expires now", Standard, 0, ";expires=1800000000", nil, ""},
		{"has expired", Standard, 1, ";expires=1800000000", ErrInvalid, "expired"},
		{"expires long after", Standard, MaxAge + 1, ";expires=1900000000", ErrInvalid, "more than 300 s"},
		{"expires before it began", Standard, 0, ";expires=-1", ErrMalformed, "expires"},
		{"expires in words", Standard, 0, `;expires="1900000000"`, ErrMalformed, "expires"},
		{"expires in parts", Standard, 0, ";expires=1900000000.5", ErrMalformed, "expires"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := request()
			setDigest(m.Header, m.Body)
			parts := strings.Replace(allParts, `"@authority" "@path" "@query"`, `"@target-uri"`, 1)
			signWith(t, m, k, "("+parts+")"+allParams+test.expires+`;tag="fapi-2-request"`)
			_, err := Verify(m, k.Public(), test.profile, noon.Add(test.after))
			wantError(t, err, test.kind, test.says)
		})
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	k := keyOf(t, Ed25519)
	const id = `;keyid="` + keyID + `"`
	for _, test := range []struct {
		name, params string
		profile      Profile
		kind         error
		says         string
	}{
		{"alg confirms", allParams + `;alg="ed25519"`, Standard, nil, ""},
		{"alg contradicts", allParams + `;alg="hmac-sha256"`, Standard, ErrInvalid, "alg"},
		{"alg is unknown", allParams + `;alg="none"`, Standard, ErrInvalid, "alg"},
		{"alg is empty", allParams + `;alg=""`, Standard, ErrInvalid, "alg"},
		{"alg is a token", allParams + `;alg=ed25519`, Standard, ErrMalformed, "alg"},
		{"any tag", allParams + `;tag="a shop"`, Standard, nil, ""},
		{"tag is a token", allParams + `;tag=shop`, Standard, ErrMalformed, "tag"},
		{"no tag in fapi", allParams, FAPI, ErrInvalid, "fapi-2-request"},
		{"another tag in fapi", allParams + `;tag="fapi-2-response"`, FAPI, ErrInvalid, "fapi-2-request"},
		{"a parameter of others", allParams + `;shop=1`, Standard, nil, ""},
		{"no created", id + `;nonce="12345678"`, Standard, ErrInvalid, "created is missing"},
		{"created in words", id + `;nonce="12345678";created="1800000000"`, Standard, ErrMalformed, "created"},
		{"created in parts", id + `;nonce="12345678";created=1800000000.0`, Standard, ErrMalformed, "created"},
		{"created before 1970", id + `;nonce="12345678";created=-1800000000`, Standard, ErrMalformed, "created"},
		{"created at the end of time", id + `;nonce="12345678";created=999999999999999`, Standard, ErrInvalid, "future"},
		{"no nonce", id + ";created=1800000000", Standard, ErrInvalid, "nonce"},
		{"nonce of 7", id + `;created=1800000000;nonce="1234567"`, Standard, ErrInvalid, "nonce"},
		{"nonce of 8", id + `;created=1800000000;nonce="1234567;"`, Standard, nil, ""},
		{"nonce of 128", id + `;created=1800000000;nonce="` + strings.Repeat("n", 128) + `"`, Standard, nil, ""},
		{"nonce of 129", id + `;created=1800000000;nonce="` + strings.Repeat("n", 129) + `"`, Standard, ErrInvalid, "nonce"},
		{"nonce with a space", id + `;created=1800000000;nonce="1234 5678"`, Standard, ErrInvalid, "nonce"},
		{"nonce of bytes", id + `;created=1800000000;nonce=:MTIzNDU2Nzg=:`, Standard, ErrMalformed, "nonce"},
		{"no keyid", `;created=1800000000;nonce="12345678"`, Standard, ErrInvalid, "keyid"},
		{"keyid is a token", `;created=1800000000;nonce="12345678";keyid=` + keyID, Standard, ErrInvalid, "keyid"},
		{"keyid of somebody else", `;created=1800000000;nonce="12345678";keyid="key_other"`, Standard, ErrInvalid, "keyid"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := request()
			setDigest(m.Header, m.Body)
			parts := strings.Replace(allParts, `"@authority" "@path" "@query"`, `"@target-uri"`, 1)
			signWith(t, m, k, "("+parts+")"+test.params)
			_, err := Verify(m, k.Public(), test.profile, noon)
			wantError(t, err, test.kind, test.says)
		})
	}
}

// A replay is the caller's to notice: Verify takes the same request twice, and
// says both times by which nonce it is known.
func TestReplayIsTheCallers(t *testing.T) {
	t.Parallel()
	k := keyOf(t, HMACSHA256)
	m := signedRequest(t, k, Standard)
	before := maps.Clone(m.Header)
	first, err := Verify(m, k.Public(), Standard, noon)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Verify(m, k.Public(), Standard, noon.Add(MaxAge))
	if err != nil || first != second || first.Nonce != nonce {
		t.Errorf("got %+v and %+v, %v; want the same nonce", first, second, err)
	}
	if first.Remember.Before(noon.Add(MaxAge)) {
		t.Errorf("the nonce would be forgotten at %v, while it is still good", first.Remember)
	}
	if diff := cmp.Diff(before, m.Header); diff != "" {
		t.Errorf("Verify changed the request: %s", diff)
	}
}
