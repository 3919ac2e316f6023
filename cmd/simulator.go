package pursercmd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/purser-pay/purser/modules/simulator"
)

// defaultSimulator is where the simulator listens.
const defaultSimulator = "127.0.0.1:12180"

func simulatorCommand(cmd *cobra.Command) {
	cmd.Args = cobra.NoArgs
	cmd.Long = `Runs the PSP simulator alone: the dialects of the payment providers at
/<connector>, its control at /_sim/, for loopback only. Its books live in memory.`
	listen := cmd.Flags().String("listen", defaultSimulator, "where to serve HTTP")
	seed := cmd.Flags().Uint64("seed", 0, "makes identifiers and random faults repeatable")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer cancel()
		running, err := startSimulator(*listen, simulator.Config{Seed: *seed, Client: &http.Client{Timeout: 10 * time.Second}})
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "simulator at %s\nready\n", running.url); err != nil {
			return errors.Join(err, running.stop())
		}
		select {
		case <-ctx.Done():
			return running.stop()
		case err := <-running.failed:
			return errors.Join(err, running.stop())
		}
	}
}

// runningSimulator is a simulator on a port of its own.
type runningSimulator struct {
	*simulator.Simulator
	url    string
	server *http.Server
	failed chan error
}

func startSimulator(listen string, cfg simulator.Config) (*runningSimulator, error) {
	l, err := net.Listen("tcp", listen) //nolint:noctx // the listener lives as long as the process
	if err != nil {
		return nil, fmt.Errorf("simulator: %w", err)
	}
	url := "http://" + l.Addr().String()
	cfg.BaseURL = url
	sim, err := simulator.New(cfg)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("simulator: %w", err), l.Close())
	}
	r := &runningSimulator{
		Simulator: sim, url: url, failed: make(chan error, 1),
		server: &http.Server{Handler: sim, ReadHeaderTimeout: 10 * time.Second},
	}
	go func() { r.failed <- r.server.Serve(l) }()
	return r, nil
}

// simulatorGrace is how long answers that are under way may take at a stop.
const simulatorGrace = 200 * time.Millisecond

// stop ends the server and keeps the books.
func (r *runningSimulator) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), simulatorGrace)
	defer cancel()
	err := r.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = r.server.Close() // a simulated delay may last; nobody waits for it now
	}
	return errors.Join(err, r.Close())
}

// startDevSimulator runs the simulator of a development gateway: it keeps its
// books in the folder, and knows where the gateway takes webhooks.
func startDevSimulator(d *devData, at devAddresses, client *http.Client) (*runningSimulator, error) {
	alipayKey, err := d.read(fileAlipayPSP)
	if err != nil {
		return nil, fmt.Errorf("simulator: %w", err)
	}
	cfg := simulator.Config{Client: client, AlipayKey: []byte(alipayKey)}
	r, err := startSimulator(defaultSimulator, cfg)
	if err != nil { // the port is taken
		if r, err = startSimulator("127.0.0.1:0", cfg); err != nil {
			return nil, err
		}
	}
	if err := r.Keep(d.path(fileBooks), afterFunc); err != nil {
		return nil, errors.Join(err, r.stop())
	}
	if err := r.introduce(d, at); err != nil {
		return nil, errors.Join(fmt.Errorf("simulator: %w", err), r.stop())
	}
	return r, nil
}

// introduce tells the simulator of the gateway, as an operator tells a PSP on
// its website.
func (r *runningSimulator) introduce(d *devData, at devAddresses) error {
	secret, err := d.read(fileStripeWebhook)
	if err != nil {
		return err
	}
	if err := r.RegisterStripeWebhook("", at.url+"/webhooks/stripe", secret); err != nil {
		return err
	}
	if secret, err = d.read(fileAdyenHMAC); err != nil {
		return err
	}
	if err := r.RegisterAdyenWebhook(devAdyenAccount, at.url+"/webhooks/adyen", secret); err != nil {
		return err
	}
	public, err := d.read(fileAlipayOwnPub)
	if err != nil {
		return err
	}
	return r.SetAlipayMerchantKey(devAlipayApp, []byte(public))
}

func afterFunc(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
