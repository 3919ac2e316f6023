package transport

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

const (
	maxErrorText  = 300 // bytes of an error's text that are kept
	minSecretText = 4   // shorter values would blot out half of any text
	maxSecretWalk = 4   // how deep credentials may lie in a connector's struct
)

// Error is what went wrong, in words that may be logged. What caused it is not
// kept: only which of the known sentinels it was.
type Error struct {
	text    string
	is      []error
	timeout bool
}

// Error returns the redacted text.
func (e *Error) Error() string { return e.text }

// Unwrap lists the known errors that this one is, for errors.Is.
func (e *Error) Unwrap() []error { return e.is }

// Timeout tells that time ran out.
func (e *Error) Timeout() bool { return e.timeout }

// sentinels are the errors that survive redaction.
var sentinels = []error{
	connector.ErrUnsupported, connector.ErrNotRepresentable,
	ErrHost, ErrBusy, ErrTooLarge, ErrIntegrity, ErrNotRepeatable, ErrRejected, ErrOpen,
	context.DeadlineExceeded, context.Canceled, os.ErrDeadlineExceeded,
}

// redact makes err fit to be seen. A connector may have quoted anything in it.
func (r *run) redact(err error) error {
	if err == nil {
		return nil
	}
	e := &Error{text: cleanText(err.Error(), r.secrets())}
	for _, s := range sentinels {
		if errors.Is(err, s) {
			e.is = append(e.is, s)
		}
	}
	var n net.Error
	e.timeout = errors.As(err, &n) && n.Timeout()
	return e
}

// secrets lists what may not be seen: the connector's credentials, the token,
// the payer's card and code, and what the request's header bears of them.
func (r *run) secrets() []string {
	s := credentials(reflect.ValueOf(r.account.Connector), nil, maxSecretWalk)
	s = append(s, r.call.Token.Reveal())
	if a, ok := r.call.Op.(payment.Authorize); ok {
		s = append(s, a.Method.AuthCode.Reveal(), a.Method.Token)
		if a.Method.Card != nil {
			s = append(s, a.Method.Card.Number.Reveal())
		}
	}
	if r.req != nil {
		for _, v := range r.req.header.Values("Authorization") {
			_, credential, _ := strings.Cut(v, " ")
			s = append(s, credential)
		}
	}
	return s
}

// credentials collects the secrets in a connector's exported fields: those are
// what can be configured.
func credentials(v reflect.Value, found []string, depth int) []string {
	if !v.IsValid() || depth < 0 {
		return found
	}
	if v.CanInterface() {
		if s, ok := reflect.TypeAssert[connector.Secret](v); ok {
			return append(found, s.Reveal())
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return credentials(v.Elem(), found, depth)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				found = credentials(v.Field(i), found, depth-1)
			}
		}
	case reflect.Slice, reflect.Array:
		if k := v.Type().Elem().Kind(); k == reflect.Struct || k == reflect.Pointer || k == reflect.Interface {
			for i := range v.Len() {
				found = credentials(v.Index(i), found, depth-1)
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			found = credentials(it.Value(), found, depth-1)
		}
	default:
	}
	return found
}

// credentialText is a credential as a header bears it, in whatever encoding.
var credentialText = regexp.MustCompile(`(?i)\b(Basic|Bearer|Digest) [^\s"',]+`)

var urlText = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>]+`)

// cleanText strips user and query of every URL, every secret, everything that
// looks like a credential or a card number, and control characters, and cuts
// the rest.
func cleanText(s string, secrets []string) string {
	for _, secret := range secrets {
		if len(secret) < minSecretText {
			continue
		}
		for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			s = strings.ReplaceAll(s, form, payment.Redacted)
		}
	}
	s = urlText.ReplaceAllStringFunc(s, bareURL)
	s = credentialText.ReplaceAllString(s, "$1 "+payment.Redacted)
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	s = payment.MaskPANs(s)
	if len(s) > maxErrorText {
		s = strings.ToValidUTF8(s[:maxErrorText], "") + "…"
	}
	return s
}

func bareURL(s string) string {
	s, _, _ = strings.Cut(s, "?")
	s, _, _ = strings.Cut(s, "#")
	scheme, rest, _ := strings.Cut(s, "://")
	authority, path, slash := strings.Cut(rest, "/")
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		authority = authority[at+1:]
	}
	if slash {
		path = "/" + path
	}
	return scheme + "://" + authority + path
}
