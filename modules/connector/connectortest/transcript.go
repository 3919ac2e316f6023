package connectortest

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
	"golang.org/x/tools/txtar"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// The files of a transcript, in the order in which they are written.
const (
	fileCall     = "call.json"
	fileRequest  = "request.http"
	fileReadable = "request.txt"
	fileResponse = "response.http"
	fileResult   = "result.json"
	fileError    = "error.txt"
)

// transcript is one txtar file.
type transcript struct {
	name  string // without directory and extension
	path  string
	raw   []byte
	note  []byte
	files map[string][]byte
}

// load reads every transcript of dir, and fails where there is none: a test
// that runs nothing must not pass.
func load(tb testing.TB, dir string) []transcript {
	tb.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no transcripts in %s (%v)", dir, err)
	}
	all := make([]transcript, 0, len(paths))
	for _, path := range paths {
		raw, err := os.ReadFile(path) //nolint:gosec // the test's own folder
		if err != nil {
			tb.Fatal(err)
		}
		a := txtar.Parse(raw)
		t := transcript{
			name: strings.TrimSuffix(filepath.Base(path), ".txtar"),
			path: path, raw: raw, note: a.Comment, files: map[string][]byte{},
		}
		for _, f := range a.Files {
			if _, twice := t.files[f.Name]; twice {
				tb.Fatalf("%s: %s stands there twice", path, f.Name)
			}
			t.files[f.Name] = f.Data
		}
		if !strings.Contains(string(a.Comment), "Source: ") {
			tb.Errorf("%s: no Source: line in the comment: which document says so?", path)
		}
		all = append(all, t)
	}
	return all
}

// format writes the transcript with the files that are named, in order.
func (t transcript) format(order ...string) []byte {
	a := &txtar.Archive{Comment: t.note}
	for _, name := range order {
		if data, ok := t.files[name]; ok {
			a.Files = append(a.Files, txtar.File{Name: name, Data: data})
		}
	}
	return txtar.Format(a)
}

// callFile is call.json.
type callFile struct {
	Authorize *payment.Authorize `json:"authorize"`
	Capture   *payment.Capture   `json:"capture"`
	Void      *payment.Void      `json:"void"`
	Refund    *payment.GiveBack  `json:"refund"`
	Sync      *payment.Sync      `json:"sync"`

	Step      string            `json:"step"`
	Done      map[string]string `json:"done"`
	Reference string            `json:"reference"`
	Key       string            `json:"key"`
	BaseURL   string            `json:"base_url"`
	Livemode  bool              `json:"livemode"`
	Token     string            `json:"token"`
	Sent      time.Time         `json:"sent"`
	Now       time.Time         `json:"now"`
	Nonce     string            `json:"nonce"` // hex, 16 bytes
}

func (f callFile) operation() (payment.Operation, error) {
	var ops []payment.Operation
	if f.Authorize != nil {
		ops = append(ops, *f.Authorize)
	}
	if f.Capture != nil {
		ops = append(ops, *f.Capture)
	}
	if f.Void != nil {
		ops = append(ops, *f.Void)
	}
	if f.Refund != nil {
		ops = append(ops, *f.Refund)
	}
	if f.Sync != nil {
		ops = append(ops, *f.Sync)
	}
	if len(ops) != 1 {
		return nil, fmt.Errorf("%d operations, want one", len(ops))
	}
	return ops[0], nil
}

// parseCall reads call.json and fills in what it leaves out.
func parseCall(c connector.Connector, b []byte) (connector.Call, error) {
	var f callFile
	if err := json.Unmarshal(b, &f, json.RejectUnknownMembers(true)); err != nil {
		return connector.Call{}, err
	}
	op, err := f.operation()
	if err != nil {
		return connector.Call{}, err
	}
	call := connector.Call{
		Op: op, Step: f.Step, Done: f.Done, Reference: f.Reference, Key: f.Key, BaseURL: f.BaseURL,
		Livemode: f.Livemode, Sent: f.Sent, Now: f.Now,
	}
	if f.Token != "" {
		call.Token = connector.NewSecret(f.Token)
	}
	nonce, err := hex.DecodeString(f.Nonce)
	if err != nil || (len(nonce) != 0 && len(nonce) != len(call.Nonce)) {
		return connector.Call{}, errors.New("nonce is not 16 bytes in hex")
	}
	copy(call.Nonce[:], nonce)
	if steps := connector.StepsOf(c, op); call.Step == "" && len(steps) == 1 {
		call.Step = steps[0].Name
	}
	if call.Reference == "" {
		call.Reference = Reference
	}
	if call.Key == "" && op.Kind() != payment.KindSync {
		call.Key = Key
	}
	if call.Now.IsZero() {
		call.Now = Now()
	}
	if call.BaseURL == "" {
		call.BaseURL = c.Spec().TestURL
		if call.Livemode {
			call.BaseURL = c.Spec().LiveURL
		}
	}
	return call, nil
}

// parseHead reads "first line, headers, blank line, body". The newline with
// which a txtar file ends is not part of the body.
func parseHead(b []byte) (first string, h http.Header, body []byte, err error) {
	head, rest, _ := strings.Cut(string(b), "\n\n")
	lines := strings.Split(strings.TrimSuffix(head, "\n"), "\n")
	h = http.Header{}
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ": ")
		if !ok {
			return "", nil, nil, fmt.Errorf("header line %q has no colon", line)
		}
		h.Add(name, value)
	}
	return lines[0], h, []byte(strings.TrimSuffix(rest, "\n")), nil
}

// parseResponse reads response.http, whose first line is a bare status code.
func parseResponse(b []byte) (connector.Response, error) {
	first, h, body, err := parseHead(b)
	if err != nil {
		return connector.Response{}, err
	}
	status, err := strconv.Atoi(first)
	if err != nil || status < 100 || status > 599 {
		return connector.Response{}, fmt.Errorf("%q is not a status code", first)
	}
	return connector.Response{StatusCode: status, Header: h, Body: body}, nil
}

// marshal writes v as the goldens hold it: "omitempty" leaves out false and 0,
// as the tags of package connector mean it.
func marshal(v any) ([]byte, error) {
	b, err := json.Marshal(v, json.Deterministic(true), jsonv1.OmitEmptyWithLegacySemantics(true), jsontext.WithIndent("  "))
	return append(b, '\n'), err
}
