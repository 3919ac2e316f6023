// Package tls lets others judge the TLS of the real binary: testssl.sh, sslscan,
// and a user who types what the page says.
package tls

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/purser-pay/purser/test/deployment"
)

// patience bounds whatever is waited for but the scans.
const patience = 60 * time.Second

// built is the binary, once for all tests.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "purser-tls-")
	if err != nil {
		return "", err
	}
	return deployment.Build(context.Background(), dir, false)
})

func TestMain(m *testing.M) {
	code := m.Run()
	if binary, err := built(); err == nil && os.Getenv("PURSER_BINARY") == "" {
		_ = os.RemoveAll(filepath.Dir(binary)) // a temporary folder
	}
	os.Exit(code)
}

func binary(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("it builds the binary")
	}
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// gateway is a running purser dev.
type gateway struct {
	address string // host:port
	ca      string // a file
	roots   *x509.CertPool
}

// start runs purser dev until the test ends.
func start(t *testing.T) gateway {
	t.Helper()
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), binary(t), "dev", "--data", data, "--listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		deployment.ReadLines(out, "ready", func() { close(ready) })
		ended <- cmd.Wait()
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("purser dev ended: %v\n%s", err, errs.String())
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		t.Fatal("purser dev is not ready")
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		select {
		case <-ended:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			t.Error("purser dev does not end")
		}
	})
	return read(t, filepath.Join(data, "dev.json"))
}

func read(t *testing.T, file string) gateway {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var info struct{ URL, CA string }
	if err := json.Unmarshal(b, &info); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(info.URL)
	if err != nil {
		t.Fatal(err)
	}
	g := gateway{address: u.Host, ca: info.CA, roots: x509.NewCertPool()}
	text, err := os.ReadFile(info.CA)
	if err != nil || !g.roots.AppendCertsFromPEM(text) {
		t.Fatalf("%s: no certificate, %v", info.CA, err)
	}
	return g
}

// tool finds a scanner. Where it is not installed its test is skipped, unless
// PURSER_TLS_TOOLS is "required".
func tool(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const how = "%s is not installed (Debian: apt-get install testssl.sh sslscan)"
	if os.Getenv("PURSER_TLS_TOOLS") == "required" {
		t.Fatalf(how, names[0])
	}
	t.Skipf(how, names[0])
	return ""
}
