package tls

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/purser-pay/purser/test/deployment"
)

const (
	page = "../../docs/tls.md"
	// heading is the section that is typed.
	heading = "## Try it"
	// expects stands before what the command on its line must print.
	expects = "# → "
)

// TestPage types the commands of docs/tls.md, in one shell. The ports are others.
func TestPage(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(binary(t), filepath.Join(dir, "purser")); err != nil {
		t.Fatal(err)
	}
	script := typed(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, port := range []string{"8443", "2019"} {
		if !strings.Contains(script, ":"+port) {
			t.Errorf("the section has no port %s", port)
		}
		free, err := deployment.FreePort(ctx)
		if err != nil {
			t.Fatal(err)
		}
		script = strings.ReplaceAll(script, ":"+port, ":"+free)
	}
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log")) // if it got so far
		t.Fatalf("%v\n%s\nlog:\n%s", err, out.String(), log)
	}
	t.Log(out.String())
}

// typed makes a script of the section: each line's output must hold what stands
// behind its arrow.
func typed(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(b), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("the page has no section %q", heading)
	}
	_, section, _ = strings.Cut(section, "```sh\n")
	section, _, ok = strings.Cut(section, "\n```")
	if !ok {
		t.Fatal("the section has no commands")
	}
	script := "set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"
	wants := 0
	for line := range strings.SplitSeq(section, "\n") {
		command, want, found := strings.Cut(line, expects)
		if !found {
			script += line + "\n"
			continue
		}
		wants++
		want = strings.TrimSpace(want)
		script += fmt.Sprintf("got=$(%s 2>&1)\ncase $got in *%s*) ;; *) printf 'got %%s\\nwant %%s\\n' \"$got\" %s; exit 1;; esac\n",
			strings.TrimSpace(command), quote(want), quote(want))
	}
	if wants < 5 {
		t.Errorf("%d commands of the section say what they print, want at least 5", wants)
	}
	return script
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
