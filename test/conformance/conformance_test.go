// Package conformance has no code. Its test holds every request that our
// connectors make against the PSPs' own machine-readable descriptions.
//
// The descriptions, and the validator that reads them, are not part of this
// repository: they lie in a folder that PURSER_SHARED names, by default
// ../shared beside it. "make conformance" runs the test; its first run builds
// the validator, which takes minutes, and keeps it in the user's cache.
package conformance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

const root = "../.." // of the repository

// edition says which description of a PSP our connector follows, where the
// validator's own list has another, and which further addresses of it our
// transcripts use.
type edition struct {
	bases []string // in addition to those of the list
	spec  string   // in the place of those of the list
}

var editions = map[string]edition{
	"adyen": {
		bases: []string{
			"https://checkout-test.adyen.com/v72",
			"https://1797a841fbb37ca7-Purser-checkout-live.adyenpayments.com/checkout/v72",
			"http://127.0.0.1:12180/adyen/v72", // the simulator
		},
		spec: "../specs/adyen/checkout-v72.json",
	},
	"stripe": {bases: []string{"http://127.0.0.1:12180/stripe"}}, // the simulator
}

// broken makes of a request one that no description can allow: without such
// a one a validator that takes everything would pass.
var broken = map[string][2]string{
	"stripe": {"amount=", "amuont="},
	"adyen":  {"merchantAccount", "merchantAcount"},
	"alipay": {"out_trade_no", "out_trade_on"},
}

func TestRequests(t *testing.T) {
	if os.Getenv("PURSER_CONFORMANCE") == "" {
		t.Skip("skipped: the validator takes minutes to build; make conformance runs this test")
	}
	shared := os.Getenv("PURSER_SHARED")
	if shared == "" {
		shared = filepath.Join(root, "..", "shared")
	}
	source, err := filepath.Abs(filepath.Join(shared, "psp", "validate"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(source); err != nil {
		t.Skipf("skipped: the PSPs' descriptions are not there; PURSER_SHARED names their folder: %v", err)
	}
	validator, manifest := build(t, source), manifest(t, source)
	for connector, lines := range requests(t) {
		t.Run(connector, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), connector+".jsonl")
			if err := os.WriteFile(file, expectations(t, connector, lines), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), validator, "-q", "-manifest", manifest, "-specs", source, file)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v:\n%s", err, out)
			}
			t.Logf("%s", bytes.TrimSpace(out))
		})
	}
}

// manifest writes the validator's list of PSPs with our editions in it.
func manifest(t *testing.T, source string) (file string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(source, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list map[string]map[string]any
	if err := json.Unmarshal(raw, &list); err != nil {
		t.Fatal(err)
	}
	for psp, e := range editions {
		entry := list[psp]
		if entry == nil {
			t.Fatalf("the validator's list has no %s", psp)
		}
		bases, _ := entry["bases"].([]any)
		for _, base := range e.bases {
			bases = append(bases, base)
		}
		entry["bases"] = bases
		if e.spec != "" {
			entry["specs"] = []map[string]string{{"file": e.spec}}
		}
	}
	if raw, err = json.Marshal(list); err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "manifest.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// requests lets the connectors' own tests write what they send, and reads it:
// the lines of each connector.
func requests(t *testing.T) map[string][][]byte {
	t.Helper()
	dir := t.TempDir()
	folders, err := filepath.Glob(filepath.Join(root, "modules", "connectors", "*", "testdata", "calls"))
	if err != nil || len(folders) < 2 {
		t.Fatalf("got %d connectors with transcripts, want at least 2: %v", len(folders), err)
	}
	args := []string{"test", "-count=1"}
	all := map[string][][]byte{}
	for _, folder := range folders {
		name := filepath.Base(filepath.Dir(filepath.Dir(folder)))
		args, all[name] = append(args, "./modules/connectors/"+name), nil
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CONNECTORTEST_REQUESTS="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	for name := range all {
		for _, file := range []string{name + ".jsonl", name + ".probe.jsonl"} {
			raw, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				t.Fatal(err)
			}
			all[name] = append(all[name], bytes.Split(bytes.TrimSpace(raw), []byte("\n"))...)
		}
	}
	return all
}

// expectations adds to every request what the validator should say of it, and
// to every one that can be broken the broken one.
func expectations(t *testing.T, connector string, lines [][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	put := func(request map[string]any, expect string) {
		request["expect"] = expect
		line, err := json.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(line, '\n'))
	}
	spoiled := 0
	for _, line := range lines {
		var request map[string]any
		if err := json.Unmarshal(line, &request); err != nil {
			t.Fatal(err)
		}
		put(request, "pass")
		body, _ := request["body"].(string)
		if change := broken[connector]; change[0] != "" && strings.Contains(body, change[0]) {
			request["body"] = strings.Replace(body, change[0], change[1], 1)
			put(request, "fail")
			spoiled++
		}
	}
	if spoiled == 0 {
		t.Errorf("no request of %s was broken: say how in this file", connector)
	}
	t.Logf("%d requests, %d of them broken too", len(lines), spoiled)
	return out.Bytes()
}

// build makes the validator out of a copy of its source, once: the name of the
// copy is the hash of what is in it.
func build(t *testing.T, source string) (program string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(source, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	paths = append(paths, filepath.Join(source, "go.mod"), filepath.Join(source, "go.sum"))
	files, sum := map[string][]byte{}, sha256.New()
	for _, p := range paths {
		raw, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(p)] = raw
		fmt.Fprintf(sum, "%s %d\n%s", filepath.Base(p), len(raw), raw)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	dir := filepath.Join(cache, "purser", "psp-validate-"+runtime.Version()+"-"+hex.EncodeToString(sum.Sum(nil)[:8]))
	program = filepath.Join(dir, "psp-validate")
	if _, err := os.Stat(program); err == nil {
		return program
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, raw := range files {
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	compile(t.Context(), t, dir)
	return program
}

// compile builds under another name first, so that a build that was broken off
// leaves no program behind.
func compile(ctx context.Context, t *testing.T, dir string) {
	t.Helper()
	cmd := exec.CommandContext(ctx, "go", "build", "-o", "unfinished", ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the validator: %v\n%s", err, out)
	}
	if err := os.Rename(filepath.Join(dir, "unfinished"), filepath.Join(dir, "psp-validate")); err != nil {
		t.Fatal(err)
	}
}
