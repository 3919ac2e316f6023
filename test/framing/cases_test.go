package framing

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// vector is one case of testdata.
type vector struct {
	ID, Suite, Level, Payload string
	Status                    any    `json:"expected_status"` // a number, a word, or nil
	Text                      string `json:"expected_text"`
	CloseOK                   bool   `json:"connection_close_ok"`
}

// waivers are the cases that do not behave, each with its reason. docs/http.md
// has them too. One that behaves after all fails the test.
var waivers = map[string]string{
	"RFC9112-5.1-OBS-FOLD": "RFC 9112 §5.2 lets a server replace a folded line by spaces, which net/http does before anybody sees it. " +
		"A folded Transfer-Encoding ends the connection like any other.",
	"SMUG-CHUNK-BARE-SEMICOLON":    chunkReason,
	"SMUG-CHUNK-EXT-INVALID-TOKEN": chunkReason,
	"SMUG-CHUNK-SIZE-TRAILING-OWS": chunkReason,
	"COMP-OPTIONS-ALLOW":           "OPTIONS is CORS's question, and CORS is off: 405 with Allow, which answers the other question too.",
}

const chunkReason = "net/http drops what follows a chunk's size unread. The size itself has one reading, and no request " +
	"follows a chunked one on its connection, so that nothing can be smuggled behind it."

const maxWaivers = 5

// rule is what a case may be answered with.
type rule struct {
	// statuses are those that are right; 2 stands for every 2xx.
	statuses []int
	// silent: it may also end without an answer.
	silent bool
	// refused: every refusal that ends the connection is right as well.
	refused bool
	// timeout: the message is not whole, and whoever does not wait for the rest may
	// say no for any reason.
	timeout bool
	// closes: an answer that is no refusal is right only if it ends the connection.
	closes bool
	check  func(*answer) string
}

var ok = []int{2}

// rules translates the words of the vectors. A refusal that is not a 2xx and ends
// the connection is what "close" means there.
var rules = map[string]rule{
	"400":        {statuses: []int{400}},
	"Range2xx":   {statuses: ok},
	"!101":       {statuses: []int{2, 400, 404, 405, 426}},
	"200 or 400": {statuses: []int{200, 400}},
	"200 or 416": {statuses: []int{200, 416}},
	"200 or 505": {statuses: []int{200, 505}},
	"204 without CL": {statuses: []int{2, 405}, check: func(a *answer) string {
		if a.StatusCode == http.StatusNoContent && a.Header.Get("Content-Length") != "" {
			return "204 with a Content-Length"
		}
		return ""
	}},
	"2xx (Range ignored)":      {statuses: ok},
	"2xx + 2xx":                {statuses: ok},
	"2xx + close":              {statuses: ok, closes: true},
	"2xx + echo":               {statuses: ok},
	"2xx preferred; 400 warns": {statuses: []int{2, 400}},
	"2xx with Allow header":    {statuses: ok, check: has("Allow")},
	"2xx with Content-Type":    {statuses: ok, check: has("Content-Type")},
	"2xx with Date header":     {statuses: ok, check: has("Date")},
	"2xx with no body": {statuses: ok, check: func(a *answer) string {
		if len(a.body) > 0 {
			return "HEAD with a body"
		}
		return ""
	}},
	"400 or 2xx":                      {statuses: []int{400, 2}},
	"400 or 2xx+close":                {statuses: []int{400, 2}, closes: true},
	"400 or 2xx/404":                  {statuses: []int{400, 2, 404}},
	"400 or close":                    {statuses: []int{400}, silent: true, refused: true},
	"400 or close (pass), 2xx (warn)": {statuses: []int{400, 2}, silent: true, refused: true},
	"400, or 2xx + close":             {statuses: []int{400, 2}, closes: true},
	"400, or close":                   {statuses: []int{400, 2}, silent: true, refused: true, closes: true},
	"400/405 or 200":                  {statuses: []int{400, 405, 200}},
	"400/405/501 or 2xx":              {statuses: []int{400, 405, 501, 2}},
	"400/405/501 or close":            {statuses: []int{400, 405, 501}, silent: true, refused: true},
	"400/501 or 2xx+close":            {statuses: []int{400, 501, 2}, closes: true},
	"400/501 or close":                {statuses: []int{400, 501}, silent: true, refused: true},
	"400/505 or close":                {statuses: []int{400, 505}, silent: true, refused: true},
	"400/close preferred; extra response on step 2 = warn": {statuses: []int{400, 2}, silent: true, refused: true},
	"400/close preferred; poisoned follow-up = warn":       {statuses: []int{400, 2, 405}, silent: true, refused: true},
	"400/close/pass-through; poisoned follow-up = warn":    {statuses: []int{400, 2, 405}, silent: true, refused: true},
	"417/400/close preferred; poisoned follow-up = warn":   {statuses: []int{417, 400, 2}, silent: true, refused: true},
	"400/close/timeout":            {statuses: []int{400}, silent: true, refused: true, timeout: true},
	"405 + Allow header":           {statuses: []int{405}, check: has("Allow")},
	"405/501 or 2xx":               {statuses: []int{405, 501, 2}},
	"405/501, or 200 without Auth": {statuses: []int{405, 501}},
	"406 or 2xx":                   {statuses: []int{406, 2}},
	"415 or 2xx":                   {statuses: []int{415, 2}},
	"417 or 2xx":                   {statuses: []int{417, 2}},
	"501/405/400 or close":         {statuses: []int{400, 405, 501}, silent: true, refused: true},
	"IMF-fixdate format": {statuses: ok, check: func(a *answer) string {
		if _, err := time.Parse(http.TimeFormat, a.Header.Get("Date")); err != nil {
			return err.Error()
		}
		return ""
	}},
	"non-101 (426 preferred)": {statuses: []int{2, 400, 404, 426}},
	"non-1xx response":        {statuses: []int{2, 400, 417}},
	"Reject/drop (pass), normalize (fail), preserve (warn)":        {statuses: []int{400, 2}},
	"Reject/drop (pass), normalize casing (fail), preserve (warn)": {statuses: []int{400, 2}, silent: true},
}

