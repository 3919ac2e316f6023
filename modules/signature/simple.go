package signature

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The lengths of the simple scheme's nonce, in characters of [A-Za-z0-9_-].
const (
	MinSimpleNonce = 16
	MaxSimpleNonce = 64
)

// maxSimpleTime bounds t: 12 digits reach into the year 33658.
const maxSimpleTime = 12

// simpleHeader is the value of Purser-Signature, taken apart.
type simpleHeader struct {
	t, n    string
	created time.Time
	mac     [sha256.Size]byte
}

// parseSimple takes "t=UNIX,n=NONCE,v1=HEX" and nothing else: no spaces, no other
// order, no capitals. Whoever has to guess could be made to guess wrong.
func parseSimple(lines []string) (s simpleHeader, err error) {
	if len(lines) != 1 || len(lines[0]) > maxSimple {
		return s, malformed("there is more than one Purser-Signature, or it is too long")
	}
	t, rest, okT := strings.Cut(lines[0], ",n=")
	n, sum, okN := strings.Cut(rest, ",v1=")
	t, okV := strings.CutPrefix(t, "t=")
	if !okT || !okN || !okV {
		return s, malformed("Purser-Signature is not t=UNIX,n=NONCE,v1=HEX")
	}
	seconds, err := strconv.ParseInt(t, 10, 64)
	if err != nil || len(t) > maxSimpleTime || strconv.FormatInt(seconds, 10) != t || seconds < 0 {
		return s, malformed("t is no time in seconds")
	}
	if !isSimpleNonce(n) {
		return s, malformed("n must be %d … %d characters of A-Z a-z 0-9 _ -", MinSimpleNonce, MaxSimpleNonce)
	}
	if len(sum) != 2*len(s.mac) || strings.ToLower(sum) != sum {
		return s, malformed("v1 is not %d lower-case hexadecimal digits", 2*len(s.mac))
	}
	if _, err := hex.Decode(s.mac[:], []byte(sum)); err != nil {
		return s, malformed("v1 is not %d lower-case hexadecimal digits", 2*len(s.mac))
	}
	s.t, s.n, s.created = t, n, time.Unix(seconds, 0)
	return s, nil
}

func isSimpleNonce(n string) bool {
	return len(n) >= MinSimpleNonce && len(n) <= MaxSimpleNonce && !strings.ContainsFunc(n, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-'
	})
}

// simpleBase is what the simple scheme signs: eight lines, none of which can hold
// a line's end.
func simpleBase(m *Message, t, n string) ([]byte, error) {
	key := ""
	switch lines := m.Header[headerIdempotencyKey]; len(lines) {
	case 0:
	case 1:
		key = strings.Trim(lines[0], " \t")
	default:
		return nil, malformed("there is more than one %s", headerIdempotencyKey)
	}
	sum := sha256.Sum256(m.Body)
	base := make([]byte, 0, 512)
	for _, line := range []string{t, n, m.Method, strings.ToLower(m.Authority), m.path(), m.RawQuery, key} {
		if len(line) > MaxValue {
			return nil, malformed("a signed part has more than %d bytes", MaxValue)
		}
		start := len(base)
		base = append(base, line...)
		if !isPrintable(base[start:]) {
			return nil, malformed("a signed part holds other than printable ASCII")
		}
		base = append(base, '\n')
	}
	return hex.AppendEncode(base, sum[:]), nil
}

func verifySimple(m *Message, k Key, p Profile, now time.Time) (Result, error) {
	if k.algorithm != HMACSHA256 || p == FAPI {
		return Result{}, invalid("Purser-Signature is for keys of %s, and not in profile fapi", HMACSHA256)
	}
	s, err := parseSimple(m.Header[HeaderSimple])
	if err != nil {
		return Result{}, err
	}
	if err := checkTime(s.created, p.maxAge(), now); err != nil {
		return Result{}, err
	}
	base, err := simpleBase(m, s.t, s.n)
	if err != nil {
		return Result{}, err
	}
	if err := CheckDigest(m.Header, m.Body); err != nil {
		return Result{}, err
	}
	if !k.verify(base, s.mac[:]) {
		return Result{}, invalid("it was made with another key, or over another message")
	}
	return Result{Scheme: Simple, KeyID: k.id, Nonce: s.n, Created: s.created, Remember: remember(s.created)}, nil
}

// SignSimple returns the value of [HeaderSimple] for a request. The key must be
// one of HMAC, and the nonce one of [NewNonce], or of the scheme's characters.
func SignSimple(m *Message, k SigningKey, created time.Time, nonce string) (string, error) {
	if k.IsZero() || k.public.algorithm != HMACSHA256 {
		return "", fmt.Errorf("%w: the simple scheme needs one of %s", ErrKey, HMACSHA256)
	}
	if !isSimpleNonce(nonce) || created.Unix() < 0 {
		return "", fmt.Errorf("%w: the nonce or the time cannot be written", ErrMessage)
	}
	t := strconv.FormatInt(created.Unix(), 10)
	base, err := simpleBase(m, t, nonce)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrMessage, err)
	}
	sum, err := k.sign(base)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return "t=" + t + ",n=" + nonce + ",v1=" + hex.EncodeToString(sum), nil
}
