// Package walk does what the README tells a new user to do, as it is written
// there.
package walk

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/purser-pay/purser/test/deployment"
)

const (
	readme = "../../README.md"
	// heading is the section that is walked.
	heading = "## Ten minutes"
	// expects stands before what the command on its line must print.
	expects = "# → "
	// stop is what a user does in the first terminal.
	stop = "# Ctrl-C"
	// server is the command that keeps the first terminal.
	server = "./purser dev"
	// build is done once for all tests, by other means.
	build = "make build"
	// tenMinutes is what a user has, the build apart.
	tenMinutes = 10 * time.Minute
	// patience bounds one line.
	patience = 60 * time.Second
)

// TestWalk types the section's commands into two terminals.
func TestWalk(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the binary")
	}
	binary, err := deployment.Build(t.Context(), t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(dir, "purser")); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	first, second := &terminal{dir: dir}, openShell(t, dir)
	t.Cleanup(func() { first.interrupt(t) })
	seen := map[string]bool{}
	for _, line := range section(t) {
		command, want, _ := strings.Cut(line, expects)
		command = strings.TrimSpace(command)
		switch {
		case strings.HasPrefix(command, build):
			seen[build] = true
		case strings.HasPrefix(command, server):
			seen[server] = true
			first.serve(t, strings.TrimSpace(strings.Split(command, "#")[0])+" --listen 127.0.0.1:0")
		case strings.HasPrefix(command, stop):
			seen[stop] = true
			first.interrupt(t)
		case command == "" || strings.HasPrefix(command, "#"):
		default:
			got := second.run(t, command)
			for w := range strings.SplitSeq(want, " … ") {
				if !strings.Contains(got, strings.TrimSpace(w)) {
					t.Fatalf("%s\nprinted %s\nwant %s", command, got, w)
				}
				seen[expects] = seen[expects] || w != ""
			}
		}
	}
	for _, what := range []string{build, server, stop, expects} {
		if !seen[what] {
			t.Errorf("the section %q of the README has no line with %q", heading, what)
		}
	}
	if took := time.Since(started); took > tenMinutes {
		t.Errorf("the walk took %s, want less than %s", took, tenMinutes)
	}
}

// section returns the lines of the section's shell blocks.
func section(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("the README has no section %q", heading)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	var lines []string
	inside := false
	for line := range strings.SplitSeq(rest, "\n") {
		switch {
		case line == "```sh":
			inside = true
		case strings.HasPrefix(line, "```"):
			inside = false
		case inside:
			lines = append(lines, line)
		}
	}
	return lines
}

// environment keeps the walk away from the user's own files.
func environment(dir string) []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PURSER_") && !strings.HasPrefix(v, "CURL_") {
			env = append(env, v)
		}
	}
	home := filepath.Join(dir, "home")
	return append(env, "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home)
}

// terminal runs the gateway.
type terminal struct {
	dir   string
	cmd   *exec.Cmd
	ended chan error
}

func (s *terminal) serve(t *testing.T, command string) {
	t.Helper()
	args := strings.Fields(command)
	s.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), args[0], args[1:]...)
	s.cmd.Dir, s.cmd.Env = s.dir, environment(s.dir)
	var errs bytes.Buffer
	s.cmd.Stderr = &errs
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	s.ended = make(chan error, 1)
	go func() {
		deployment.ReadLines(out, "ready", func() { close(ready) })
		s.ended <- s.cmd.Wait()
	}()
	select {
	case <-ready:
	case err := <-s.ended:
		t.Fatalf("%s ended: %v\n%s", command, err, errs.String())
	case <-time.After(patience):
		t.Fatalf("%s is not ready", command)
	}
}

// interrupt is Ctrl-C; nothing where nothing runs.
func (s *terminal) interrupt(t *testing.T) {
	t.Helper()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGINT)
	select {
	case err := <-s.ended:
		if err != nil {
			t.Errorf("after Ctrl-C: %v, want a clean end", err)
		}
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		t.Error("Ctrl-C did not end the gateway")
	}
	s.cmd = nil
}

// shell is the second terminal: one bash, so that variables stay.
type shell struct {
	in    io.Writer
	lines chan string
	n     int
}

func openShell(t *testing.T, dir string) *shell {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash")
	cmd.Dir, cmd.Env = dir, environment(dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &shell{in: in, lines: make(chan string, 64)}
	go func() {
		defer close(s.lines)
		scan := bufio.NewScanner(out)
		scan.Buffer(nil, 1<<20)
		for scan.Scan() {
			s.lines <- scan.Text()
		}
	}()
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait() // how its last command ended is known
	})
	return s
}

// run types one line, which must not fail, and returns what it prints.
func (s *shell) run(t *testing.T, command string) string {
	t.Helper()
	s.n++
	mark := fmt.Sprintf("=== %d ", s.n)
	if _, err := fmt.Fprintf(s.in, "%s\necho \"%s$?\"\n", command, mark); err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	var text []string
	limit := time.After(patience)
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				t.Fatalf("%s ended the shell:\n%s", command, strings.Join(text, "\n"))
			}
			code, done := strings.CutPrefix(line, mark)
			if !done {
				text = append(text, line)
				continue
			}
			if code != "0" {
				t.Fatalf("%s ended with %s:\n%s", command, code, strings.Join(text, "\n"))
			}
			return strings.Join(text, "\n")
		case <-limit:
			t.Fatalf("%s does not end:\n%s", command, strings.Join(text, "\n"))
		}
	}
}