func has(field string) func(*answer) string {
	return func(a *answer) string {
		if a.Header.Get(field) == "" {
			return "without " + field
		}
		return ""
	}
}

// rule is the case's own.
func (v vector) rule(t *testing.T) rule {
	t.Helper()
	words := v.Text
	if v.Status != nil {
		words = fmt.Sprint(v.Status)
	}
	r, known := rules[words]
	if !known {
		t.Fatalf("%s expects %q, for which there is no rule", v.ID, words)
	}
	if v.CloseOK {
		r.silent, r.refused = true, true
	}
	return r
}

// coded tells a message that bears a Transfer-Encoding in any spelling that some
// server might take for one; none may be followed by another request.
var coded = regexp.MustCompile(`(?i)\r\ntransfer-encoding[ \t]*:`)

// trailing has bytes behind its message on purpose; what follows is poisoned by
// the test itself.
func (v vector) trailing() bool { return v.ID == "SMUG-CL0-BODY-POISON" }

// variant is one way of sending all cases.
type variant struct {
	name string
	// host is what stands for {{HOST}}.
	host string
	// adapt makes a payload of another one; nil = as it is.
	adapt func(*gateway, vector, string) string
	alpn  string
	// missing: "/" is no resource, so that 404 from the API stands for 2xx.
	missing bool
}

// TestCases sends every case, as it is and addressed to real resources.
func TestCases(t *testing.T) {
	g := open(t)
	cases := readVectors(t)
	if len(waivers) > maxWaivers {
		t.Errorf("there are %d waivers, want at most %d", len(waivers), maxWaivers)
	}
	before := g.payments(t)
	var mu sync.Mutex
	failed := map[string]bool{}
	t.Run("all", func(t *testing.T) {
		for _, way := range []variant{
			{name: "as it is", host: g.plain, missing: true},
			{name: "real", host: g.plain, adapt: (*gateway).real},
			{name: "real over TLS", host: g.secure, adapt: (*gateway).real, alpn: "http/1.1"},
		} {
			for _, v := range cases {
				t.Run(way.name+"/"+v.ID, func(t *testing.T) {
					t.Parallel()
					why := g.judge(t, way, v)
					reason, waived := waivers[v.ID]
					switch {
					case why == "":
					case waived:
						mu.Lock()
						failed[v.ID] = true
						mu.Unlock()
						t.Logf("waived: %s (%s)", why, reason)
					default:
						t.Errorf("%s (level %s, wants %v %q)", why, v.Level, v.Status, v.Text)
					}
				})
			}
		}
	})
	for id := range waivers {
		if !failed[id] {
			t.Errorf("the waiver of %s is no longer needed", id)
		}
	}
	if after := g.payments(t); after != before {
		t.Errorf("there are %d payments after the cases, %d before", after, before)
	}
}

func readVectors(t *testing.T) []vector {
	t.Helper()
	b, err := os.ReadFile("testdata/http11probe_cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []vector }
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) < 150 {
		t.Fatalf("there are %d cases, want 154", len(file.Cases))
	}
	for id := range waivers {
		if !slices.ContainsFunc(file.Cases, func(v vector) bool { return v.ID == id }) {
			t.Errorf("the waiver of %s is for no case", id)
		}
	}
	return file.Cases
}

