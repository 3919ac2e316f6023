package api

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/purser-pay/purser/modules/payment"
)

const (
	maxBody  = 64 << 10 // bytes
	maxDepth = 32       // of nested objects and arrays
	// firstRead is what is made room for before a byte has come, in bytes: most
	// bodies fit into it.
	firstRead = 4 << 10
)

var strict = json.RejectUnknownMembers(true)

// readBody reads a body under the cap. A length that is announced is believed
// where it is too much, so that nothing need be read to refuse it.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	tooLarge := payment.Errorf(payment.CodeBodyTooLarge, "A body has at most %d bytes.", maxBody)
	if r.ContentLength > maxBody {
		return nil, tooLarge
	}
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	var buf bytes.Buffer
	if r.ContentLength > 0 {
		buf.Grow(min(int(r.ContentLength), firstRead) + bytes.MinRead) // what is announced may never come
	}
	if _, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
		clear(buf.Bytes())
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, tooLarge
		}
		return nil, payment.Errorf(payment.CodeInvalidRequest, "The body ended early.")
	}
	return buf.Bytes(), nil
}

// skipBody refuses a body that nobody will look at as one of any other call: if it
// is too large, or ends early. One of a known length is left to net/http.
func skipBody(w http.ResponseWriter, r *http.Request) error {
	if r.ContentLength >= 0 && r.ContentLength <= maxBody {
		return nil
	}
	body, err := readBody(w, r)
	clear(body)
	return err
}

// checkContentType takes application/json, with charset=utf-8 or without, and
// no content coding.
func checkContentType(h http.Header) error {
	fields := h["Content-Type"]
	if len(fields) == 1 && len(h["Content-Encoding"]) == 0 {
		if fields[0] == contentJSON {
			return nil
		}
		media, params, err := mime.ParseMediaType(fields[0])
		charset, given := params["charset"]
		if err == nil && media == contentJSON && (len(params) == 0 || len(params) == 1 && given && strings.EqualFold(charset, "utf-8")) {
			return nil
		}
	}
	return payment.Errorf(payment.CodeUnsupportedMediaType, "Send Content-Type: application/json, in UTF-8 and without Content-Encoding.")
}

// decode reads the request's body into dst, a pointer to a struct. An absent
// body, which has no byte at all, is an empty object where optional is set.
func (rq *request) decode(dst any, optional bool) (scanned, error) {
	if len(rq.body) == 0 {
		if !optional {
			return scanned{}, payment.Errorf(payment.CodeInvalidJSON, "This call needs a body.")
		}
		rq.body = []byte("{}")
	} else if err := checkContentType(rq.http.Header); err != nil {
		return scanned{}, err
	}
	sc, err := scan(rq.body)
	if err != nil {
		return scanned{}, err
	}
	if err := json.Unmarshal(rq.body, dst, strict); err != nil {
		return scanned{}, decodeError(err)
	}
	if rq.unread != nil { // the policies saw less than we do
		return scanned{}, decodeError(rq.unread)
	}
	return sc, nil
}

// scanned is what a first look at a body found.
type scanned struct {
	// cvcs are the members that hold a card's verification code, in the order
	// of the body. Where one of the two is null, a valid body has both.
	cvcs []span
}

// span bounds a member in a body, from the quote of its name to the end of its
// value, in bytes.
type span struct{ start, end int }

// scan reads a body as JSON without knowing its meaning: one object, no member
// twice, sound UTF-8, not too deep, and no card number but where a payment
// method has its own.
func scan(body []byte) (scanned, error) {
	var (
		dec   = jsontext.NewDecoder(bytes.NewBuffer(body))
		out   scanned
		pan   jsontext.Pointer
		found bool
		inCVC bool // between the name cvc and its value
		other bool // than an object
	)
	for first := true; ; first = false {
		before := dec.InputOffset()
		tok, err := dec.ReadToken()
		if err != nil {
			return scanned{}, syntaxError(err, dec.StackPointer())
		}
		depth := dec.StackDepth()
		switch tok.Kind() {
		case jsontext.KindBeginObject, jsontext.KindBeginArray:
			if depth > maxDepth {
				return scanned{}, &payment.Error{Code: payment.CodeInvalidJSON, Param: dotted(dec.StackPointer()), Detail: "The body is nested too deep."}
			}
		case jsontext.KindString:
			s := tok.String()
			if s == "cvc" && !inCVC && depth <= 3 && isCVC(dec.StackPointer()) {
				inCVC = true
				out.cvcs = append(out.cvcs, span{start: int(before) + bytes.IndexByte(body[before:], '"')})
				continue
			}
			if !found && looksLikePAN(s) {
				if p := dec.StackPointer(); !mayHoldDigits(p) {
					pan, found = p, true
				}
			}
		default: // numbers, literals and ends hold nothing to look at
		}
		if first {
			other = tok.Kind() != jsontext.KindBeginObject
		}
		if inCVC { // this token is its value; a value of more tokens is refused later
			inCVC, out.cvcs[len(out.cvcs)-1].end = false, int(dec.InputOffset())
		}
		if depth == 0 {
			break
		}
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return scanned{}, payment.Errorf(payment.CodeInvalidJSON, "There is something after the JSON value.")
	}
	if other { // it is JSON, as far as it goes
		return scanned{}, payment.Errorf(payment.CodeInvalidRequest, "The body is not a JSON object.")
	}
	if found {
		return scanned{}, panNotAllowed(dotted(pan))
	}
	return out, nil
}

// syntaxError says where a text stops being JSON. The decoder's own words may
// quote the text, so they are not used.
func syntaxError(err error, at jsontext.Pointer) error {
	pe := payment.Errorf(payment.CodeInvalidJSON, "The body is not valid JSON.")
	if se, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if se.JSONPointer != "" {
			at = se.JSONPointer
		}
		if errors.Is(se.Err, jsontext.ErrDuplicateName) {
			pe.Detail = "The field is there twice."
		}
	}
	pe.Param = dotted(at)
	return pe
}

// decodeError says which field is unknown or of the wrong type.
func decodeError(err error) error {
	se, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return syntaxError(err, "")
	}
	param := dotted(se.JSONPointer)
	if errors.Is(se.Err, json.ErrUnknownName) {
		return payment.Invalid(param, "There is no field of this name.")
	}
	return payment.Invalid(param, "The field must be %s.", wanted(se.GoType))
}

func wanted(t reflect.Type) string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == nil:
		return "of another type"
	case t.Kind() == reflect.String, t == reflect.TypeFor[payment.Sensitive]():
		return "a string"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Slice:
		return "a list"
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		return "an integer, written without fraction and exponent"
	default:
		return "an object"
	}
}

// dotted writes a JSON pointer the way merchants know fields:
// "payment_method.number".
func dotted(p jsontext.Pointer) string {
	var b strings.Builder
	for token := range p.Tokens() {
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(token)
	}
	return b.String()
}
