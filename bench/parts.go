package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/purser-pay/purser/test/deployment"
)

const (
	cardToken  = `{"type":"card_token","card_token":{"token":"pm_card_visa"}}` //nolint:gosec // G101: a published test token
	cardNumber = `{"type":"card","card":{"number":"4242424242424242","exp_month":12,"exp_year":2034,"cvc":"123"}}`
)

func paying(method string) func(int64) string {
	return func(n int64) string {
		return fmt.Sprintf(`{"amount":1999,"currency":"EUR","reference":"order-%d","description":"bench","payment_method":%s}`, n, method)
	}
}

// measureHop sends the very requests of the payments through a reverse proxy of
// the same binary, to a handler that answers as much as a payment's answer has.
func measureHop(ctx context.Context, d *deployment.Deployment, o options) (p part, err error) {
	upstream, err := startUpstream(ctx)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, upstream.Close()) }()
	port, err := deployment.FreePort(ctx)
	if err != nil {
		return p, err
	}
	url := "http://127.0.0.1:" + port
	config := d.Path("config", "hop.caddyfile")
	content := strings.NewReplacer("URL", url, "UPSTREAM", upstream.Addr).Replace(`{
	admin off
	auto_https off
}
URL {
	bind 127.0.0.1
	reverse_proxy UPSTREAM {
		transport http {
			keepalive_idle_conns_per_host 256
		}
	}
}
`)
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		return p, err
	}
	proxy, err := d.Run("hop", "run", "--config", config, "--adapter", "caddyfile")
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, proxy.Kill()) }()
	t := target{name: "hop", url: url + "/v1/payments", key: "none", body: paying(cardToken), good: "x", gateway: proxy.PID()}
	deadline := time.Now().Add(deployment.Patience)
	for {
		if err = t.once(ctx, http.DefaultClient, 0); err == nil {
			return measure(ctx, t, o)
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return p, fmt.Errorf("the hop is not ready: %w\n%s", err, d.LogTail("hop"))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// answerSize is about that of a payment, in bytes.
const answerSize = 1700

// startUpstream listens on loopback; Addr is where.
func startUpstream(ctx context.Context) (*http.Server, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	answer := []byte(strings.Repeat("x", answerSize))
	s := &http.Server{
		Addr: l.Addr().String(), ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(answer)
		}),
	}
	go func() { _ = s.Serve(l) }() // until Close
	return s, nil
}

// measurePayments measures the gateway, which runs already.
func measurePayments(ctx context.Context, d *deployment.Deployment, o options) ([]part, error) {
	key, err := d.Key(ctx)
	if err != nil {
		return nil, err
	}
	to := func(name, method string) target {
		return target{
			name: name, url: d.URL + "/v1/payments", key: key, body: paying(method), good: `"status":"succeeded"`,
			gateway: d.PID(), psp: d.Simulator.PID(),
		}
	}
	if err := d.Simulator.Delete(ctx, "/webhooks"); err != nil {
		return nil, err
	}
	profiled := make(chan error, 1)
	go func() { profiled <- profile(ctx, d.Nodes[0].Admin, o) }()
	token, err := measure(ctx, to("card_token", cardToken), o)
	if err := errors.Join(err, <-profiled); err != nil {
		return nil, err
	}
	number, err := measure(ctx, to("card", cardNumber), o)
	if err != nil {
		return nil, err
	}
	// The last part, because what the PSP could not deliver in time goes on coming.
	if err := d.Webhooks(ctx); err != nil {
		return nil, err
	}
	withWebhooks, err := measure(ctx, to("card_token+webhooks", cardToken), o)
	return []part{token, number, withWebhooks}, err
}

// profile writes a CPU profile of the gateway, if one is wanted.
func profile(ctx context.Context, admin string, o options) error {
	if o.profile == "" {
		return nil
	}
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", admin, int(o.each.Seconds()))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("profile: status %d: %.300s", resp.StatusCode, b)
	}
	return os.WriteFile(o.profile, b, 0o600)
}
