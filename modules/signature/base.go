package signature

import (
	"encoding/base64"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/dunglas/httpsfv"
)

// subject is what components are taken from: a request, or a response and the
// request that it answers.
type subject struct {
	request  *Message
	response *Response // nil while the request itself is the subject
}

// component is one covered component: a name, and parameters of RFC 9421 §2.1
// and §2.2.8. Two are the same whatever the order of their parameters.
type component struct {
	name        string
	sf, bs, req bool
	key         string // of a dictionary's member
	hasKey      bool
	param       string // of @query-param
	hasParam    bool
}

// plain is a component without parameters: the whole of what it names.
func plain(name string) component { return component{name: name} }

// ofRequest is the same component of the request that a response answers.
func (c component) ofRequest() component {
	c.req = true
	return c
}

func (c component) derived() bool { return strings.HasPrefix(c.name, "@") }

// fieldType is the structure of a structured field.
type fieldType uint8

const (
	dictionary fieldType = iota + 1
	list
	item
)

// structured lists fields whose structure is known, for the parameter sf. Only
// fields whose strict form says all that we read belong here: Idempotency-Key,
// which may be bare, does not.
var structured = map[string]fieldType{
	"accept-signature":    dictionary,
	"content-digest":      dictionary,
	"priority":            dictionary,
	"repr-digest":         dictionary,
	"signature":           dictionary,
	"signature-input":     dictionary,
	"want-content-digest": dictionary,
	"want-repr-digest":    dictionary,
}

// parseComponent reads a component identifier, and refuses what RFC 9421 §2.5
// does: what it does not know could change the meaning of the rest.
func parseComponent(i httpsfv.Item) (component, error) {
	name, ok := i.Value.(string)
	if !ok || !isComponentName(name) {
		return component{}, malformed("a component is no lower-case name in quotes")
	}
	c := component{name: name}
	for _, p := range i.Params.Names() {
		v, _ := i.Params.Get(p)
		text, isText := v.(string)
		known := false
		switch p {
		case "sf":
			c.sf, known = true, v == true && !c.derived()
		case "bs":
			c.bs, known = true, v == true && !c.derived()
		case "req":
			c.req, known = true, v == true
		case "key":
			c.key, c.hasKey, known = text, true, isText && !c.derived()
		case "name":
			c.param, c.hasParam, known = text, true, isText && name == "@query-param"
		case "tr":
			return c, malformed("component %q is of the trailers, which are not looked at", name)
		}
		if !known {
			return c, malformed("component %q has parameter %.40q, which does not belong there", name, p)
		}
	}
	if c.bs && (c.sf || c.hasKey) {
		return c, malformed("component %q has bs beside sf or key", name)
	}
	if name == "@query-param" && !c.hasParam {
		return c, malformed("@query-param needs a name")
	}
	return c, nil
}

