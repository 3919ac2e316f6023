package signature

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// Message is a request, as it is on the wire: nothing in it is decoded or tidied
// up, for a signature is over what was sent.
type Message struct {
	Method    string
	Scheme    string // "https" or "http"
	Authority string // Host or :authority, with its port if it has one
	Path      string // with its percent-encodings; "" is "/"
	RawQuery  string // what stands behind the first "?"
	HasQuery  bool   // there is a "?", with or without something behind it
	// Target is the request target of HTTP/1.1; "" where it is path and query.
	Target string
	Header http.Header // under canonical names, as net/http has them
	Body   []byte      // the whole content, before any decoding
}

// Response is what answers a [Message].
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// FromRequest describes a request that an http.Server received; body is what was
// read of it. A handler that rewrites the URL or the method must have kept the
// original. The scheme is that of the connection: where TLS ends elsewhere, say
// so in the result's Scheme, or do not sign @target-uri.
func FromRequest(r *http.Request, body []byte) Message {
	m := Message{Method: r.Method, Scheme: "http", Authority: r.Host, Header: r.Header, Body: body}
	if r.TLS != nil {
		m.Scheme = "https"
	}
	target := r.RequestURI
	if target == "" { // a request that was made here, not received
		target = r.URL.RequestURI()
	}
	m.setTarget(target)
	return m
}

// setTarget takes a request target apart (RFC 9112 §3.2).
func (m *Message) setTarget(target string) {
	rest := target
	if !strings.HasPrefix(target, "/") {
		m.Target = target
		_, after, absolute := strings.Cut(target, "://")
		i := strings.IndexAny(after, "/?")
		if !absolute || i < 0 { // "*" of OPTIONS, the authority of CONNECT, or no path
			return
		}
		rest = after[i:]
	}
	m.Path, m.RawQuery, m.HasQuery = strings.Cut(rest, "?")
}

func (m *Message) path() string {
	if m.Path == "" {
		return "/"
	}
	return m.Path
}

// authority is in lower case, and without the port that its scheme implies: RFC
// 9421 §2.2.3.
func (m *Message) authority() string {
	a := strings.ToLower(m.Authority)
	switch m.Scheme {
	case "https":
		a = strings.TrimSuffix(a, ":443")
	case "http":
		a = strings.TrimSuffix(a, ":80")
	}
	return a
}

// appendDerived appends the value of a derived component (RFC 9421 §2.2), but
// for @status and @query-param. It is false where a request has no such one.
func (m *Message) appendDerived(dst []byte, name string) ([]byte, bool) {
	switch name {
	case "@method":
		return append(dst, m.Method...), m.Method != ""
	case "@target-uri":
		dst = append(append(dst, m.Scheme...), "://"...)
		dst = append(append(dst, m.authority()...), m.path()...)
		return m.appendQuery(dst), m.Authority != ""
	case "@authority":
		return append(dst, m.authority()...), m.Authority != ""
	case "@scheme":
		return append(dst, m.Scheme...), m.Scheme != ""
	case "@request-target":
		if m.Target != "" {
			return append(dst, m.Target...), true
		}
		return m.appendQuery(append(dst, m.path()...)), true
	case "@path":
		return append(dst, m.path()...), true
	case "@query": // "?" also where there is none: §2.2.7
		return append(append(dst, '?'), m.RawQuery...), true
	default:
		return dst, false
	}
}

func (m *Message) appendQuery(dst []byte) []byte {
	if m.HasQuery || m.RawQuery != "" {
		dst = append(append(dst, '?'), m.RawQuery...)
	}
	return dst
}

// lines returns the lines of a field by its lower-case name. net/http keeps Host
// apart from the others.
func (m *Message) lines(name string) []string {
	if name == "host" && m.Authority != "" {
		return []string{m.Authority}
	}
	return m.Header[textproto.CanonicalMIMEHeaderKey(name)]
}

func (m *Message) has(header string) bool { return len(m.Header[header]) > 0 }

// queryParam returns the value of the one query parameter of that name, both in
// the form in which they are signed. It is false where there is none, or more
// than one (RFC 9421 §2.2.8), or where one cannot be told from another because
// it is not proper UTF-8 in proper percent-encoding.
func (m *Message) queryParam(name string) (value string, ok bool) {
	found := 0
	for pair := range strings.SplitSeq(m.RawQuery, "&") {
		if pair == "" {
			continue
		}
		k, v, _ := strings.Cut(pair, "=")
		key, err := recode(k)
		if err != nil {
			return "", false
		}
		if key != name {
			continue
		}
		if value, err = recode(v); err != nil {
			return "", false
		}
		found++
	}
	return value, found == 1
}

// recode decodes a name or value of application/x-www-form-urlencoded, and
// writes it percent-encoded, spaces too.
func recode(s string) (string, error) {
	plain, err := url.QueryUnescape(s)
	if err != nil {
		return "", err
	}
	if strings.ToValidUTF8(plain, "") != plain {
		return "", url.EscapeError(s)
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(plain) {
		c := plain[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("*-._", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String(), nil
}
