package deployment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// Process is one run of the binary. Its output goes to a log file.
type Process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

func (d *Deployment) env() []string {
	home := d.Path("home")
	return append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home)
}

// Run starts a process that lasts until it is killed. Its log is name.log.
func (d *Deployment) Run(name string, args ...string) (*Process, error) {
	log, err := os.OpenFile(d.Path("logs", name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("deployment: %w", err)
	}
	p := &Process{cmd: exec.Command(d.cfg.Binary, args...), ended: make(chan struct{})} //nolint:gosec,noctx // G204: our own words; its end is Kill
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = d.env(), log, log
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	go func() {
		_ = p.cmd.Wait() // how a killed process ended is known
		_ = log.Close()
		close(p.ended)
	}()
	return p, nil
}

// Kill ends the process with SIGKILL, and returns once it is gone.
func (p *Process) Kill() error {
	err := p.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-p.ended
	return err
}

// PID is the system's number of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// command runs one command of the operator, and reads its JSON.
func (d *Deployment) command(ctx context.Context, answer any, args ...string) error {
	cmd := exec.CommandContext(ctx, d.cfg.Binary, append(args, "--json", "--address", d.Nodes[0].Admin)...) //nolint:gosec // G204: our own words
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = d.env(), &out, &errs
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("purser %v: %w\n%s", args, err, errs.String())
	}
	if err := json.Unmarshal(out.Bytes(), answer); err != nil {
		return fmt.Errorf("purser %v: %w in %q", args, err, out.String())
	}
	return nil
}

// plain runs one command that prints nothing of use.
func (d *Deployment) plain(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, d.cfg.Binary, args...) //nolint:gosec // G204: our own words
	cmd.Env = d.env()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("purser %v: %w\n%s", args, err, out)
	}
	return nil
}

// Simulator is the PSPs' process.
type Simulator struct {
	URL     string
	process *Process
}

func startSimulator(ctx context.Context, d *Deployment) (*Simulator, error) {
	port, err := FreePort(ctx)
	if err != nil {
		return nil, err
	}
	s := &Simulator{URL: "http://127.0.0.1:" + port}
	s.process, err = d.Run("simulator", "simulator", "--listen", "127.0.0.1:"+port, "--seed", strconv.FormatUint(d.cfg.Seed, 10))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	pause := time.NewTicker(5 * time.Millisecond)
	defer pause.Stop()
	for {
		if err = s.Get(ctx, "/faults", nil); err == nil {
			return s, nil
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("the simulator is not ready: %w", err), s.process.Kill())
		}
	}
}

// PID is the system's number of the process.
func (s *Simulator) PID() int { return s.process.PID() }

// Get reads of the control API into v; path begins behind /_sim.
func (s *Simulator) Get(ctx context.Context, path string, v any) error {
	return get(ctx, s.URL+"/_sim"+path, v)
}

// Post sends v to the control API.
func (s *Simulator) Post(ctx context.Context, path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("simulator: %w", err)
	}
	return send(ctx, http.MethodPost, s.URL+"/_sim"+path, b, nil)
}

// Delete clears what path names.
func (s *Simulator) Delete(ctx context.Context, path string) error {
	return send(ctx, http.MethodDelete, s.URL+"/_sim"+path, nil, nil)
}

func get(ctx context.Context, url string, v any) error {
	return send(ctx, http.MethodGet, url, nil, v)
}

// control is for the few calls beside the load.
var control = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// send demands a 2xx, whose JSON it reads into v unless that is nil.
func send(ctx context.Context, method, url string, body []byte, v any) error {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	resp, err := control.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	b, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: status %d: %.300s", method, url, resp.StatusCode, b)
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	return nil
}
