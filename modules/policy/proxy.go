package policy

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Bounds of a pattern of calls.
const (
	maxPattern = 512 // bytes
	maxStars   = 8
)

// methods are what a call may be.
var methods = []string{"DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"}

// pattern is calls that may be passed through, such as "GET /v1/charges*". A star
// stands for any run of characters of one segment, and at the end for all that
// follows, slashes included.
type pattern struct {
	method   string
	segments []string // of the path, without the slash before each
	open     bool     // ends with a star
}

func parsePattern(s string) (pattern, error) {
	method, p, ok := strings.Cut(s, " ")
	switch {
	case len(s) > maxPattern:
		return pattern{}, fmt.Errorf("a call has more than %d bytes", maxPattern)
	case !ok || !slices.Contains(methods, method):
		return pattern{}, fmt.Errorf("%.60q is no call such as \"GET /v1/charges*\"; methods are %s", s, strings.Join(methods, " "))
	case strings.Count(p, "*") > maxStars:
		return pattern{}, fmt.Errorf("%.60q has more than %d stars", s, maxStars)
	case strings.Contains(p, "**"):
		return pattern{}, fmt.Errorf("%.60q has two stars side by side; one at the end stands for all that follows", s)
	case !plainPath(strings.ReplaceAll(p, "*", "x")):
		return pattern{}, fmt.Errorf("%.60q is no plain path: no dot segments, empty segments, queries or encoded slashes", s)
	}
	return pattern{method, strings.Split(p[1:], "/"), strings.HasSuffix(p, "*")}, nil
}

// matches compares a call, byte by byte as it would be sent. What a server might
// read as another path matches nothing.
func (p pattern) matches(call string) bool {
	method, rest, ok := strings.Cut(call, " ")
	if !ok || method != p.method || !plainPath(rest) {
		return false
	}
	rest, more := rest[1:], true // behind the slash that it begins with
	for _, want := range p.segments {
		if !more {
			return false
		}
		var got string
		got, rest, more = strings.Cut(rest, "/")
		if !glob(want, got) {
			return false
		}
	}
	return !more || p.open
}

// glob matches a whole text. After a failure only the last star is tried again, so
// that the work is at most the product of both lengths.
func glob(want, got string) bool {
	star, from, w, g := -1, 0, 0, 0
	for g < len(got) {
		switch {
		case w < len(want) && want[w] == '*':
			star, from = w, g
			w++
		case w < len(want) && want[w] == got[g]:
			w++
			g++
		case star >= 0:
			from++
			w, g = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(want[w:], "*") == ""
}

// plainPath tells whether a raw path can only be read in one way: visible ASCII
// that begins with a slash, without dot segments (also in front of a ;), empty
// segments, queries and fragments, backslashes, and without the percent-encoded
// forms of dots, slashes, backslashes, percent and control characters.
func plainPath(p string) bool {
	if !strings.HasPrefix(p, "/") {
		return false
	}
	for i := range len(p) {
		switch c := p[i]; {
		case c <= ' ' || c >= 0x7f || c == '\\' || c == '?' || c == '#' || c == '*':
			return false
		case c == '%':
			if i+2 >= len(p) || !harmless(p[i+1], p[i+2]) {
				return false
			}
		}
	}
	segments := p[1:]
	for segments != "" {
		segment, rest, _ := strings.Cut(segments, "/")
		name, _, _ := strings.Cut(segment, ";")
		if name == "" || name == "." || name == ".." {
			return false
		}
		segments = rest
	}
	return true
}

// harmless tells whether an encoded byte is one that no reader of paths gives a
// meaning.
func harmless(hi, lo byte) bool {
	var b [1]byte
	if _, err := hex.Decode(b[:], []byte{hi, lo}); err != nil {
		return false
	}
	return b[0] >= ' ' && !strings.ContainsRune("./\\%;?#\x7f", rune(b[0]))
}
