package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxRequest bounds the file of a request, in bytes: some times the largest body
// that the API takes.
const MaxRequest = 1 << 20

// ParseRequest reads a request as a JSON object of variables, by the names that
// conditions use and also card_number, test_card and proxy. What it leaves out is
// absent; its time is now. An error is an [*Error] that names file.
func ParseRequest(file string, data []byte, now time.Time) (*Input, error) {
	if len(data) > MaxRequest {
		return nil, &Error{[]*Fault{{file, 0, fmt.Sprintf("it has more than %d bytes", MaxRequest)}}}
	}
	d := jsontext.NewDecoder(bytes.NewReader(data))
	g := newGiven()
	if err := g.object(d); err != nil {
		offset := d.InputOffset()
		if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
			offset = syntax.ByteOffset
			err = fmt.Errorf("no JSON: %w", syntax.Err)
		} else if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("no JSON: it ends too early")
		}
		line := 1 + bytes.Count(data[:min(offset, int64(len(data)))], []byte("\n"))
		return nil, &Error{[]*Fault{{file, line, strings.Join(strings.Fields(err.Error()), " ")}}}
	}
	return g.input(now), nil
}

var errNoObject = errors.New("the request is a JSON object of variables")

// object reads the object and all that is behind it, which must be nothing.
func (g *given) object(d *jsontext.Decoder) error {
	if d.PeekKind() != '{' {
		if _, err := d.ReadToken(); err != nil {
			return err
		}
		return errNoObject
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		key := name.String()
		v, err := readValue(d)
		if err == nil {
			err = g.set(key, v)
		}
		if err != nil {
			if _, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
				return err
			}
			return fmt.Errorf("%.40s: %w", key, err)
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	switch _, err := d.ReadToken(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	default:
		return errors.New("there is something behind the object")
	}
}

func readValue(d *jsontext.Decoder) (value, error) {
	kinds := map[jsontext.Kind]kind{'"': kindText, '0': kindNumber, 't': kindBool, 'f': kindBool}
	k, ok := kinds[d.PeekKind()]
	switch {
	case ok:
		t, err := d.ReadToken()
		if err != nil {
			return value{}, err
		}
		return value{kind: k, text: t.String()}, nil
	case d.PeekKind() == '{':
		return readTable(d)
	default:
		return value{kind: kindOther}, d.SkipValue()
	}
}

func readTable(d *jsontext.Decoder) (value, error) {
	v := value{kind: kindTable, table: map[string]string{}}
	if _, err := d.ReadToken(); err != nil {
		return v, err
	}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return v, err
		}
		key := name.String()
		one, err := readValue(d)
		switch {
		case err != nil:
			return v, err
		case one.kind != kindText:
			return v, fmt.Errorf("the value of %.40q is no text", key)
		case len(v.table) == MaxList:
			return v, fmt.Errorf("there are more than %d entries", MaxList)
		}
		v.table[key] = one.text
	}
	_, err := d.ReadToken()
	return v, err
}
