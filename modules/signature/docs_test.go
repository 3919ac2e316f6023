package signature

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"maps"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	page     = "../../docs/signing.md"
	programs = "../../docs/signing"
)

// programsOf says how each of the page's programs is run.
var programsOf = map[string][]string{
	".py": {"python3"}, ".mjs": {"node"}, ".go": {"go", "run"}, ".java": {"java"}, ".php": {"php"},
}

// TestPageShowsThePrograms holds that the code on the page is that of the
// programs, and that each of them is there.
func TestPageShowsThePrograms(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(programs + "/*")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
		if name := "(signing/" + filepath.Base(f) + ")"; !strings.Contains(string(text), name) {
			t.Errorf("%s does not lead to %s", page, name)
		}
	}
	shown := 0
	for _, m := range regexp.MustCompile("(?ms)^```(python|js|go|java|php)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		shown++
		if !strings.Contains(all.String(), m[2]) {
			t.Errorf("%s shows what is in no program:\n%s", page, m[2])
		}
	}
	if shown != len(files) || len(files) != 8 {
		t.Errorf("got %d blocks of code for %d programs, want one each of 8", shown, len(files))
	}
}

// TestPrograms runs the page's programs as a merchant would, and verifies what
// they print. A language that is not on the machine is left out.
func TestPrograms(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("skipped: it starts other programs")
	}
	private := ed25519.NewKeyFromSeed([]byte(secret))
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "PURSER_SIGNING_SECRET="+secret, "PURSER_KEYID="+keyID, "PURSER_PRIVATE_KEY="+string(block("PRIVATE KEY", der)))
	for _, file := range []string{
		"simple.py", "simple.mjs", "simple.go", "Simple.java", "simple.php", "rfc9421.py", "rfc9421.mjs", "rfc9421.go",
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			run := programsOf[filepath.Ext(file)]
			if _, err := exec.LookPath(run[0]); err != nil {
				t.Skipf("skipped: %s is not on this machine", run[0])
			}
			k := keyOf(t, HMACSHA256).Public()
			if file == "rfc9421.mjs" {
				k = keyOf(t, Ed25519).Public()
			}
			for _, r := range []struct {
				target, key, body string
			}{
				{"/v1/payments?a=1&b=%20x", "tea-1", `{"description":"Zoë's tea"}` + "\r\n"},
				{"/v1/payments", "", ""},
			} {
				m := &Message{Method: "POST", Scheme: "https", Authority: "pay.example.com:8443", Header: request().Header, Body: []byte(r.body)}
				m.setTarget(r.target)
				m.Header.Del("Dpop")
				m.Header.Del(headerIdempotencyKey)
				args := append(run[1:len(run):len(run)], filepath.Join(programs, file), m.Method, "https://"+m.Authority+r.target)
				if strings.HasPrefix(file, "rfc9421") {
					args = append(args, "Authorization:"+m.Header.Get(headerAuthorization), "Content-Type:"+m.Header.Get(headerContentType))
					if r.key != "" {
						args = append(args, "Idempotency-Key:"+r.key)
					}
				} else if r.key != "" {
					args = append(args, r.key)
				}
				if r.key != "" {
					m.Header.Set(headerIdempotencyKey, r.key)
				}
				maps.Copy(m.Header, printed(t, env, r.body, run[0], args...))
				if _, err := Verify(m, k, Standard, time.Now()); err != nil {
					t.Errorf("%s: got %v for %v", r.target, err, m.Header)
				}
				m.Method = "PUT"
				if _, err := Verify(m, k, Standard, time.Now()); err == nil {
					t.Error("it verifies for another method")
				}
			}
		})
	}
}

// printed runs a program, and reads the header fields that it prints.
func printed(t *testing.T, env []string, body, program string, args ...string) http.Header {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env, cmd.Stdin = env, strings.NewReader(body)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v, %s", program, args, err, &errs)
	}
	h := http.Header{}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		name = textproto.CanonicalMIMEHeaderKey(name)
		h[name] = append(h[name], strings.TrimSpace(value))
	}
	return h
}
