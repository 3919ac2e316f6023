// Command bench measures a gateway on this machine: what a payment costs beside
// a bare hop through the same web server. It prints figures and judges none;
// README.md says what they mean.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/purser-pay/purser/test/deployment"
)

type options struct {
	each    time.Duration
	clients int
	json    bool
	profile string
	proxy   bool
}

func main() {
	var o options
	flag.DurationVar(&o.each, "d", 10*time.Second, "how long each part lasts")
	flag.IntVar(&o.clients, "c", 64, "requests at a time")
	flag.BoolVar(&o.json, "json", false, "print JSON")
	flag.StringVar(&o.profile, "profile", "", "write a CPU profile of the gateway under card_token, or with -proxy under /v1/proxy, to this file; then that of the bare proxy to FILE.bare")
	flag.BoolVar(&o.proxy, "proxy", false, "measure the pass-through alone")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// report is everything that was measured.
type report struct {
	Go          string `json:"go"`
	Cores       int    `json:"cores"`
	Clients     int    `json:"clients"`
	BinaryBytes int64  `json:"binary_bytes"`
	// ReadyMS is the time from the process's start to a 200 of /readyz, with a
	// store that is there already: the median of several starts; 0 = not measured.
	ReadyMS float64 `json:"ready_ms,omitempty"`
	Parts   []part  `json:"parts"`
	Proxy   passage `json:"proxy"`
}

// starts is how often the gateway is started to time that.
const starts = 5

func run(ctx context.Context, o options, out io.Writer) (err error) {
	if o.clients < 1 || o.each < time.Second {
		return errors.New("-c is at least 1 and -d at least 1s")
	}
	dir, err := os.MkdirTemp("", "purser-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary, err := deployment.Build(ctx, dir, true)
	if err != nil {
		return err
	}
	info, err := os.Stat(binary)
	if err != nil {
		return err
	}
	d, err := deployment.Open(ctx, deployment.Config{
		Binary: binary, Dir: dir, Seed: 1, Timeout: 20 * time.Second, NotFoundAfter: 10 * time.Second,
		Profiling: o.profile != "",
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()

	r := report{Go: runtime.Version(), Cores: runtime.NumCPU(), Clients: o.clients, BinaryBytes: info.Size()}
	if !o.proxy {
		if err := r.payments(ctx, d, o); err != nil {
			return err
		}
	}
	if r.Proxy, err = measureProxy(ctx, d, o); err != nil {
		return err
	}
	if o.json {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	return r.print(out)
}

// payments measures a bare hop, the start, and payments.
func (r *report) payments(ctx context.Context, d *deployment.Deployment, o options) error {
	hop, err := measureHop(ctx, d, o)
	if err != nil {
		return err
	}
	r.Parts = append(r.Parts, hop)
	if r.ReadyMS, err = timeStarts(ctx, d); err != nil {
		return err
	}
	payments, err := measurePayments(ctx, d, o)
	r.Parts = append(r.Parts, payments...)
	if err != nil {
		return err
	}
	return d.Nodes[0].Kill()
}

// timeStarts leaves the gateway running.
func timeStarts(ctx context.Context, d *deployment.Deployment) (milliseconds float64, err error) {
	var took []time.Duration
	for i := range starts + 1 {
		if i > 0 {
			if err := d.Nodes[0].Kill(); err != nil {
				return 0, err
			}
		}
		began := time.Now()
		if err := errors.Join(d.Start(), d.Ready(ctx)); err != nil {
			return 0, fmt.Errorf("%w\n%s", err, d.LogTail("gateway"))
		}
		if i > 0 { // the first one made the store
			took = append(took, time.Since(began))
		}
	}
	slices.Sort(took)
	return ms(took[len(took)/2]), nil
}

func (r *report) print(out io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s, %d cores, %d requests at a time; binary %.1f MB",
		r.Go, r.Cores, r.Clients, float64(r.BinaryBytes)/1e6)
	if r.ReadyMS > 0 {
		fmt.Fprintf(&text, "; ready %.0f ms after its start", r.ReadyMS)
	}
	text.WriteString("\n\n")
	fmt.Fprintf(&text, "%-22s %9s %9s %9s %11s %8s   %s\n", "", "per s", "p50 ms", "p99 ms", "CPU ms each", "RSS MB", "cores used: gateway, PSP, load")
	for _, p := range append(slices.Clone(r.Parts), r.Proxy.Bare, r.Proxy.Gateway, r.Proxy.Token) {
		fmt.Fprintf(&text, "%-22s %9.0f %9.1f %9.1f %11.3f %8.0f   %.2f  %.2f  %.2f", p.Name, p.PerSecond, p.P50MS, p.P99MS, p.CPUMS,
			p.RSSMB, p.Cores.Gateway, p.Cores.PSP, p.Cores.Load)
		if p.Failures > 0 {
			fmt.Fprintf(&text, "   %d FAILED, such as %s", p.Failures, p.Failure)
		}
		text.WriteString("\n")
	}
	text.WriteString(r.Proxy.line())
	_, err := io.WriteString(out, text.String())
	return err
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
