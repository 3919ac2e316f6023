package framing

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Check returns why a request is refused, or nil. It looks at the head alone.
func (l Limits) Check(r *http.Request) *Problem {
	if !knownMethod(r.Method) { // TRACE and CONNECT among them
		return refusal(http.StatusMethodNotAllowed, "", "Nothing here takes this method.")
	}
	if p := checkTarget(r); p != nil {
		return p
	}
	if n := l.fields(); countFields(r.Header) > n {
		return refusal(http.StatusRequestHeaderFieldsTooLarge, "", fmt.Sprintf("A request has at most %d header fields.", n))
	}
	if p := checkProtocol(r); p != nil {
		return p
	}
	return checkFields(r)
}

// methods are those that a resource of the gateway may have, each for its own.
var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

// allowed is told to who asks by another method for what no door has.
const allowed = "DELETE, GET, HEAD, PATCH, POST, PUT"

func knownMethod(m string) bool { return slices.Contains(methods, m) }

func countFields(h http.Header) int {
	n := 0
	for _, lines := range h {
		n += len(lines)
	}
	return n
}

// hopByHop are the fields that speak of one connection of HTTP/1 and make a
// message of HTTP/2 or 3 malformed (RFC 9113 §8.2.2, RFC 9114 §4.2).
var hopByHop = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade"}

// checkProtocol refuses what the version of HTTP does not allow.
func checkProtocol(r *http.Request) *Problem {
	if r.ProtoMajor >= 2 {
		for _, name := range hopByHop {
			if len(r.Header[name]) > 0 {
				return refusal(http.StatusBadRequest, name, "The field does not exist in this version of HTTP.")
			}
		}
		if te := r.Header["Te"]; len(te) > 1 || len(te) == 1 && te[0] != "" && te[0] != "trailers" {
			return refusal(http.StatusBadRequest, "TE", "In this version of HTTP the field says trailers or nothing.")
		}
		return nil
	}
	if r.ProtoMinor == 0 && (r.ContentLength != 0 || len(r.TransferEncoding) > 0) {
		// RFC 9112 §6.1: with a Transfer-Encoding its framing is faulty, and net/http
		// removes that field before anybody can see it.
		return refusal(http.StatusBadRequest, "", "A request of HTTP/1.0 has no body here. Send HTTP/1.1.")
	}
	return nil
}

// checkFields refuses fields that are there more than once or ask for what is
// not done. Authorization and Idempotency-Key are the door's own, which has
// errors of its own for them.
func checkFields(r *http.Request) *Problem {
	if len(r.Header["Content-Type"]) > 1 {
		return refusal(http.StatusBadRequest, "Content-Type", "The field is there more than once.")
	}
	if r.ContentLength != 0 && compressed(r.Header["Content-Encoding"]) {
		return refusal(http.StatusUnsupportedMediaType, "Content-Encoding", "Send the body as it is: compressed ones are not taken.")
	}
	// Over HTTP/1, net/http has looked at it already.
	if e := r.Header["Expect"]; len(e) > 0 && (len(e) > 1 || !strings.EqualFold(e[0], "100-continue")) {
		return refusal(http.StatusExpectationFailed, "Expect", "The field says 100-continue or nothing.")
	}
	return nil
}

// codings are the content codings that exist (IANA, "HTTP Content Coding
// Registry"), and their aliases, but identity. A word that is none of them, as
// some PSPs write there, changes nothing: bodies are taken as they came.
var codings = map[string]bool{
	"aes128gcm": true, "br": true, "compress": true, "dcb": true, "dcz": true, "deflate": true, "exi": true,
	"gzip": true, "pack200-gzip": true, "x-compress": true, "x-gzip": true, "zstd": true,
}

func compressed(lines []string) bool {
	for _, line := range lines {
		for coding := range strings.SplitSeq(line, ",") {
			if codings[strings.ToLower(strings.Trim(coding, " \t"))] {
				return true
			}
		}
	}
	return false
}
