package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/webhook"
)

const page = "../../docs/webhooks.md"

func readPage(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The page tells merchants the delays of the code.
func TestPageTellsTheDelays(t *testing.T) {
	var words []string
	for i := 0; i < len(Delays); {
		n := 1
		for i+n < len(Delays) && Delays[i+n] == Delays[i] {
			n++
		}
		d := Delays[i]
		word := fmt.Sprintf("%.0f s", d.Seconds())
		switch {
		case d >= time.Hour:
			word = fmt.Sprintf("%.0f h", d.Hours())
		case d >= time.Minute:
			word = fmt.Sprintf("%.0f min", d.Minutes())
		}
		if n > 1 {
			word += fmt.Sprintf(" (%d times)", n)
		}
		words = append(words, word)
		i += n
	}
	want := strings.Join(words, ", ")
	if text := strings.Join(strings.Fields(readPage(t)), " "); !strings.Contains(text, want) {
		t.Errorf("%s does not say %q", page, want)
	}
}

// harness is a program around the code of the page: it reads one delivery from
// its first argument and ends with 0 if the page's function lets it pass.
type harness struct {
	language, file, before, after string
	run                           []string
}

var harnesses = []harness{
	{"python", "main.py", "", `
import json, sys
d = json.loads(sys.argv[1])
verify(d["secret"], d["headers"], d["body"].encode())
`, []string{"python3", "main.py"}},
	{"js", "main.mjs", "", `
const d = JSON.parse(process.argv[2]);
verify(d.secret, d.headers, Buffer.from(d.body));
`, []string{"node", "main.mjs"}},
	{"go", "main.go", `package main

import ("crypto/hmac"; "crypto/sha256"; "encoding/base64"; "encoding/json"; "errors"; "fmt"; "net/http"; "os"; "strconv"; "strings"; "time")

`, `
func main() {
	var d struct { Secret, Body string; Headers map[string]string }
	if err := json.Unmarshal([]byte(os.Args[1]), &d); err != nil { panic(err) }
	h := http.Header{}
	for k, v := range d.Headers { h.Set(k, v) }
	if err := verify(d.Secret, h, []byte(d.Body)); err != nil { fmt.Println(err); os.Exit(1) }
}
`, []string{"go", "run", "main.go"}},
}

// The code of the page takes what we sign, and nothing else. A language that is
// not on the machine is left out.
func TestPageVerifies(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts other programs")
	}
	old, err := webhook.NewSecret(nil)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := webhook.NewSecret(nil)
	if err != nil {
		t.Fatal(err)
	}
	delivery := func(secret string, at time.Time, signed, body string) string {
		signature, err := webhook.Sign("evt_1", at, []byte(signed), fresh, old)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(map[string]any{"secret": secret, "body": body, "headers": map[string]string{
			"webhook-id": "evt_1", "webhook-timestamp": strconv.FormatInt(at.Unix(), 10), "webhook-signature": signature,
		}})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	now := time.Now()
	const body = `{"id":"evt_1","name":"Zoë"}`
	stranger, err := webhook.NewSecret(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range harnesses {
		t.Run(h.language, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(h.run[0]); err != nil {
				t.Skipf("%s is not on this machine", h.run[0])
			}
			block := regexp.MustCompile("(?s)```" + h.language + "\n(.*?)```").FindStringSubmatch(readPage(t))
			if block == nil {
				t.Fatalf("%s has no code in %s", page, h.language)
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, h.file), []byte(h.before+block[1]+h.after), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, row := range []struct {
				name, delivery string
				good           bool
			}{
				{"the new secret", delivery(fresh.Symmetric(), now, body, body), true},
				{"the old secret", delivery(old.Symmetric(), now, body, body), true},
				{"another secret", delivery(stranger.Symmetric(), now, body, body), false},
				{"another body", delivery(fresh.Symmetric(), now, body, body+" "), false},
				{"ten minutes old", delivery(fresh.Symmetric(), now.Add(-10*time.Minute), body, body), false},
			} {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				cmd := exec.CommandContext(ctx, h.run[0], append(h.run[1:len(h.run):len(h.run)], row.delivery)...)
				cmd.Dir = dir
				out, err := cmd.CombinedOutput()
				cancel()
				if (err == nil) != row.good {
					t.Errorf("%s: got %v, want it to pass %t; %s", row.name, err, row.good, out)
				}
			}
		})
	}
}
