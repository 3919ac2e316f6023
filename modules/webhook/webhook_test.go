package webhook

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// The sign vector that the standard publishes, and the same at another time:
// https://github.com/standard-webhooks/standard-webhooks, libraries/go.
const (
	publishedKey  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	publishedID   = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	publishedBody = `{"test": 2432232314}`
	publishedTime = 1614265330
	publishedMAC  = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

	laterTime = 1767225600
	laterMAC  = "v1,YSwK2bI0/fTjbuD95nH0ZSZU7yo17QILDx7MiooXT6c="
	wrong     = "Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="
)

func TestStandardVectors(t *testing.T) {
	bare := strings.TrimPrefix(laterMAC, "v1,")
	tests := []struct {
		name               string
		id, at, signatures string // "-" = no header
		key                string // "" = publishedKey
		now                int64  // 0 = laterTime
		want               error
	}{
		{name: "good", signatures: laterMAC},
		{name: "key without prefix", signatures: laterMAC, key: strings.TrimPrefix(publishedKey, "whsec_")},
		{name: "published", at: "1614265330", signatures: publishedMAC, now: publishedTime},
		{name: "no ID", id: "-", signatures: laterMAC, want: ErrHeader},
		{name: "no timestamp", at: "-", signatures: laterMAC, want: ErrHeader},
		{name: "no signature", signatures: "-", want: ErrHeader},
		{name: "wrong", signatures: "v1," + wrong, want: ErrSignature},
		{name: "label alone", signatures: "v1,", want: ErrSignature},
		{name: "300 s old", signatures: laterMAC, now: laterTime + 300},
		{name: "301 s old", signatures: laterMAC, now: laterTime + 301, want: ErrTime},
		{name: "301 s ahead", signatures: laterMAC, now: laterTime - 301, want: ErrTime},
		{name: "good among others", signatures: "v1," + wrong + " v2," + wrong + " " + laterMAC + " v1," + wrong},
		{name: "unknown version", signatures: "v2," + bare, want: ErrSignature},
		{name: "HMAC as Ed25519", signatures: "v1a," + bare, want: ErrSignature},
		{name: "moved dot", id: publishedID + ".1767225600", at: publishedBody, signatures: laterMAC, want: ErrHeader},
		{name: "fraction", at: "1767225600.0", signatures: laterMAC, want: ErrHeader},
		{name: "space before", at: " 1767225600", signatures: laterMAC, want: ErrHeader},
		{name: "plus", at: "+1767225600", signatures: laterMAC, want: ErrHeader},
		{name: "zero before", at: "01767225600", signatures: laterMAC, want: ErrHeader},
		{name: "empty key", key: "whsec_", signatures: laterMAC, want: ErrKey},
		{name: "short key", key: "whsec_c2hvcnQ=", signatures: laterMAC, want: ErrKey},
		{name: "key that is no base64", key: "whsec_!", signatures: laterMAC, want: ErrKey},
		{name: "a thousand", signatures: strings.Repeat("v1,"+wrong+" ", 1000) + laterMAC, want: ErrHeader},
		{name: "as many as may be", signatures: strings.Repeat("v1,"+wrong+" ", MaxSignatures-1) + laterMAC},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := http.Header{}
			for name, values := range map[string][2]string{
				HeaderID: {test.id, publishedID}, HeaderTimestamp: {test.at, strconv.Itoa(laterTime)}, HeaderSignature: {test.signatures},
			} {
				value := values[0]
				if value == "" {
					value = values[1]
				}
				if value != "-" {
					h.Set(name, value)
				}
			}
			key, now := test.key, test.now
			if key == "" {
				key = publishedKey
			}
			if now == 0 {
				now = laterTime
			}
			v, err := NewVerifier(key)
			if err == nil {
				err = v.Verify(h, []byte(publishedBody), time.Unix(now, 0))
			}
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func secret(t testing.TB, hmacFill, seedFill byte) Secret {
	t.Helper()
	s, err := ParseSecret(append(bytes.Repeat([]byte{hmacFill}, 32), bytes.Repeat([]byte{seedFill}, 32)...))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What is wanted was made by another implementation of HMAC and Ed25519 (Node.js).
func TestSign(t *testing.T) {
	s := secret(t, 1, 2)
	for _, row := range []struct{ name, got, want string }{
		{"signatures", s.Sign("evt_1", time.Unix(1767225600, 999), []byte(`{"a":1}`)), "v1,Et8oQ+MzMGBfcVFS8D/OW6YDVrUst6vSZEF4k7X+MyU= " +
			"v1a,fBi9xx5b8OANK6DsiaG7hYNtwRrY3v3ub/AuUJNOpebVdDjVOfGb8ot9Pc1ogeTHnB2cOfwLD8jdd+A5w/gfAg=="},
		{"symmetric", s.Symmetric(), "whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="},
		{"public", s.Public(), "whpk_gTl3Dqh9F19Wo1Rmw0x+zMuNipG07jeiXfYPW4/Js5Q="},
		{"bytes", string(s.Bytes()), strings.Repeat("\x01", 32) + strings.Repeat("\x02", 32)},
	} {
		if row.got != row.want {
			t.Errorf("%s: got %s, want %s", row.name, row.got, row.want)
		}
	}
}

func delivery(id string, at time.Time, signature string) http.Header {
	h := http.Header{}
	h.Set(HeaderID, id)
	h.Set(HeaderTimestamp, strconv.FormatInt(at.Unix(), 10))
	h.Set(HeaderSignature, signature)
	return h
}

func TestRoundTripAndForgery(t *testing.T) {
	at := time.Unix(laterTime, 0)
	body := []byte(`{"a":1}`)
	fresh, old, other := secret(t, 1, 2), secret(t, 3, 4), secret(t, 5, 6)
	signature, err := Sign("evt_1", at, body, fresh, old)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(h http.Header, body []byte, keys ...string) error {
		v, err := NewVerifier(keys...)
		if err != nil {
			t.Fatal(err)
		}
		return v.Verify(h, body, at)
	}
	good := delivery("evt_1", at, signature)
	for _, s := range []Secret{fresh, old} {
		for _, key := range []string{s.Symmetric(), s.Public()} {
			if err := verify(good, body, key); err != nil {
				t.Errorf("a live secret's %s: got %v", key[:6], err)
			}
			if err := verify(good, body, other.Symmetric(), key); err != nil {
				t.Errorf("a live secret's %s among others: got %v", key[:6], err)
			}
		}
	}
	parts := strings.Split(signature, " ")
	doubled := delivery("evt_1", at, signature)
	doubled.Add(HeaderID, "evt_2")
	public, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(fresh.Public(), prefixPublic))
	if err != nil {
		t.Fatal(err)
	}
	underPublic := "v1," + base64.StdEncoding.EncodeToString(mac(public, content("evt_1", "1767225600", body)))
	forgeries := []struct {
		name string
		h    http.Header
		body string
		key  string
	}{
		{"another secret", good, string(body), other.Symmetric()},
		{"another public key", good, string(body), other.Public()},
		{"another body", good, `{"a":2}`, fresh.Symmetric()},
		{"another body, v1a", good, `{"a":2}`, fresh.Public()},
		{"no body", good, "", fresh.Symmetric()},
		{"another ID", delivery("evt_2", at, signature), string(body), fresh.Symmetric()},
		{"another time", delivery("evt_1", at.Add(time.Second), signature), string(body), fresh.Public()},
		{"v1 alone for a public key", delivery("evt_1", at, parts[0]), string(body), fresh.Public()},
		{"v1a alone for a symmetric key", delivery("evt_1", at, parts[1]), string(body), fresh.Symmetric()},
		{"labels exchanged", delivery("evt_1", at, "v1"+strings.TrimPrefix(parts[1], "v1a")), string(body), fresh.Public()},
		{"cut", delivery("evt_1", at, parts[1][:len(parts[1])-4]), string(body), fresh.Public()},
		{"an HMAC under the public key", delivery("evt_1", at, underPublic), string(body), fresh.Public()},
		{"two IDs", doubled, string(body), fresh.Symmetric()},
	}
	for _, f := range forgeries {
		if err := verify(f.h, []byte(f.body), f.key); !errors.Is(err, ErrSignature) && !errors.Is(err, ErrHeader) {
			t.Errorf("%s: got %v, want it refused", f.name, err)
		}
	}
	if err := (Verifier{}).Verify(good, body, at); !errors.Is(err, ErrKey) {
		t.Errorf("no keys: got %v, want %v", err, ErrKey)
	}
	if _, err := NewVerifier(); !errors.Is(err, ErrKey) {
		t.Errorf("new verifier without keys: got %v, want %v", err, ErrKey)
	}
}

func TestSignRefuses(t *testing.T) {
	s, at := secret(t, 1, 2), time.Unix(laterTime, 0)
	for _, row := range []struct {
		name    string
		id      string
		at      time.Time
		secrets []Secret
		want    error
	}{
		{"no secret", "evt_1", at, nil, ErrSecrets},
		{"three secrets", "evt_1", at, []Secret{s, s, s}, ErrSecrets},
		{"the zero secret", "evt_1", at, []Secret{s, {}}, ErrSecret},
		{"dot", "evt.1", at, []Secret{s}, ErrMessage},
		{"empty ID", "", at, []Secret{s}, ErrMessage},
		{"line break", "evt\r\n1", at, []Secret{s}, ErrMessage},
		{"long ID", strings.Repeat("x", maxID+1), at, []Secret{s}, ErrMessage},
		{"before 1970", "evt_1", time.Unix(-1, 0), []Secret{s}, ErrMessage},
	} {
		if got, err := Sign(row.id, row.at, nil, row.secrets...); !errors.Is(err, row.want) || got != "" {
			t.Errorf("%s: got %q, %v; want %v", row.name, got, err, row.want)
		}
	}
	if got := s.Sign("evt.1", at, nil); got != "" {
		t.Errorf("a dot in the ID: got %q, want nothing", got)
	}
}

func TestSecret(t *testing.T) {
	for _, n := range []int{0, 32, 63, 65} {
		if _, err := ParseSecret(make([]byte, n)); !errors.Is(err, ErrSecret) {
			t.Errorf("%d bytes: got %v, want %v", n, err, ErrSecret)
		}
	}
	if _, err := NewSecret(iotest.ErrReader(errors.New("no entropy"))); err == nil {
		t.Error("a secret without randomness")
	}
	a, err := NewSecret(nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewSecret(nil)
	if err != nil {
		t.Fatal(err)
	}
	if a.Symmetric() == b.Symmetric() || a.Public() == b.Public() {
		t.Error("two new secrets are the same")
	}
	again, err := ParseSecret(a.Bytes())
	if err != nil || again.Symmetric() != a.Symmetric() || again.Public() != a.Public() {
		t.Errorf("parsed again: another secret, %v", err)
	}
	a.Bytes()[0] ^= 1
	if again.Symmetric() != a.Symmetric() {
		t.Error("a caller changed the secret")
	}
	if z := (Secret{}); !z.IsZero() || z.Bytes() != nil || z.Symmetric() != "" || z.Public() != "" {
		t.Error("the zero secret has keys")
	}
}

func TestSecretPrintsNothing(t *testing.T) {
	s := secret(t, 'k', 's')
	v, err := NewVerifier(s.Symmetric(), s.Public())
	if err != nil {
		t.Fatal(err)
	}
	type hidden struct {
		s Secret
		v Verifier
	}
	type open struct{ S Secret }
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", slog.Any("secret", s), slog.Any("verifier", v), slog.Any("in", open{s}))
	texts := []string{logged.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		texts = append(texts, fmt.Sprintf(verb, s), fmt.Sprintf(verb, &s), fmt.Sprintf(verb, open{s}),
			fmt.Sprintf(verb, hidden{s, v}), fmt.Sprintf(verb, v))
	}
	for _, text := range texts {
		for _, leak := range []string{"kkkk", "6b6b", "107 107", "ssss", "a2tr", "c3Nz"} {
			if strings.Contains(text, leak) {
				t.Errorf("it printed %q", text)
			}
		}
	}
	if b, err := json.Marshal(open{s}); !errors.Is(err, ErrSecretMarshal) {
		t.Errorf("marshal: got %s, %v; want %v", b, err, ErrSecretMarshal)
	}
	if b, err := s.MarshalBinary(); !errors.Is(err, ErrSecretMarshal) {
		t.Errorf("marshal binary: got %s, %v; want %v", b, err, ErrSecretMarshal)
	}
}

// Nothing that is not signed verifies, whatever the headers look like.
func FuzzVerify(f *testing.F) {
	s := secret(f, 1, 2)
	at := time.Unix(laterTime, 0)
	v, err := NewVerifier(s.Symmetric(), s.Public())
	if err != nil {
		f.Fatal(err)
	}
	body := []byte(`{"a":1}`)
	signature := s.Sign("evt_1", at, body)
	f.Add("evt_1", "1767225600", signature, body)
	f.Add("evt_1.1", "1767225600", "v1,"+wrong, body)
	f.Add("", "", "", []byte(nil))
	f.Fuzz(func(t *testing.T, id, timestamp, signatures string, got []byte) {
		h := http.Header{HeaderID: {id}, HeaderTimestamp: {timestamp}, HeaderSignature: {signatures}}
		err := v.Verify(h, got, at)
		if err == nil && (id != "evt_1" || timestamp != "1767225600" || !bytes.Equal(got, body)) {
			t.Errorf("a forgery passed: %q %q %q %q", id, timestamp, signatures, got)
		}
	})
}
