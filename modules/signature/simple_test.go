package signature

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// byHand makes the simple scheme's signature from the words of its description,
// without any code of this package.
func byHand(lines ...string) string {
	sum := sha256.Sum256([]byte(lines[len(lines)-1]))
	lines[len(lines)-1] = hex.EncodeToString(sum[:])
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(strings.Join(lines, "\n")))
	return "t=" + lines[0] + ",n=" + lines[1] + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

func simpleRequest(t testing.TB) *Message {
	t.Helper()
	m := request()
	value, err := SignSimple(m, keyOf(t, HMACSHA256), noon, nonce)
	if err != nil {
		t.Fatal(err)
	}
	m.Header.Set(HeaderSimple, value)
	return m
}

func TestSimple(t *testing.T) {
	t.Parallel()
	k := keyOf(t, HMACSHA256)
	m := simpleRequest(t)
	want := byHand("1800000000", nonce, "POST", "pay.example.com", "/v1/payments", "a=1&b=%20", "tea-1", tea)
	if got := m.Header.Get(HeaderSimple); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	got, err := Verify(m, k.Public(), Standard, noon)
	if err != nil {
		t.Fatal(err)
	}
	result := Result{Scheme: Simple, KeyID: keyID, Nonce: nonce, Created: noon, Remember: noon.Add(310 * time.Second)}
	if diff := cmp.Diff(result, got); diff != "" {
		t.Error(diff)
	}

	// Nothing of what may be empty is there.
	bare := &Message{Method: http.MethodGet, Authority: "PAY.example.com:8443", Header: http.Header{}}
	bare.Header.Set(HeaderSimple, byHand("1800000000", nonce, "GET", "pay.example.com:8443", "/", "", "", ""))
	if _, err := Verify(bare, k.Public(), Standard, noon); err != nil {
		t.Errorf("a bare request: %v", err)
	}
	quoted := request()
	quoted.Header.Set(headerIdempotencyKey, `"tea-1"`)
	quoted.Header.Set(HeaderSimple, byHand("1800000000", nonce, "POST", "pay.example.com", "/v1/payments", "a=1&b=%20", `"tea-1"`, tea))
	if _, err := Verify(quoted, k.Public(), Standard, noon); err != nil {
		t.Errorf("a key in quotes, as it was sent: %v", err)
	}
}

func TestSimpleTampering(t *testing.T) {
	t.Parallel()
	k := keyOf(t, HMACSHA256).Public()
	for name, change := range map[string]func(*Message){
		"method":             tampers["method"],
		"authority":          tampers["authority"],
		"port":               tampers["port"],
		"path":               tampers["path"],
		"path encoding":      tampers["path encoding"],
		"query":              tampers["query"],
		"no query":           tampers["no query"],
		"idempotency-key":    tampers["idempotency-key"],
		"no idempotency-key": func(m *Message) { m.Header.Del(headerIdempotencyKey) },
		"body":               func(m *Message) { m.Body = append(m.Body, ' ') },
		"no body":            func(m *Message) { m.Body = nil },
		"time":               replace(HeaderSimple, "t=1800000000", "t=1800000001"),
		"nonce":              replace(HeaderSimple, "n=n", "n=m"),
		"mac":                func(m *Message) { turn(m) },
		"query for key": func(m *Message) {
			m.RawQuery = ""
			m.Header.Set(headerIdempotencyKey, "a=1&b=%20")
		},
	} {
		m := simpleRequest(t)
		change(m)
		_, err := Verify(m, k, Standard, noon)
		if wantError(t, err, ErrInvalid, "another key"); err == nil {
			t.Errorf("%s was changed", name)
		}
	}
}

// turn turns the last digit of the MAC into another one.
func turn(m *Message) {
	v := m.Header.Get(HeaderSimple)
	last := "0"
	if strings.HasSuffix(v, "0") {
		last = "1"
	}
	m.Header.Set(HeaderSimple, v[:len(v)-1]+last)
}

