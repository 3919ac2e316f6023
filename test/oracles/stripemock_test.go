package oracles

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
)

// transcripts is where the Stripe connector keeps the exact requests that it
// makes.
const transcripts = "../../modules/connectors/stripe/testdata/calls"

// leastTranscripts is how many requests there must at least be: a test that
// finds none would judge nothing.
const leastTranscripts = 50

// refusedByMock are the transcripts whose request stripe-mock does not take,
// and why that is the mock's shortcoming and not ours.
var refusedByMock = map[string]string{}

// TestStripeMock sends every request of the connector's transcripts to Stripe's
// own mock, which holds it against Stripe's description of its API: path,
// parameters, types, enumerations and version.
func TestStripeMock(t *testing.T) {
	t.Parallel()
	base := startMock(t)
	paths, err := filepath.Glob(filepath.Join(transcripts, "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		request := fileOf(archive, "request.http")
		if request == nil {
			continue // refused before anything is sent
		}
		sent++
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		t.Run(name, func(t *testing.T) {
			req, err := parseRequest(t.Context(), request, base)
			if err != nil {
				t.Fatal(err)
			}
			status, body := send(t, req)
			why, refused := refusedByMock[name]
			switch accepted := status >= 200 && status <= 299; {
			case !accepted && !refused:
				t.Errorf("got %d, want 2xx: %s\n%s", status, body, request)
			case accepted && refused:
				t.Errorf("got %d, want a refusal (%s): take it off the list", status, why)
			}
		})
	}
	if sent < leastTranscripts {
		t.Errorf("got %d requests, want at least %d", sent, leastTranscripts)
	}
	for name := range refusedByMock {
		if matches, _ := filepath.Glob(filepath.Join(transcripts, name+".txtar")); len(matches) == 0 {
			t.Errorf("refusedByMock names %s, which is no transcript", name)
		}
	}
}

// TestStripeMockRefuses shows that the mock can say no: without that its yes
// would mean nothing.
func TestStripeMockRefuses(t *testing.T) {
	t.Parallel()
	base := startMock(t)
	const head = "Authorization: Bearer sk_test_x\nContent-Type: application/x-www-form-urlencoded\n"
	for name, request := range map[string]string{
		"unknown parameter": "POST https://api.stripe.com/v1/payment_intents\n" + head + "\namount=1000\n&currency=eur\n&colour=blue\n",
		"wrong type":        "POST https://api.stripe.com/v1/payment_intents\n" + head + "\namount=ten\n&currency=eur\n",
		"unknown value":     "POST https://api.stripe.com/v1/payment_intents\n" + head + "\namount=1000\n&currency=eur\n&capture_method=later\n",
		"missing parameter": "POST https://api.stripe.com/v1/payment_intents\n" + head + "\namount=1000\n",
		"unknown path":      "POST https://api.stripe.com/v1/payment_attempts\n" + head + "\namount=1000\n&currency=eur\n",
		"another version":   "GET https://api.stripe.com/v1/payment_intents/pi_1\n" + head + "Stripe-Version: 2020-08-27\n",
	} {
		t.Run(name, func(t *testing.T) {
			req, err := parseRequest(t.Context(), []byte(request), base)
			if err != nil {
				t.Fatal(err)
			}
			if status, body := send(t, req); status < 400 {
				t.Errorf("got %d, want a refusal: %s", status, body)
			}
		})
	}
}

// buildMock builds stripe-mock and tells where it is: once, for a second build
// would write the program that the first has started.
var buildMock = sync.OnceValues(func() (string, error) {
	where, err := exec.Command("go", "tool", "-n", "stripe-mock").Output()
	return strings.TrimSpace(string(where)), err
})

// startMock starts stripe-mock on a free loopback port, and ends it with the
// test. It returns the mock's address.
func startMock(t *testing.T) string {
	t.Helper()
	// The program is started itself and not through "go tool", whose end would
	// leave it behind.
	where, err := buildMock()
	if err != nil {
		t.Fatalf("build stripe-mock: %v", explain(err))
	}
	cmd := exec.CommandContext(t.Context(), where,
		"-http-addr", "127.0.0.1:0", "-https-addr", "127.0.0.1:0", "-strict-version-check") // HTTPS would else be open to everybody
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start stripe-mock: %v", err)
	}
	address, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if _, at, ok := strings.Cut(lines.Text(), "Listening for HTTP at address: "); ok {
				address <- at
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = cmd.Wait() // it was killed
	})
	select {
	case at := <-address:
		return "http://" + at
	case <-ended:
		t.Fatal("stripe-mock ended before it listened")
	case <-time.After(2 * time.Minute): // it reads 20 MB of descriptions first
		t.Fatal("stripe-mock does not listen")
	}
	return ""
}

// explain adds what a command had to say to its error.
func explain(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return err
}

func fileOf(a *txtar.Archive, name string) []byte {
	for _, f := range a.Files {
		if f.Name == name {
			return f.Data
		}
	}
	return nil
}

// parseRequest reads a request.http of a transcript, for another host. A form
// has a line break before each "&" there, which is not part of it.
func parseRequest(ctx context.Context, raw []byte, base string) (*http.Request, error) {
	head, body, _ := strings.Cut(string(raw), "\n\n")
	lines := strings.Split(strings.TrimSuffix(head, "\n"), "\n")
	method, target, ok := strings.Cut(lines[0], " ")
	if !ok {
		return nil, fmt.Errorf("request line %q", lines[0])
	}
	_, path, ok := strings.Cut(target, "/v1/")
	if !ok {
		return nil, fmt.Errorf("%s is not at Stripe", target)
	}
	form := strings.ReplaceAll(strings.TrimSuffix(body, "\n"), "\n&", "&")
	req, err := http.NewRequestWithContext(ctx, method, base+"/v1/"+path, strings.NewReader(form))
	if err != nil {
		return nil, err
	}
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ": ")
		if !ok {
			return nil, fmt.Errorf("header line %q", line)
		}
		req.Header.Add(name, value)
	}
	return req, nil
}

func send(t *testing.T, req *http.Request) (status int, body []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(req.Context(), time.Minute)
	defer cancel()
	res, err := http.DefaultClient.Do(req.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err = io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, bytes.TrimSpace(body)
}