// isComponentName takes field names in lower case (RFC 9110 §5.1), and the
// derived ones, whose list is checked where their values are taken.
func isComponentName(name string) bool {
	name = strings.TrimPrefix(name, "@")
	return name != "" && len(name) <= 128 && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// covered is the list of a signature's components.
type covered []component

func (c covered) has(want component) bool { return slices.Contains(c, want) }

// signatureBase builds what is signed (RFC 9421 §2.5), and returns the components
// that went into it.
func signatureBase(s subject, input httpsfv.InnerList) ([]byte, covered, error) {
	if len(input.Items) > MaxComponents {
		return nil, nil, malformed("more than %d components", MaxComponents)
	}
	base := make([]byte, 0, 1<<10)
	all := make(covered, 0, len(input.Items))
	for _, i := range input.Items {
		c, err := parseComponent(i)
		if err != nil {
			return nil, nil, err
		}
		if all.has(c) {
			return nil, nil, malformed("component %q occurs twice", c.name)
		}
		all = append(all, c)
		if base, err = appendIdentifier(base, i, c); err != nil {
			return nil, nil, err
		}
		base = append(base, ": "...)
		start := len(base)
		if base, err = c.appendValue(base, s); err != nil {
			return nil, nil, err
		}
		if !isPrintable(base[start:]) {
			return nil, nil, malformed("component %q holds other than printable ASCII", c.name)
		}
		base = append(base, '\n')
		if len(base) > MaxBase {
			return nil, nil, malformed("the components have more than %d bytes", MaxBase)
		}
	}
	params, err := httpsfv.Marshal(input)
	if err != nil {
		return nil, nil, malformed("the parameters cannot be written")
	}
	return append(append(base, `"@signature-params": `...), params...), all, nil
}

// appendIdentifier writes a component's identifier. A name needs no escapes.
func appendIdentifier(dst []byte, i httpsfv.Item, c component) ([]byte, error) {
	if c == plain(c.name) {
		return append(append(append(dst, '"'), c.name...), '"'), nil
	}
	text, err := httpsfv.Marshal(i)
	if err != nil {
		return nil, malformed("component %q cannot be written", c.name)
	}
	return append(dst, text...), nil
}

// isPrintable tells whether a value keeps to its line of the base, and to ASCII.
func isPrintable(value []byte) bool {
	for _, b := range value {
		if (b < ' ' && b != '\t') || b > '~' {
			return false
		}
	}
	return true
}

// appendValue appends the component's value (RFC 9421 §2).
func (c component) appendValue(dst []byte, s subject) ([]byte, error) {
	if c.req && s.response == nil {
		return nil, malformed("component %q has parameter req, which is for responses", c.name)
	}
	ofResponse := s.response != nil && !c.req
	switch {
	case !c.derived():
		lines := s.request.lines(c.name)
		if ofResponse {
			lines = s.response.Header[textproto.CanonicalMIMEHeaderKey(c.name)]
		}
		return c.appendField(dst, lines)
	case c.name == "@status" && ofResponse:
		return strconv.AppendInt(dst, int64(s.response.Status), 10), nil
	case ofResponse || c.name == "@status":
		return nil, malformed("component %q is not one of this kind of message", c.name)
	case c.name == "@query-param":
		if len(s.request.RawQuery) > MaxValue {
			return nil, malformed("the query is longer than %d bytes", MaxValue)
		}
		value, ok := s.request.queryParam(c.param)
		if !ok {
			return nil, malformed("@query-param: the query does not have exactly one parameter %.40q", c.param)
		}
		return append(dst, value...), nil
	}
	dst, ok := s.request.appendDerived(dst, c.name)
	if !ok {
		return nil, malformed("component %q does not exist", c.name)
	}
	return dst, nil
}

// appendField appends the value of a field (RFC 9421 §2.1).
func (c component) appendField(dst []byte, lines []string) ([]byte, error) {
	switch {
	case len(lines) == 0:
		return nil, malformed("component %q is not in the message", c.name)
	case size(lines) > MaxValue:
		return nil, malformed("component %q is longer than %d bytes", c.name, MaxValue)
	case c.hasKey:
		return c.appendMember(dst, lines)
	case c.sf:
		return c.appendStrict(dst, lines)
	}
	for i, line := range lines {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		line = textproto.TrimString(line)
		if c.bs {
			dst = append(dst, ':')
			dst = base64.StdEncoding.AppendEncode(dst, []byte(line))
			dst = append(dst, ':')
			continue
		}
		dst = append(dst, line...)
	}
	return dst, nil
}

// appendMember appends one member of a dictionary: RFC 9421 §2.1.2.
func (c component) appendMember(dst []byte, lines []string) ([]byte, error) {
	d, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil {
		return nil, malformed("component %q is no dictionary", c.name)
	}
	member, ok := d.Get(c.key)
	if !ok {
		return nil, malformed("component %q has no member %.40q", c.name, c.key)
	}
	return c.appendMarshal(dst, member)
}

// appendStrict appends a structured field in its one strict form: RFC 9421
// §2.1.1.
func (c component) appendStrict(dst []byte, lines []string) ([]byte, error) {
	var v httpsfv.StructuredFieldValue
	var err error
	switch structured[c.name] {
	case dictionary:
		v, err = httpsfv.UnmarshalDictionary(lines)
	case list:
		v, err = httpsfv.UnmarshalList(lines)
	case item:
		v, err = httpsfv.UnmarshalItem(lines)
	default:
		return nil, malformed("component %q has parameter sf, and is of no known structure", c.name)
	}
	if err != nil {
		return nil, malformed("component %q is not of its structure", c.name)
	}
	return c.appendMarshal(dst, v)
}

func (c component) appendMarshal(dst []byte, v httpsfv.StructuredFieldValue) ([]byte, error) {
	text, err := httpsfv.Marshal(v)
	if err != nil {
		return nil, malformed("component %q cannot be written in its strict form", c.name)
	}
	return append(dst, text...), nil
}
