package signature

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"time"

	"github.com/dunglas/httpsfv"
)

// label is that of our signatures, where nobody asks for another.
const label = "sig1"

// SignRequest signs a request as RFC 9421 has it, over all that p requires: it
// sets Content-Digest where there is a body, Signature-Input and Signature, and
// leaves the rest alone. The nonce is one of [NewNonce], or 8 … 128 visible
// ASCII characters that were never used with this key.
func SignRequest(m *Message, k SigningKey, p Profile, created time.Time, nonce string) error {
	if !isNonce(nonce) {
		return fmt.Errorf("%w: a nonce is %d … %d visible characters", ErrMessage, MinNonce, MaxNonce)
	}
	if p == FAPI && k.public.algorithm == HMACSHA256 {
		return fmt.Errorf("%w: profile fapi takes no key of %s", ErrKey, HMACSHA256)
	}
	if m.Header == nil {
		m.Header = http.Header{}
	}
	all := covered{plain("@method"), plain("@target-uri")}
	for _, f := range whenSent {
		if m.has(f.header) {
			all = append(all, plain(f.component))
		}
	}
	if len(m.Body) > 0 {
		setDigest(m.Header, m.Body)
		for _, f := range withBody {
			all = append(all, plain(f.component))
		}
	}
	input := newInput(all, k, created, nonce, p.requestTag())
	return sign(subject{request: m}, input, k, label, m.Header)
}

// SignResponse signs a response as RFC 9421 §2.4 has it, bound to the request that
// it answers: it sets Content-Digest where there is a body, Signature-Input and
// Signature. Where the request itself was signed, its signature is covered too,
// and with it its nonce: so the response cannot serve for another request.
// [WantsSignature] says which label and nonce the caller asks for; both may be
// empty.
func SignResponse(req *Message, r *Response, k SigningKey, p Profile, created time.Time, w Wish) error {
	if p == FAPI && k.public.algorithm == HMACSHA256 {
		return fmt.Errorf("%w: profile fapi takes no key of %s", ErrKey, HMACSHA256)
	}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	if len(r.Body) > 0 {
		setDigest(r.Header, r.Body)
	}
	if w.Label == "" {
		w.Label = label
	}
	input := newInput(responseComponents(req, r), k, created, w.Nonce, p.responseTag())
	return sign(subject{req, r}, input, k, w.Label, r.Header)
}

// responseComponents are what the signature of a response covers, and must
// cover.
func responseComponents(req *Message, r *Response) covered {
	all := covered{plain("@status")}
	for _, f := range withBody {
		if len(r.Header[f.header]) > 0 {
			all = append(all, plain(f.component))
		}
	}
	all = append(all, plain("@method").ofRequest(), plain("@target-uri").ofRequest())
	for _, f := range []struct{ header, component string }{
		{HeaderDigest, "content-digest"},
		{HeaderSignature, "signature"},
		{HeaderInput, "signature-input"},
		{HeaderSimple, "purser-signature"},
	} {
		if req.has(f.header) {
			all = append(all, plain(f.component).ofRequest())
		}
	}
	return all
}

// VerifyResponse checks that a response answers req, and was signed with k just
// now, over all that [SignResponse] covers. Where req asks for a nonce by
// Accept-Signature, the response must repeat it. Its errors are those of
// [Verify].
func VerifyResponse(req *Message, r *Response, k Key, p Profile, now time.Time) (Result, error) {
	if p == FAPI && k.algorithm == HMACSHA256 {
		return Result{}, invalid("profile fapi takes no key of %s", HMACSHA256)
	}
	s, err := findSignature(r.Header, k.id)
	if err != nil {
		return Result{}, err
	}
	result, err := s.params(k, p.maxAge(), now)
	if err != nil {
		return Result{}, err
	}
	if tag := p.responseTag(); result.Tag != tag {
		return Result{}, invalid("tag must be %q", tag)
	}
	if w, ok := WantsSignature(req.Header); ok && w.Nonce != result.Nonce {
		return Result{}, invalid("nonce is not the one that was asked for")
	}
	base, all, err := signatureBase(subject{req, r}, s.input)
	if err != nil {
		return Result{}, err
	}
	if len(r.Body) > 0 && len(r.Header[HeaderDigest]) == 0 {
		return Result{}, invalid("a signed body needs %s", HeaderDigest)
	}
	for _, c := range responseComponents(req, r) {
		if !all.has(c) {
			return Result{}, invalid("it does not cover %s", c)
		}
	}
	if err := CheckDigest(r.Header, r.Body); err != nil {
		return Result{}, err
	}
	if !k.verify(base, s.bytes) {
		return Result{}, invalid("it was made with another key, or over another message")
	}
	return result, nil
}

// String writes a component as RFC 9421's text does.
func (c component) String() string {
	if c.req {
		return c.name + ";req"
	}
	return c.name
}

// newInput makes the list of components and parameters of a signature.
func newInput(all covered, k SigningKey, created time.Time, nonce, tag string) httpsfv.InnerList {
	input := httpsfv.InnerList{Params: httpsfv.NewParams()}
	for _, c := range all {
		i := httpsfv.NewItem(c.name)
		if c.req {
			i.Params.Add("req", true)
		}
		input.Items = append(input.Items, i)
	}
	input.Params.Add("created", created.Unix())
	if nonce != "" {
		input.Params.Add("nonce", nonce)
	}
	input.Params.Add("keyid", k.public.id)
	if tag != "" {
		input.Params.Add("tag", tag)
	}
	return input
}

// sign sets Signature-Input and Signature in h. Those of others that were there
// are gone.
func sign(s subject, input httpsfv.InnerList, k SigningKey, label string, h http.Header) error {
	if k.IsZero() {
		return fmt.Errorf("%w: there is none", ErrKey)
	}
	base, _, err := signatureBase(s, input)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMessage, err)
	}
	signature, err := k.sign(base)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	inputs := httpsfv.NewDictionary()
	inputs.Add(label, input)
	text, err := httpsfv.Marshal(inputs)
	if err != nil {
		return fmt.Errorf("%w: the parameters cannot be written", ErrMessage)
	}
	h.Set(HeaderInput, text)
	h.Set(HeaderSignature, label+"=:"+base64.StdEncoding.EncodeToString(signature)+":")
	return nil
}
