package connectortest

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// sent is a request as it would go out.
type sent struct {
	Method string
	URL    string
	Header http.Header
	Body   []byte
}

// read empties a request. A nil Body and [http.NoBody] both yield no bytes.
func read(r *http.Request) (sent, error) {
	s := sent{Method: r.Method, URL: r.URL.String(), Header: r.Header}
	if r.Body == nil {
		return s, nil
	}
	var err error
	if s.Body, err = io.ReadAll(r.Body); err != nil {
		return s, fmt.Errorf("read the body: %w", err)
	}
	return s, r.Body.Close()
}

func (s sent) form() bool {
	return strings.HasPrefix(s.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
}

// dump writes the exact request: request.http. A form gets a line break before
// each "&", which no encoded form holds by itself.
func (s sent) dump() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s\n", s.Method, s.URL)
	for _, name := range slices.Sorted(maps.Keys(s.Header)) {
		for _, value := range s.Header[name] {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	if len(s.Body) == 0 {
		return b.Bytes()
	}
	body := s.Body
	if s.form() {
		body = bytes.ReplaceAll(body, []byte("&"), []byte("\n&"))
	}
	fmt.Fprintf(&b, "\n%s\n", body)
	return b.Bytes()
}

// readable writes query and body for the eye: request.txt. Nil where the
// request has neither.
func (s sent) readable() []byte {
	var b bytes.Buffer
	if u, err := url.Parse(s.URL); err == nil {
		writePairs(&b, "query", u.RawQuery)
	}
	switch {
	case len(s.Body) == 0:
	case s.form():
		writePairs(&b, "body", string(s.Body))
	default:
		v := jsontext.Value(bytes.Clone(s.Body))
		if err := v.Indent(jsontext.WithIndent("  ")); err != nil {
			fmt.Fprintf(&b, "body (not JSON) = %q\n", s.Body)
			break
		}
		fmt.Fprintf(&b, "%s\n", v)
	}
	return b.Bytes()
}

// writePairs writes a form in its own order, one decoded parameter a line.
func writePairs(b *bytes.Buffer, what, form string) {
	if form == "" {
		return
	}
	for pair := range strings.SplitSeq(form, "&") {
		name, value, _ := strings.Cut(pair, "=")
		fmt.Fprintf(b, "%s %s = %s\n", what, unescape(name), unescape(value))
	}
}

func unescape(s string) string {
	plain, err := url.QueryUnescape(s)
	if err != nil {
		return s + " (badly encoded)"
	}
	return strings.ReplaceAll(plain, "\n", `\n`)
}
