package pursercmd

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"

	"github.com/purser-pay/purser/modules/gateway"
)

// devTimeout bounds the start: what takes longer will never come.
const devTimeout = 20 * time.Second

type devOptions struct {
	data, listen string
	verbose      bool
}

func devCommand(cmd *cobra.Command) {
	cmd.Args = cobra.NoArgs
	cmd.Long = `Runs the gateway with everything it needs and nothing installed: a SQLite
database, TLS from a certificate authority of its own, a simulator that stands
in for the payment providers, and one test merchant with a key. All of it lives
in one folder. No money moves, and the system's trust store is left alone.`
	var o devOptions
	cmd.Flags().StringVar(&o.data, "data", "./purser-data", "the folder that keeps everything")
	cmd.Flags().StringVar(&o.listen, "listen", "127.0.0.1:8443", "where to serve HTTPS")
	cmd.Flags().BoolVar(&o.verbose, "verbose", false, "log more than warnings")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer cancel()
		return runDev(ctx, o, cmd.OutOrStdout())
	}
}

// runDev serves until ctx ends.
func runDev(ctx context.Context, o devOptions, out io.Writer) (err error) {
	at, hosts, err := devPlaces(o.listen)
	if err != nil {
		return err
	}
	data, err := openDevData(o.data, hosts, time.Now())
	if err != nil {
		return fmt.Errorf("development data: %w", err)
	}
	client := devClient(data)
	sim, err := startDevSimulator(data, at, client)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sim.stop()) }()
	at.simulator = sim.url
	config, err := devConfig(data, at, o.verbose)
	if err != nil {
		return err
	}
	if err := loadQuietly(config); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer func() { err = errors.Join(err, stopCaddy()) }()

	starting, cancel := context.WithTimeout(ctx, devTimeout)
	defer cancel()
	if err := waitReady(starting, client, at.url); err != nil {
		return stopped(ctx, err)
	}
	info, err := devMerchant(starting, data, at, client)
	if err != nil {
		return stopped(ctx, err)
	}
	if err := data.saveInfo(info); err != nil {
		return err
	}
	tag, err := randomTag()
	if err != nil {
		return err
	}
	if err := announce(out, data, info, tag); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// devGrace is how long requests that are under way may take at a stop.
const devGrace = time.Second

// stopCaddy ends the gateway. A request that takes too long is cut off; what it
// was doing is durable, and the next start goes on with it.
func stopCaddy() error {
	ctx, cancel := context.WithTimeout(context.Background(), devGrace)
	defer cancel()
	err := caddy.Stop()
	_ = gateway.Drain(ctx) // its one failure is the cutting off
	return err
}

// stopped tells a start that failed from one that was called off.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // Ctrl-C is no failure
	}
	return err
}

func announce(out io.Writer, data *devData, info devInfo, tag string) error {
	_, err := fmt.Fprintf(out, "Purser %s, for development: no money moves.\n\n  API        %s\n  simulator  %s/_sim/\n  admin      %s\n  data       %s\n\n",
		caddy.CustomVersion, info.URL, info.Simulator, info.Admin, data.dir)
	if err != nil {
		return err
	}
	if err := devLines(out, info, tag); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, "ready")
	return err
}

// loadQuietly hands Caddy its configuration. What Caddy has to say before its
// own logging is set up is no news to a developer.
func loadQuietly(config []byte) error {
	_, before, _ := caddy.BufferedLog()
	err := caddy.Load(config, true)
	if err != nil {
		caddy.UnbufferDefaultLogger(before)
	}
	return err
}

// devPlaces chooses the addresses, and the names that the certificate is for.
func devPlaces(listen string) (devAddresses, []string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return devAddresses{}, nil, fmt.Errorf("--listen %q is not host:port", listen)
	}
	if port == "0" {
		if listen, err = freeAddress(net.JoinHostPort(host, "0")); err != nil {
			return devAddresses{}, nil, err
		}
		_, port, _ = net.SplitHostPort(listen)
	}
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	reach := host
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		reach = "127.0.0.1"
	}
	if !slices.Contains(hosts, reach) {
		hosts = append(hosts, reach)
	}
	admin, err := freeAddress(defaultAdmin)
	if err != nil {
		if admin, err = freeAddress("127.0.0.1:0"); err != nil {
			return devAddresses{}, nil, err
		}
	}
	if strings.HasSuffix(defaultAdmin, portOf(admin)) {
		admin = defaultAdmin
	}
	return devAddresses{listen: listen, admin: admin, url: "https://" + net.JoinHostPort(reach, port)}, hosts, nil
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return ":" + port
}

// freeAddress tells an address that can be listened on now.
func freeAddress(address string) (string, error) {
	l, err := net.Listen("tcp", address) //nolint:noctx // it is closed at once
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// devClient trusts the folder's own authority and nobody else.
func devClient(d *devData) *http.Client {
	return &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: d.authority.pool(), MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2: true,
		},
	}
}

// waitReady asks until the gateway serves.
func waitReady(ctx context.Context, client *http.Client, url string) error {
	pause := time.NewTicker(10 * time.Millisecond)
	defer pause.Stop()
	for {
		status, err := get(ctx, client, url+"/readyz", "")
		if err == nil && status == http.StatusOK {
			return nil
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return fmt.Errorf("the gateway did not become ready: status %d, %w", status, errors.Join(err, ctx.Err()))
		}
	}
}

func get(ctx context.Context, client *http.Client, url, key string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, errors.Join(err, resp.Body.Close())
}

// devMerchant finds the merchant and key of the last start, or makes new ones.
func devMerchant(ctx context.Context, d *devData, at devAddresses, client *http.Client) (devInfo, error) {
	info := d.lastInfo()
	info.URL, info.CA, info.Simulator, info.Admin, info.Console = at.url, d.path("ca.crt"), at.simulator, at.admin, ""
	if info.Key != "" {
		status, err := get(ctx, client, at.url+"/v1/account", info.Key)
		if err != nil {
			return devInfo{}, err
		}
		if status == http.StatusOK {
			return info, nil
		}
	}
	admin, err := newAdminClient(at.admin)
	if err != nil {
		return devInfo{}, err
	}
	answer, err := admin.call(ctx, http.MethodPost, "/merchants", object{"name": "Development"})
	if err != nil {
		return devInfo{}, err
	}
	merchant, err := decode[merchantRow](answer)
	if err != nil {
		return devInfo{}, err
	}
	answer, err = admin.call(ctx, http.MethodPost, "/keys", object{"merchant": merchant.ID, "mode": "test", "name": "Development"})
	if err != nil {
		return devInfo{}, err
	}
	key, err := decode[keyRow](answer)
	info.Merchant, info.Key = merchant.ID, key.Key
	return info, err
}

func randomTag() (string, error) {
	b := make([]byte, 3)
	_, err := rand.Read(b)
	return "demo-" + hex.EncodeToString(b), err
}
