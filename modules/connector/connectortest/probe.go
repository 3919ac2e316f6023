package connectortest

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// probing is a connector with a probe.
type probing interface {
	connector.Connector
	connector.Prober
}

// RunProbe plays every transcript of dir through c's probe, one subtest each. A
// transcript is one of [Run], whose call.json names no operation, reference or
// key, and whose result.json is a [connector.Probe]. The requests go to
// NAME.probe.jsonl where [Run] writes its own.
func RunProbe(t *testing.T, c probing, dir string) {
	t.Helper()
	var out []byte
	for _, tr := range load(t, dir) {
		t.Run(tr.name, func(t *testing.T) {
			call, err := parseProbe(c, tr.files[fileCall])
			if err != nil {
				t.Fatalf("%s: %v", fileCall, err)
			}
			out = append(out, playProbe(t, c, call, tr)...)
			golden(t, tr, fileCall, fileRequest, fileReadable, fileResponse, fileResult, fileError)
		})
	}
	if where := os.Getenv(requestsEnv); where != "" {
		path := filepath.Join(where, c.Spec().Name+".probe.jsonl")
		if err := os.WriteFile(path, out, 0o600); err != nil { //nolint:gosec // G703: who runs the test names the folder
			t.Fatal(err)
		}
	}
}

// parseProbe reads call.json, which may be empty.
func parseProbe(c connector.Connector, b []byte) (connector.Call, error) {
	var f struct {
		BaseURL  string `json:"base_url"`
		Livemode bool   `json:"livemode"`
		Token    string `json:"token"`
	}
	if err := json.Unmarshal(b, &f, json.RejectUnknownMembers(true)); err != nil {
		return connector.Call{}, err
	}
	call := connector.Call{BaseURL: f.BaseURL, Livemode: f.Livemode, Now: Now()}
	if f.Token != "" {
		call.Token = connector.NewSecret(f.Token)
	}
	if call.BaseURL == "" {
		call.BaseURL = c.Spec().TestURL
		if call.Livemode {
			call.BaseURL = c.Spec().LiveURL
		}
	}
	return call, nil
}

// prober speaks the probe as if it were a query, so that what holds for every
// request is checked of it, too.
type prober struct {
	connector.Connector
	probe connector.Prober
}

// Encode builds the probe's request.
func (p prober) Encode(c connector.Call) (*http.Request, error) {
	c.Op = nil
	return p.probe.EncodeProbe(c)
}

// playProbe asks, and leaves what was learned in the transcript's files. It
// returns the request as a line of JSON.
func playProbe(t *testing.T, c probing, call connector.Call, tr transcript) (line []byte) {
	t.Helper()
	for _, name := range []string{fileRequest, fileReadable, fileResult, fileError} {
		delete(tr.files, name)
	}
	note := func(what string, err error) {
		tr.files[fileError] = fmt.Appendf(nil, "%s%s: %v\n", what, class(err), err)
		for _, bad := range checkLeaks(c, call, tr.files[fileError]) {
			t.Errorf("%s: %s", fileError, bad)
		}
	}
	req, err := c.EncodeProbe(call)
	if err != nil {
		note("encode", err)
		return nil
	}
	asked := call
	asked.Op = payment.Sync{}
	for _, bad := range checkRequest(prober{c, c}, asked, req) {
		t.Error("request: " + bad)
	}
	if req, err = c.EncodeProbe(call); err != nil {
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
	response, err := parseResponse(tr.files[fileResponse])
	if err != nil {
		t.Fatalf("%s: %v", fileResponse, err)
	}
	p, err := c.DecodeProbe(call, response)
	if err != nil {
		note("decode", err)
		return line
	}
	if p.Detail == "" {
		t.Errorf("%s: no detail: by what is it known?", fileResult)
	}
	b, err := marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range checkLeaks(c, call, b) {
		t.Errorf("%s: %s", fileResult, bad)
	}
	tr.files[fileResult] = b
	return line
}
