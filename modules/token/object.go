package token

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxDepth = 8   // of nested objects and arrays
	maxText  = 255 // bytes of a claim that is logged or remembered: sub, client_id, jti
	// latest is the last second of the year 9999, in Unix seconds; a date after it
	// is a mistake.
	latest = 253402300799
)

var (
	errJSON     = errors.New("not one JSON object in UTF-8 whose names occur once")
	errDepth    = errors.New("nested too deep")
	errCaseFold = errors.New("two names of one object differ in case alone")
)

// object is a JSON object whose values are still text. Names are compared byte
// for byte, as RFC 7519 §10.1.1 and RFC 7515 §4 want.
type object map[string]jsontext.Value

// parseObject reads what must be one JSON object and nothing else. Names that
// occur twice are refused at every depth, since readers differ in which one they
// take; so are two names that differ in case alone, since there are readers to
// whom they are one. Its errors quote nothing.
func parseObject(b []byte) (object, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(b))
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != jsontext.KindBeginObject {
		return nil, errJSON
	}
	members, folded := object{}, map[string]struct{}{}
	for dec.PeekKind() == jsontext.KindString {
		tok, err := dec.ReadToken()
		if err != nil {
			return nil, errJSON
		}
		name, start := tok.String(), dec.InputOffset()
		if err := skip(dec); err != nil {
			return nil, err
		}
		if _, twice := folded[fold(name)]; twice {
			return nil, errCaseFold
		}
		folded[fold(name)] = struct{}{}
		members[name] = bytes.TrimLeft(b[start:dec.InputOffset()], " \t\r\n:")
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, errJSON
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errJSON
	}
	return members, nil
}

// skip reads one value, however many tokens it has.
func skip(dec *jsontext.Decoder) error {
	for outside := dec.StackDepth(); ; {
		if _, err := dec.ReadToken(); err != nil {
			return errJSON
		}
		switch depth := dec.StackDepth(); {
		case depth > maxDepth:
			return errDepth
		case depth == outside:
			return nil
		}
	}
}

// fold maps names that differ in case alone to one text.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		first := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			first = min(first, f)
		}
		return first
	}, name)
}

// text returns a member that must be a string where it is there.
func (o object) text(name string) (s string, there bool, err error) {
	v, there := o[name]
	if !there {
		return "", false, nil
	}
	s, err = unquote(v)
	if err != nil {
		return "", true, fmt.Errorf("%s is not a string", name)
	}
	return s, true, nil
}

// label is text that others may log or remember: of 1 to most bytes, without
// control characters. An absent one is "".
func (o object) label(name string, most int) (string, error) {
	s, there, err := o.text(name)
	if err != nil || !there {
		return "", err
	}
	if s == "" || len(s) > most || strings.ContainsFunc(s, unicode.IsControl) {
		return "", fmt.Errorf("%s is not of 1 to %d bytes without control characters", name, most)
	}
	return s, nil
}

// texts returns a member that must be an array of strings.
func (o object) texts(name string) ([]string, error) {
	values, err := elements(o[name])
	if err != nil {
		return nil, fmt.Errorf("%s is not an array of strings", name)
	}
	list := make([]string, len(values))
	for i, v := range values {
		if list[i], err = unquote(v); err != nil {
			return nil, fmt.Errorf("%s is not an array of strings", name)
		}
	}
	return list, nil
}

// date returns a NumericDate (RFC 7519 §2): seconds since 1970 in plain decimal
// digits, with a fraction of at most nine or none. A string, an exponent, a
// negative number and whatever lies beyond the year 9999 are no dates. An
// absent one is the zero time.
func (o object) date(name string) (time.Time, error) {
	v, there := o[name]
	if !there {
		return time.Time{}, nil
	}
	whole, fraction, _ := strings.Cut(string(v), ".")
	if strings.Trim(whole, "0123456789") != "" || strings.Trim(fraction, "0123456789") != "" || len(whole) > 12 || len(fraction) > 9 {
		return time.Time{}, fmt.Errorf("%s is not a number of seconds", name)
	}
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || seconds > latest {
		return time.Time{}, fmt.Errorf("%s is not a number of seconds before the year 10000", name)
	}
	nanos, err := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s is not a number of seconds", name)
	}
	return time.Unix(seconds, nanos), nil
}

// unquote reads a JSON string.
func unquote(v jsontext.Value) (string, error) {
	if v.Kind() != jsontext.KindString {
		return "", errJSON
	}
	s, err := jsontext.AppendUnquote(nil, v)
	return string(s), err
}

// elements splits a JSON array, which parseObject has found to be sound.
func elements(v jsontext.Value) ([]jsontext.Value, error) {
	if v.Kind() != jsontext.KindBeginArray {
		return nil, errJSON
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(v))
	if _, err := dec.ReadToken(); err != nil {
		return nil, errJSON
	}
	var list []jsontext.Value
	for dec.PeekKind() != jsontext.KindEndArray {
		e, err := dec.ReadValue()
		if err != nil {
			return nil, errJSON
		}
		list = append(list, e.Clone())
	}
	return list, nil
}
