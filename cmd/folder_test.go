package pursercmd

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/test/deployment"
)

// TestEnterFolder holds which arguments are paths, and where a command goes.
func TestEnterFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "conf"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ line, want, folder string }{
		{"purser run --config /conf/a.json", "purser run --config /conf/a.json", "/conf"},
		{"purser run --config=conf/a.json", "purser run --config=DIR/conf/a.json", "DIR/conf"},
		{"purser run -c conf/a.json --watch", "purser run -c DIR/conf/a.json --watch", "DIR/conf"},
		{"purser run -c=conf/a.json", "purser run -c=DIR/conf/a.json", "DIR/conf"},
		{"purser run -wcconf/a.json", "purser run -wcDIR/conf/a.json", "DIR/conf"},
		{"bin/purser start --config conf/a.json --pidfile pid", "DIR/bin/purser start --config DIR/conf/a.json --pidfile DIR/pid", "DIR/conf"},
		{"purser validate --envfile a,b/c --config a.json -a json", "purser validate --envfile DIR/a,DIR/b/c --config DIR/a.json -a json", "DIR"},
		{"purser adapt --adapter caddyfile --config conf/a --validate", "purser adapt --adapter caddyfile --config DIR/conf/a --validate", "DIR/conf"},
		{"purser run --config -", "purser run --config -", ""},
		{"purser run --config", "purser run --config", ""},
		{"purser run --pidfile pid", "purser run --pidfile pid", ""},
		{"purser run", "purser run", ""},
		{"purser", "purser", ""},
		{"purser dev --config conf/a.json", "purser dev --config conf/a.json", ""},
		{"purser reload --config conf/a.json --address unix/x", "purser reload --config DIR/conf/a.json --address unix/x", ""},
		{"purser run -- --config a.json", "purser run -- --config a.json", ""},
	} {
		t.Chdir(dir)
		here, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		line, folder := enterFolder(strings.Fields(tt.line))
		want := strings.ReplaceAll(tt.want, "DIR", here)
		if diff := cmp.Diff(want, strings.Join(line, " ")); diff != "" || folder != strings.ReplaceAll(tt.folder, "DIR", here) && tt.folder != "/conf" {
			t.Errorf("%s: folder %q, want %q; line (-want +got):\n%s", tt.line, folder, tt.folder, diff)
		}
		if at, err := os.Getwd(); err != nil || folder != "" && tt.folder != "/conf" && at != folder || folder == "" && at != here {
			t.Errorf("%s: is in %s (%v), want %q", tt.line, at, err, folder)
		}
	}
}

// TestRelativePaths runs a configuration from elsewhere, whose paths, ours and Caddy's,
// start at its own folder, and the command line's where the command was called.
func TestRelativePaths(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "etc", "purser")
	if err := os.MkdirAll(filepath.Join(folder, "certs"), 0o700); err != nil {
		t.Fatal(err)
	}
	data, err := openDevData(t.TempDir(), []string{"localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"server.crt": "certs/site.crt", "server.key": "certs/site.key", "ca.crt": "certs/ca.pem"} {
		if err := os.Rename(data.path(from), filepath.Join(folder, to)); err != nil {
			t.Fatal(err)
		}
	}
	port, err := deployment.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"etc/purser/pepper":   "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY=\n",
		"etc/purser/seal_key": "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY=\n",
		"names":               "SITE=https://127.0.0.1:" + port + "\n",
		"etc/purser/Caddyfile": `{
	admin unix/admin.sock
	auto_https off
	persist_config off
	storage file_system caddy
	payments {
		store sqlite purser.db
		pepper {file.pepper}
		seal_key {file.seal_key}
	}
}
{$SITE} {
	tls certs/site.crt certs/site.key {
		client_auth {
			trust_pool file certs/ca.pem
		}
	}
	payments_gateway
}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	from := func(args ...string) *exec.Cmd {
		cmd := purser(t, args...)
		cmd.Dir = dir
		return cmd
	}
	config := []string{"--config", "etc/purser/Caddyfile", "--adapter", "caddyfile", "--envfile", "names"}
	for _, command := range [][]string{{"validate"}, {"adapt", "--validate"}} {
		if out, err := from(append(command, config...)...).CombinedOutput(); err != nil {
			t.Errorf("purser %v: %v\n%s", command, err, out)
		}
	}
	run := from(append([]string{"run"}, config...)...)
	log, err := run.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	serving := false
	for lines := bufio.NewScanner(log); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if !serving && strings.Contains(lines.Text(), "serving initial configuration") {
			serving = true
			for _, name := range []string{"purser.db", "admin.sock"} {
				if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
					t.Error(err)
				}
			}
			if err := run.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}
	}
	if err := run.Wait(); err != nil || !serving {
		t.Errorf("purser run: %v\n%s", err, said.String())
	}
}