// judge sends a case and says what is wrong with the answer, or "".
func (g *gateway) judge(t *testing.T, way variant, v vector) string {
	t.Helper()
	payload := strings.ReplaceAll(v.Payload, "{{HOST}}", way.host)
	if way.adapt != nil {
		payload = way.adapt(g, v, payload)
	}
	c := g.connect(t, way.alpn)
	if _, err := io.WriteString(c, payload); err != nil && !ended(err) {
		t.Fatal(err)
	}
	br := bufio.NewReader(c)
	method, _, _ := strings.Cut(strings.TrimLeft(payload, "\r\n"), " ")
	r := v.rule(t)
	a := next(t, br, method)
	if a == nil {
		if r.silent {
			return ""
		}
		return "the connection ended without an answer"
	}
	open := !a.Close && a.ProtoAtLeast(1, 1)
	if why := g.reuse(t, v, c, br, open); why != "" {
		return why
	}
	return r.judge(way, method, a, open)
}

// reuse sends a second request, and looks whether it is answered where it must be
// or must not.
func (g *gateway) reuse(t *testing.T, v vector, c io.Writer, br *bufio.Reader, open bool) string {
	t.Helper()
	if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: "+g.plain+"\r\nConnection: close\r\n\r\n"); err != nil && !ended(err) {
		t.Fatal(err)
	}
	if !open {
		if !closed(t, br) {
			return "something came after the last answer"
		}
		return ""
	}
	second := next(t, br, http.MethodGet)
	switch {
	case v.trailing():
		return ""
	case coded.MatchString(v.Payload):
		return "a request with a Transfer-Encoding may be followed by another"
	case second == nil || second.StatusCode != http.StatusOK && second.StatusCode != http.StatusMisdirectedRequest:
		return "the connection is open, and the next request on it is not answered"
	case !closed(t, br):
		return "there are more answers than requests"
	}
	return ""
}

// refusals are the statuses by which a message is refused as such.
var refusals = []int{400, 408, 413, 414, 417, 431, 501, 505}

func (r rule) judge(way variant, method string, a *answer, open bool) string {
	status := a.StatusCode
	has := func(s int) bool { return slices.Contains(r.statuses, s) }
	switch {
	case has(status), status/100 == 2 && has(2):
	case status == http.StatusMethodNotAllowed && method == http.MethodOptions && has(2) && r.check == nil:
		// The message was taken; that nothing takes OPTIONS is another case's.
	case way.missing && status == http.StatusNotFound && a.Header.Get("Request-Id") != "" && (has(2) || has(200) || has(405)):
		// There is nothing at "/". The API's own word for that proves that the message
		// was taken, which is all that a 2xx would say; what else it should have is
		// for the other variants.
		r.check = nil
	case status == http.StatusNotImplemented && has(400): // RFC 9112 §6.1: a coding that is not understood
	case r.refused && !open && slices.Contains(refusals, status):
	case r.refused && !open && r.timeout && status/100 != 2:
	default:
		return "answered " + a.Status
	}
	if r.closes && open {
		return "answered " + a.Status + ", and the connection is open"
	}
	if r.check != nil {
		return r.check(a)
	}
	return ""
}

var (
	root  = regexp.MustCompile(`^((?:\r\n)*[A-Za-z]+[ \t]+(?:http://[^/ ]+)?)/(?:echo)?([ \t])`)
	hello = regexp.MustCompile(`hello[-! a-z]*|(\r\n) world`)
)

// real addresses a payload to a resource: POST to the cancellation of a payment
// that is canceled already, whose first answer the Idempotency-Key brings back
// whatever the white space in its body; everything else to /healthz.
func (g *gateway) real(v vector, payload string) string {
	if !strings.HasPrefix(payload, "POST ") {
		return root.ReplaceAllString(payload, "${1}/healthz${2}")
	}
	head, body, _ := strings.Cut(payload, "\r\n\r\n")
	head = root.ReplaceAllString(head, "${1}/v1/payments/"+g.canceled+"/cancel${2}")
	line, fields, _ := strings.Cut(head, "\r\n")
	ours := "Authorization: Bearer " + g.key + "\r\nIdempotency-Key: " + canceledKey + "\r\n"
	if !strings.Contains(fields, "Content-Type: ") {
		ours += "Content-Type: application/json\r\n"
	}
	// Content-Type is among the trailers of one case.
	return line + "\r\n" + ours + fields + "\r\n\r\n" + object(body)
}

// object turns the text of a body, in however many chunks, into an empty JSON
// object of the same length.
func object(body string) string {
	b := []byte(body)
	spans := hello.FindAllStringIndex(body, -1)
	for i, at := range spans {
		if b[at[0]] == '\r' {
			at[0] += 2
		}
		for n := at[0]; n < at[1]; n++ {
			b[n] = ' '
		}
		if i == 0 {
			b[at[0]] = '{'
		}
		if i == len(spans)-1 {
			b[at[1]-1] = '}'
		}
	}
	return string(b)
}
