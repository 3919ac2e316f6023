package connectortest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/connector"
)

var update = flag.Bool("update", false, "write what the connector makes of the transcripts into them")

// requestsEnv names a directory that [Run] writes every request to.
const requestsEnv = "CONNECTORTEST_REQUESTS"

// Run plays every transcript of dir through c, one subtest each. Beyond the
// goldens it checks that
//
//   - a request goes to the account's address or to one of Spec.Hosts;
//   - every POST has a body, and no GET has one;
//   - the same call encodes to the same bytes, and under [connector.ByKey] so
//     does a repeat at another time with another nonce;
//   - an idempotency key is sent only where Spec.Idempotency counts on it;
//   - the result keeps the contract of package connector;
//   - no result and no error holds a secret (the exported [connector.Secret]
//     fields of c), the access token or the card number.
func Run(t *testing.T, c connector.Connector, dir string) {
	t.Helper()
	var out []byte
	for _, tr := range load(t, dir) {
		t.Run(tr.name, func(t *testing.T) {
			call, err := parseCall(c, tr.files[fileCall])
			if err != nil {
				t.Fatalf("%s: %v", fileCall, err)
			}
			line := play(t, c, call, tr)
			out = append(out, line...)
			golden(t, tr, fileCall, fileRequest, fileReadable, fileResponse, fileResult, fileError)
		})
	}
	if where := os.Getenv(requestsEnv); where != "" {
		path := filepath.Join(where, c.Spec().Name+".jsonl")
		if err := os.WriteFile(path, out, 0o600); err != nil { //nolint:gosec // G703: who runs the test names the folder
			t.Fatal(err)
		}
	}
}

// play does what the gateway would do with one call, and leaves the outcome in
// the transcript's files. It returns the request as a line of JSON.
func play(t *testing.T, c connector.Connector, call connector.Call, tr transcript) (line []byte) {
	t.Helper()
	for _, name := range []string{fileRequest, fileReadable, fileResult, fileError} {
		delete(tr.files, name)
	}
	if o, ok := c.(connector.Offline); ok {
		if r, done, err := o.Offline(call); done || err != nil {
			conclude(t, c, call, tr, "offline", r, err)
			return nil
		}
	}
	req, err := c.Encode(call)
	if err != nil {
		conclude(t, c, call, tr, "encode", connector.Result{}, err)
		return nil
	}
	for _, bad := range checkRequest(c, call, req) {
		t.Error("request: " + bad)
	}
	if req, err = c.Encode(call); err != nil {
		t.Fatalf("encode again: %v", err)
	}
	s, err := read(req)
	if err != nil {
		t.Fatal(err)
	}
	tr.files[fileRequest] = s.dump()
	if text := s.readable(); len(text) > 0 {
		tr.files[fileReadable] = text
	}
	line = requestLine(t, c.Spec().Name, s)
	answer, ok := tr.files[fileResponse]
	if !ok {
		t.Fatalf("no %s", fileResponse)
	}
	response, err := parseResponse(answer)
	if err != nil {
		t.Fatalf("%s: %v", fileResponse, err)
	}
	r, err := c.Decode(call, response)
	conclude(t, c, call, tr, "decode", r, err)
	return line
}

// conclude checks and notes what came of a call.
func conclude(t *testing.T, c connector.Connector, call connector.Call, tr transcript, what string, r connector.Result, err error) {
	t.Helper()
	if err != nil {
		tr.files[fileError] = fmt.Appendf(nil, "%s%s: %v\n", what, class(err), err)
		for _, bad := range checkLeaks(c, call, tr.files[fileError]) {
			t.Errorf("%s: %s", fileError, bad)
		}
		return
	}
	for _, bad := range checkResult(c, call, r) {
		t.Errorf("%s: %s", fileResult, bad)
	}
	b, err := marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range checkLeaks(c, call, b) {
		t.Errorf("%s: %s", fileResult, bad)
	}
	tr.files[fileResult] = b
}

// class names the sentinel that the engine would act on.
func class(err error) string {
	switch {
	case errors.Is(err, connector.ErrUnsupported):
		return " [ErrUnsupported]"
	case errors.Is(err, connector.ErrNotRepresentable):
		return " [ErrNotRepresentable]"
	case errors.Is(err, connector.ErrSignature):
		return " [ErrSignature]"
	default:
		return ""
	}
}

// golden compares the transcript with its file, or writes it.
func golden(t *testing.T, tr transcript, order ...string) {
	t.Helper()
	got := tr.format(order...)
	if string(got) == string(tr.raw) {
		return
	}
	if *update {
		if err := os.WriteFile(tr.path, got, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s has changed (-update writes it); -want +got:\n%s", tr.path, cmp.Diff(string(tr.raw), string(got)))
}

// requestLine is the request for an outside validator.
func requestLine(t *testing.T, psp string, s sent) []byte {
	t.Helper()
	headers := map[string]string{}
	for name := range s.Header {
		headers[name] = s.Header.Get(name)
	}
	line := struct {
		PSP     string            `json:"psp"`
		Method  string            `json:"method"`
		URL     string            `json:"url"`
		Headers map[string]string `json:"headers"`
		Body    string            `json:"body,omitempty"`
		Note    string            `json:"note,omitempty"`
	}{psp, s.Method, s.URL, headers, string(s.Body), t.Name()}
	b, err := json.Marshal(line, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}
