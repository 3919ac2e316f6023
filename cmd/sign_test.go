package pursercmd

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/signature"
)

const (
	signKeyID  = "key_01jd0000000000000000000000"
	signSecret = "pss_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
	signNonce  = "n0123456789-_ABCDEFGHI"
)

var signNow = time.Unix(1_800_000_000, 0)

// signEnv is the environment of a merchant.
func signEnv(t *testing.T) map[string]string {
	t.Helper()
	key, err := access.NewSecret(strings.NewReader(strings.Repeat("Purser", 20)), signKeyID, payment.Test)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"PURSER_KEY": key, "PURSER_SIGNING_SECRET": signSecret, "OTHER_KEY": "eyJ.e30.x", "SPACED": "a b"}
}

// signKeyFile writes a private key, and returns what verifies.
func signKeyFile(t *testing.T) (file string, k signature.Key) {
	t.Helper()
	private := ed25519.NewKeyFromSeed([]byte(signSecret[:32]))
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "shop's key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := signature.NewSigner(signKeyID, private)
	if err != nil {
		t.Fatal(err)
	}
	return file, s.Public()
}

// words lets a shell take a line apart, with a curl that only tells what it was
// given.
func words(t *testing.T, line string, env map[string]string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-eu", "-c", `curl() { printf '%s\0' "$@"; }; `+line)
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v, %s", line, err, &errs)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

// curled is the request that curl would make of its words.
func curled(t *testing.T, args []string) *signature.Message {
	t.Helper()
	m := &signature.Message{Method: http.MethodGet, Header: http.Header{}}
	for i := 0; i < len(args); i++ {
		switch a := args[i]; a {
		case "-sS", "--globoff", "--path-as-is":
		case "--head":
			m.Method = http.MethodHead
		case "-X", "--cacert", "-H", "--data-raw", "--data-binary":
			i++
			switch a {
			case "-X":
				m.Method = args[i]
			case "-H":
				name, value, _ := strings.Cut(args[i], ": ")
				m.Header.Add(name, value)
			case "--data-raw":
				m.Body = []byte(args[i])
			case "--data-binary":
				b, err := os.ReadFile(strings.TrimPrefix(args[i], "@"))
				if err != nil {
					t.Fatal(err)
				}
				m.Body = b
			}
		default:
			u, err := url.Parse(a)
			if err != nil || m.Scheme != "" {
				t.Fatalf("got word %q, %v", a, err)
			}
			m.Scheme, m.Authority = u.Scheme, u.Host
			m.Path, m.RawQuery, m.HasQuery = strings.Cut(strings.TrimPrefix(a, u.Scheme+"://"+u.Host), "?")
		}
	}
	return m
}

// TestSignLine verifies what the command prints, after a shell has read it.
func TestSignLine(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("skipped: there is no shell")
	}
	env := signEnv(t)
	file, public := signKeyFile(t)
	secretKey, err := signature.NewSecretKey(signKeyID, []byte(signSecret))
	if err != nil {
		t.Fatal(err)
	}
	body := filepath.Join(t.TempDir(), "a body's file")
	if err := os.WriteFile(body, []byte("{\"amount\":1}\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const at = "https://pay.example.com/v1/payments"
	for _, tt := range []struct {
		name string
		o    signOptions
		key  signature.Key
		want string // a part of the line
	}{
		{"a payment", signOptions{url: at, data: `{"amount":1999}`, headers: []string{"Idempotency-Key: tea"}}, secretKey, `-H "Authorization: Bearer $PURSER_KEY"`},
		{"simple", signOptions{url: at, data: `{"amount":1999}`, headers: []string{"Idempotency-Key: tea"}, scheme: "simple"}, secretKey, "-X POST"},
		{"a GET", signOptions{url: at + "?limit=1&a=%20"}, secretKey, "-X GET 'https"},
		{"a HEAD", signOptions{url: at, method: "HEAD"}, secretKey, "--head"},
		{"a POST without a body", signOptions{url: at + "/pay_1/capture", method: "POST"}, secretKey, "-X POST"},
		{"quotes", signOptions{url: at + "?it's=$HOME`", data: `{"a":"it's $HOME \"é\" \\ ` + "`x`\n" + `"}`}, secretKey, "--data-raw"},
		{"an at sign in the data", signOptions{url: at, data: `[1] @`}, secretKey, "--data-raw"},
		{"a file", signOptions{url: at, data: "@" + body}, secretKey, "--data-binary"},
		{"a port that says nothing", signOptions{url: "HTTPS://PAY.example.com:443/v1?"}, secretKey, "'https://pay.example.com/v1?'"},
		{"a port", signOptions{url: "http://127.0.0.1:8080", scheme: "simple"}, secretKey, "'http://127.0.0.1:8080/'"},
		{"IPv6 and brackets", signOptions{url: "https://[::1]:8443/v1?a[]=1"}, secretKey, "--globoff"},
		{"dots", signOptions{url: "https://h/v1/../x"}, secretKey, "--path-as-is"},
		{"a private key", signOptions{url: at, data: "{}", private: file}, public, "Signature: sig1="},
		{"fapi", signOptions{url: at, data: "{}", private: file, policy: "fapi"}, public, "fapi-2-request"},
		{"its own media type", signOptions{url: at, data: "{}", headers: []string{"content-type:  application/json; charset=utf-8 "}}, secretKey, "charset=utf-8"},
		{"a token for a key", signOptions{url: at, keyVariable: "OTHER_KEY", keyID: signKeyID}, secretKey, "$OTHER_KEY"},
		{"a credential of its own", signOptions{url: at, headers: []string{"authorization: DPoP x", "DPoP: y"}}, secretKey, "DPoP x"},
		{"certificates", signOptions{url: at, cacert: "a b/ca.crt"}, secretKey, "--cacert 'a b/ca.crt'"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fill(&tt.o)
			line, err := tt.o.line(func(name string) string { return env[name] }, signNow, signNonce)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(line, tt.want) {
				t.Errorf("got %s, want %s in it", line, tt.want)
			}
			for _, secret := range []string{env["PURSER_KEY"], signSecret} {
				if strings.Contains(line, secret) {
					t.Errorf("a secret is in the clear: %s", line)
				}
			}
			m := curled(t, words(t, line, env))
			profile := signature.Standard
			if tt.o.policy == "fapi" {
				profile = signature.FAPI
			}
			got, err := signature.Verify(m, tt.key, profile, signNow.Add(time.Minute))
			if err != nil || string(got.Scheme) != tt.o.scheme || got.Nonce != signNonce {
				t.Errorf("%s: got %+v, %v", line, got, err)
			}
			if m.Header.Get("Authorization") == "" {
				t.Error("no Authorization")
			}
			m.Method = "PATCH"
			if _, err := signature.Verify(m, tt.key, profile, signNow); err == nil {
				t.Error("it verifies for another method")
			}
		})
	}
}

// fill puts in what the flags' defaults are.
func fill(o *signOptions) {
	for _, f := range []struct {
		at *string
		to string
	}{
		{&o.keyVariable, defaultKeyVariable},
		{&o.secretVariable, defaultSecretVariable},
		{&o.scheme, "rfc9421"},
		{&o.policy, "standard"},
		{&o.keyID, signKeyID},
	} {
		if *f.at == "" {
			*f.at = f.to
		}
	}
}

// TestSignCommand runs the command as merchants do: once as a process of its own,
// and for each refusal within this one.
func TestSignCommand(t *testing.T) {
	env := signEnv(t)
	for name, value := range env {
		t.Setenv(name, value)
	}
	out, errs, code := output(t, "sign", "--url", "https://h/v1/account")
	k, err := signature.NewSecretKey(signKeyID, []byte(signSecret))
	if err != nil {
		t.Fatal(err)
	}
	if code != 0 || strings.Count(out, "\n") != 1 || strings.Contains(out, env["PURSER_KEY"]) {
		t.Fatalf("got %d %s %s, want one line without the key", code, out, errs)
	}
	if _, err := signature.Verify(curled(t, words(t, out, env)), k, signature.Standard, time.Now()); err != nil {
		t.Errorf("%s: %v", out, err) // also that the key's ID was found in the API key
	}
	if out, errs, code := output(t, "sign", "now"); code != exitUsage || out != "" {
		t.Errorf("sign now: got %d %q %q, want %d", code, out, errs, exitUsage)
	}
	run := func(args ...string) (string, error) {
		var out bytes.Buffer
		cmd := &cobra.Command{Use: "sign", SilenceUsage: true, SilenceErrors: true}
		signCommand(cmd)
		cmd.SetArgs(args)
		cmd.SetOut(&out)
		err := cmd.Execute()
		return out.String(), err
	}
	if out, err := run("--url", "https://h/", "--show-key"); err != nil || !strings.Contains(out, env["PURSER_KEY"]) {
		t.Errorf("--show-key: got %s, %v", out, err)
	}
	for _, tt := range []struct {
		args, want string
		code       int
	}{
		{"", "--url is needed", exitUsage},
		{"--url pay.example.com/v1", "--url is needed", exitUsage},
		{"--url ftp://h/", "--url is needed", exitUsage},
		{"--url https://a:b@h/", "--url is needed", exitUsage},
		{"--url https://h/#x", "--url is needed", exitUsage},
		{"--url https://h/ü", "--url is needed", exitUsage},
		{"--url https://h/ --method post", "--method", exitUsage},
		{"--url https://h/ --header nothing", "--header is", exitUsage},
		{"--url https://h/ --header Signature:x", "written by the command", exitUsage},
		{"--url https://h/ --header host:x", "written by the command", exitUsage},
		{"--url https://h/ --header a:x --header A:y", "twice", exitUsage},
		{"--url https://h/ --scheme jws", "--scheme", exitUsage},
		{"--url https://h/ --profile strict", "--profile", exitUsage},
		{"--url https://h/ --profile fapi", "--private-key", exitUsage},
		{"--url https://h/ --scheme simple --private-key x", "--scheme simple", exitUsage},
		{"--url https://h/ --api-key-env 2", "names of variables", exitUsage},
		{"--url https://h/ --api-key-env NO_SUCH", "holds no API key", exitUsage},
		{"--url https://h/ --api-key-env SPACED", "holds no API key", exitUsage},
		{"--url https://h/ --api-key-env OTHER_KEY", "--keyid", exitUsage},
		{"--url https://h/ --secret-env NO_SUCH", "no signing secret", exitUsage},
		{"--url https://h/ --no-such", "unknown flag", exitUsage},
		{"--url https://h/ --private-key no/such", "no/such", 1},
		{"--url https://h/ --private-key .", "is a directory", 1},
		{"--url https://h/ --data @no/such", "no/such", 1},
		{"--url https://h/ --secret-env SPACED", "unusable signing key", 1},
		{"now", "unknown command", exitUsage},
	} {
		out, err := run(strings.Fields(tt.args)...)
		if err == nil {
			t.Errorf("purser sign %s: got no error", tt.args)
			continue
		}
		code := 1
		if _, usage := errors.AsType[*lineError](err); usage {
			code = exitUsage
		}
		if code != tt.code || !strings.Contains(err.Error(), tt.want) || out != "" || strings.Contains(err.Error(), "\n") {
			t.Errorf("purser sign %s: got %d %q %q, want %d and one line with %q", tt.args, code, out, err, tt.code, tt.want)
		}
	}
}

// TestSignWithCurl lets the real curl send what is printed to a server that
// verifies.
func TestSignWithCurl(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("skipped: there is no curl")
	}
	env := signEnv(t)
	k, err := signature.NewSecretKey(signKeyID, []byte(signSecret))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			m := signature.FromRequest(r, body)
			_, err = signature.Verify(&m, k, signature.Standard, signNow)
		}
		if err != nil {
			http.Error(w, r.RequestURI+" "+err.Error(), http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, "verified")
	}))
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca's.crt")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, scheme := range []string{"rfc9421", "simple"} {
		for _, o := range []signOptions{
			{url: server.URL + "/v1/payments", data: `{"a":"it's $5 é"}`, headers: []string{"Idempotency-Key: tea"}},
			{url: server.URL + "/v1/payments?q=%2f%e4+x&y[]={a,b}"},
			{url: server.URL},
			{url: server.URL + "/a/../b/./c", method: "DELETE"},
			{url: server.URL + "/v1/payments?", method: "POST"},
		} {
			o.scheme, o.cacert = scheme, ca
			fill(&o)
			line, err := o.line(func(name string) string { return env[name] }, signNow, signNonce)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
			cmd.Env = slices.Concat(os.Environ(), []string{"PURSER_KEY=" + env["PURSER_KEY"], "no_proxy=*"})
			out, err := cmd.CombinedOutput()
			if err != nil || string(out) != "verified" {
				t.Errorf("%s: got %s, %v", line, out, err)
			}
		}
	}
}