func TestSimpleRefusals(t *testing.T) {
	t.Parallel()
	k := keyOf(t, HMACSHA256).Public()
	good := simpleRequest(t).Header.Get(HeaderSimple)
	mac := good[strings.Index(good, ",v1=")+4:]
	for _, test := range []struct{ name, value string }{
		{"empty", ""},
		{"no t", good[len("t=1800000000,"):]},
		{"no n", "t=1800000000,v1=" + mac},
		{"no v1", good[:strings.Index(good, ",v1=")]},
		{"another order", "n=" + nonce + ",t=1800000000,v1=" + mac},
		{"spaces", strings.ReplaceAll(good, ",", ", ")},
		{"a space before", " " + good},
		{"a space behind", good + " "},
		{"more behind", good + ",v2=x"},
		{"two of v1", good + ",v1=" + mac},
		{"two of n", "t=1800000000,n=" + nonce + ",n=" + nonce + ",v1=" + mac},
		{"capitals", good[:len(good)-64] + strings.ToUpper(mac[:60]) + "ABCD"},
		{"63 digits", good[:len(good)-1]},
		{"65 digits", good + "0"},
		{"no hexadecimal", good[:len(good)-1] + "g"},
		{"t with a sign", strings.Replace(good, "t=", "t=+", 1)},
		{"t before 1970", strings.Replace(good, "t=", "t=-", 1)},
		{"t with a zero before", strings.Replace(good, "t=", "t=0", 1)},
		{"t in parts", strings.Replace(good, "t=1800000000", "t=1800000000.0", 1)},
		{"t in milliseconds of the far future", strings.Replace(good, "t=1800000000", "t=1800000000000", 1)},
		{"t too large for any clock", strings.Replace(good, "t=1800000000", "t=99999999999999999999", 1)},
		{"t empty", strings.Replace(good, "t=1800000000", "t=", 1)},
		{"n of 15", strings.Replace(good, nonce, nonce[:15], 1)},
		{"n of 65", strings.Replace(good, nonce, strings.Repeat("n", 65), 1)},
		{"n with a dot", strings.Replace(good, nonce, nonce[:15]+".", 1)},
		{"n with an umlaut", strings.Replace(good, nonce, nonce[:15]+"ü", 1)},
		{"long", good + strings.Repeat("0", maxSimple)},
	} {
		m := request()
		m.Header.Set(HeaderSimple, test.value)
		_, err := Verify(m, k, Standard, noon)
		if wantError(t, err, ErrMalformed, ""); t.Failed() {
			t.Fatalf("%s: %s", test.name, test.value)
		}
	}
	m := simpleRequest(t)
	m.Header.Add(HeaderSimple, good)
	_, err := Verify(m, k, Standard, noon)
	wantError(t, err, ErrMalformed, "more than one")
	m = simpleRequest(t)
	m.Header.Add(headerIdempotencyKey, "tea-1")
	_, err = Verify(m, k, Standard, noon)
	wantError(t, err, ErrMalformed, headerIdempotencyKey)
	for _, change := range []func(*Message){
		func(m *Message) { m.Path = "/v1\n" },
		func(m *Message) { m.RawQuery = "ü" },
		func(m *Message) { m.RawQuery = strings.Repeat("x", MaxValue+1) },
	} {
		m := simpleRequest(t)
		change(m)
		_, err := Verify(m, k, Standard, noon)
		wantError(t, err, ErrMalformed, "a signed part")
	}
}

func TestSimpleTimesAndKeys(t *testing.T) {
	t.Parallel()
	k := keyOf(t, HMACSHA256).Public()
	for after, ok := range map[time.Duration]bool{
		MaxAge: true, MaxAge + 1: false, -MaxAhead: true, -MaxAhead - 1: false,
	} {
		_, err := Verify(simpleRequest(t), k, Standard, noon.Add(after))
		if (err == nil) != ok {
			t.Errorf("after %v: got %v, want accepted %v", after, err, ok)
		}
	}
	_, err := Verify(simpleRequest(t), k, FAPI, noon)
	wantError(t, err, ErrInvalid, "fapi")
	for _, a := range algorithms[1:] {
		_, err := Verify(simpleRequest(t), keyOf(t, a).Public(), Standard, noon)
		wantError(t, err, ErrInvalid, string(HMACSHA256))
		_, err = SignSimple(request(), keyOf(t, a), noon, nonce)
		wantError(t, err, ErrKey, string(HMACSHA256))
	}
	other, _ := NewSecretKey(keyID, []byte(secret+"x"))
	_, err = Verify(simpleRequest(t), other, Standard, noon)
	wantError(t, err, ErrInvalid, "another key")
	_, err = SignSimple(request(), SigningKey{}, noon, nonce)
	wantError(t, err, ErrKey, "")
	_, err = SignSimple(request(), keyOf(t, HMACSHA256), noon, "short")
	wantError(t, err, ErrMessage, "")
	_, err = SignSimple(request(), keyOf(t, HMACSHA256), time.Unix(-1, 0), nonce)
	wantError(t, err, ErrMessage, "")
}
