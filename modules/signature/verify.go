package signature

import (
	"net/http"
	"time"

	"github.com/dunglas/httpsfv"
)

// Verify checks that a request is signed with k, in either scheme, over all that
// p requires, and just now. Its errors are [ErrMalformed], [ErrInvalid] and
// [ErrDigest].
//
// Of several signatures the one counts whose keyid is k's, whatever its label;
// the others neither help nor harm. Two with that keyid are malformed: which of
// them is meant would be for the sender of the last one to choose. Both schemes
// in one request are malformed too.
//
// That the nonce is new is for the caller to find out, after Verify.
func Verify(m *Message, k Key, p Profile, now time.Time) (Result, error) {
	rfc, simple := hasRFC(m.Header), m.has(HeaderSimple)
	switch {
	case rfc && simple:
		return Result{}, malformed("there is both Purser-Signature and Signature; send one")
	case simple:
		return verifySimple(m, k, p, now)
	case !rfc:
		return Result{}, invalid("the request is not signed")
	}
	if p == FAPI && k.algorithm == HMACSHA256 {
		return Result{}, invalid("profile fapi takes no key of %s", HMACSHA256)
	}
	s, err := findSignature(m.Header, k.id)
	if err != nil {
		return Result{}, err
	}
	r, err := s.params(k, p.maxAge(), now)
	if err != nil {
		return Result{}, err
	}
	if tag := p.requestTag(); tag != "" && r.Tag != tag {
		return Result{}, invalid("tag must be %q in profile %s", tag, p)
	}
	base, all, err := signatureBase(subject{request: m}, s.input)
	if err != nil {
		return Result{}, err
	}
	if err := checkCoverage(m, all, p); err != nil {
		return Result{}, err
	}
	if !isNonce(r.Nonce) {
		return Result{}, invalid("nonce must be %d … %d visible characters", MinNonce, MaxNonce)
	}
	if err := CheckDigest(m.Header, m.Body); err != nil {
		return Result{}, err
	}
	if !k.verify(base, s.bytes) {
		return Result{}, invalid("it was made with another key, or over another message")
	}
	r.Remember = remember(r.Created)
	return r, nil
}

// whenSent are headers that must be covered where they are there. More than one
// line of any of them could be read in two ways.
var whenSent = []struct{ header, component string }{
	{headerAuthorization, "authorization"},
	{headerIdempotencyKey, "idempotency-key"},
	{headerDPoP, "dpop"},
}

// withBody are those that must be covered, and must be there, where there is a
// body.
var withBody = []struct{ header, component string }{
	{headerContentType, "content-type"},
	{HeaderDigest, "content-digest"},
}

// checkCoverage looks for the components that must be covered: as they are, for
// a parameter may leave out a part of them.
func checkCoverage(m *Message, all covered, p Profile) error {
	if !all.has(plain("@method")) {
		return invalid("it does not cover @method")
	}
	parts := p != FAPI && all.has(plain("@authority")) && all.has(plain("@path")) && all.has(plain("@query"))
	if !all.has(plain("@target-uri")) && !parts {
		return invalid("it does not cover @target-uri")
	}
	for _, f := range whenSent {
		if !m.has(f.header) {
			continue
		}
		if len(m.Header[f.header]) > 1 {
			return malformed("there is more than one %s", f.header)
		}
		if !all.has(plain(f.component)) {
			return invalid("it does not cover %s", f.component)
		}
	}
	if len(m.Body) == 0 {
		return nil
	}
	for _, f := range withBody {
		if !m.has(f.header) {
			return invalid("a signed body needs %s", f.header)
		}
		if !all.has(plain(f.component)) {
			return invalid("it does not cover %s", f.component)
		}
	}
	if len(m.Header[headerContentType]) > 1 {
		return malformed("there is more than one %s", headerContentType)
	}
	return nil
}

// signed is one signature of a message.
type signed struct {
	label string
	input httpsfv.InnerList
	bytes []byte
}

// findSignature returns the one signature of a message that names the key.
func findSignature(h http.Header, keyID string) (signed, error) {
	inputs, err := readDictionary(h, HeaderInput)
	if err != nil {
		return signed{}, err
	}
	signatures, err := readDictionary(h, HeaderSignature)
	if err != nil {
		return signed{}, err
	}
	var found signed
	for _, label := range inputs.Names() {
		member, _ := inputs.Get(label)
		input, ok := member.(httpsfv.InnerList)
		if !ok {
			continue // whoever it is from, it names no key
		}
		id, _ := input.Params.Get("keyid")
		switch {
		case id != keyID: // a value of another type too
			continue
		case found.label != "":
			return signed{}, malformed("two signatures name the same key")
		}
		found = signed{label: label, input: input}
	}
	if found.label == "" {
		return signed{}, invalid("none names the signing key of this credential as its keyid")
	}
	member, ok := signatures.Get(found.label)
	if !ok {
		return signed{}, malformed("Signature has no member that Signature-Input names")
	}
	i, _ := member.(httpsfv.Item)
	if found.bytes, ok = i.Value.([]byte); !ok {
		return signed{}, malformed("a member of Signature is no byte sequence between colons")
	}
	return found, nil
}

func readDictionary(h http.Header, name string) (*httpsfv.Dictionary, error) {
	lines := h[name]
	switch {
	case len(lines) == 0:
		return nil, malformed("there is no %s", name)
	case size(lines) > MaxField:
		return nil, malformed("%s is longer than %d bytes", name, MaxField)
	}
	d, err := httpsfv.UnmarshalDictionary(lines)
	switch {
	case err != nil:
		return nil, malformed("%s is no dictionary of RFC 9651", name)
	case len(d.Names()) > MaxSignatures:
		return nil, malformed("more than %d signatures", MaxSignatures)
	}
	return d, nil
}

// params reads the parameters of a signature (RFC 9421 §2.3), and checks those
// which every message must bear.
func (s signed) params(k Key, maxAge time.Duration, now time.Time) (Result, error) {
	r := Result{Scheme: RFC9421, KeyID: k.id, Label: s.label}
	alg := string(k.algorithm)
	for _, p := range []struct {
		name string
		to   *string
	}{{"nonce", &r.Nonce}, {"tag", &r.Tag}, {"alg", &alg}} {
		v, ok := s.input.Params.Get(p.name)
		if !ok {
			continue
		}
		if *p.to, ok = v.(string); !ok {
			return r, malformed("%s is no string", p.name)
		}
	}
	if alg != string(k.algorithm) {
		return r, invalid("alg is not that of the key, %s", k.algorithm)
	}
	v, ok := s.input.Params.Get("created")
	if !ok {
		return r, invalid("created is missing")
	}
	created, isInt := v.(int64)
	if !isInt || created < 0 {
		return r, malformed("created is no time in seconds")
	}
	r.Created = time.Unix(created, 0)
	if err := checkTime(r.Created, maxAge, now); err != nil {
		return r, err
	}
	if v, ok = s.input.Params.Get("expires"); !ok {
		return r, nil
	}
	expires, isInt := v.(int64)
	switch {
	case !isInt || expires < 0:
		return r, malformed("expires is no time in seconds")
	case now.After(time.Unix(expires, 0)):
		return r, invalid("it has expired")
	}
	return r, nil
}

func checkTime(created time.Time, maxAge time.Duration, now time.Time) error {
	switch age := now.Sub(created); {
	case age > maxAge:
		return invalid("it was created more than %d s ago, by our clock", int(maxAge.Seconds()))
	case age < -MaxAhead:
		return invalid("it was created more than %d s in the future, by our clock", int(MaxAhead.Seconds()))
	}
	return nil
}
