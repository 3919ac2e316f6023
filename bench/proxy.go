package main

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
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/purser-pay/purser/test/deployment"
)

// passage is what a request to a PSP's own API costs on its way through the
// gateway, beside the same request through a bare reverse proxy of the same
// binary.
type passage struct {
	Bare    part `json:"bare"`
	Gateway part `json:"gateway"` // by API key
	Token   part `json:"token"`   // by an access token that was seen before
	// Ratio and TokenRatio are those of the processor time of one request to that of
	// the bare one.
	Ratio      float64 `json:"ratio"`
	TokenRatio float64 `json:"token_ratio"`
}

// targetRatio is what the gateway's keys, limits and policies may cost.
const targetRatio = 1.15

// tokenRatio is what HAProxy takes to verify the ES256 signature of each token
// and pass the request on, beside Caddy's bare reverse_proxy: 0.105 and 0.088 ms.
const tokenRatio = 1.19

// rounds is how often the two take turns, so that both see the same machine: one
// that is shared with others changes its speed from one second to the next.
const rounds = 12

// proxied is the request of both.
func proxied(n int64) string {
	return fmt.Sprintf("amount=1999&currency=eur&source=tok_visa&description=order-%d&metadata[reference]=order-%d", n, n)
}

// measureProxy runs both proxies, each with one processor, on the first core;
// upstream and load are on the others.
func measureProxy(ctx context.Context, d *deployment.Deployment, o options) (p passage, err error) {
	upstream, err := startUpstream(ctx)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, upstream.Close()) }()
	if err := os.Setenv("GOMAXPROCS", "1"); err != nil { // of those who are started; ours is settled
		return p, err
	}
	defer func() { err = errors.Join(err, os.Unsetenv("GOMAXPROCS")) }()
	profiled := o.proxy && o.profile != ""
	bare, bareAdmin, stopBare, err := bareProxy(ctx, d, upstream.Addr, profiled)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, stopBare()) }()
	gateway, token, admin, stopGateway, err := passThrough(ctx, d, upstream.Addr)
	if err != nil {
		return p, fmt.Errorf("pass-through: %w\n%s", err, d.LogTail("proxy"))
	}
	defer func() { err = errors.Join(err, stopGateway()) }()
	pin("0", bare.gateway, gateway.gateway)
	if n := runtime.NumCPU(); n > 1 {
		pin("1-"+strconv.Itoa(n-1), os.Getpid())
		defer pin("0-"+strconv.Itoa(n-1), os.Getpid())
	}
	o.each = max(o.each/rounds, time.Second)
	byToken := gateway
	byToken.name, byToken.key = "/v1/proxy by token", token
	p.Bare.Name, p.Gateway.Name, p.Token.Name = bare.name, gateway.name, byToken.name
	if profiled {
		if err := errors.Join(profileUnder(ctx, gateway, admin, o.profile, o), profileUnder(ctx, bare, bareAdmin, o.profile+".bare", o)); err != nil {
			return p, err
		}
	}
	for range rounds {
		for _, turn := range []struct {
			target target
			sum    *part
		}{{bare, &p.Bare}, {gateway, &p.Gateway}, {byToken, &p.Token}} {
			got, err := measure(ctx, turn.target, o)
			if err != nil {
				return p, err
			}
			turn.sum.add(got)
		}
	}
	if p.Bare.CPUMS > 0 {
		p.Ratio, p.TokenRatio = p.Gateway.CPUMS/p.Bare.CPUMS, p.Token.CPUMS/p.Bare.CPUMS
	}
	return p, nil
}

// profileUnder writes a profile of a target under load.
func profileUnder(ctx context.Context, t target, admin, file string, o options) error {
	o.profile = file
	profiled := make(chan error, 1)
	go func() { profiled <- profile(ctx, admin, o) }()
	_, err := measure(ctx, t, o)
	return errors.Join(err, <-profiled)
}

// add joins the figures of two windows. Latencies become means, weighted by the
// requests.
func (p *part) add(q part) {
	mean := func(a, b float64, n, m int) float64 {
		if n+m == 0 {
			return 0
		}
		return (a*float64(n) + b*float64(m)) / float64(n+m)
	}
	p.P50MS, p.P99MS = mean(p.P50MS, q.P50MS, p.Requests, q.Requests), mean(p.P99MS, q.P99MS, p.Requests, q.Requests)
	p.CPUMS = mean(p.CPUMS, q.CPUMS, p.Requests, q.Requests)
	before, after := p.Seconds, q.Seconds
	p.Cores = cores{
		(p.Cores.Gateway*before + q.Cores.Gateway*after) / (before + after), 0, (p.Cores.Load*before + q.Cores.Load*after) / (before + after),
	}
	p.Requests, p.Seconds, p.RSSMB = p.Requests+q.Requests, before+after, q.RSSMB
	p.PerSecond = float64(p.Requests) / p.Seconds
	if p.Failures += q.Failures; p.Failure == "" {
		p.Failure = q.Failure
	}
}

// bareProxy is Caddy's reverse_proxy and nothing else, but for a payments app that
// nobody calls where it is to be profiled.
func bareProxy(ctx context.Context, d *deployment.Deployment, upstream string, profiled bool) (t target, admin string, stop func() error, err error) {
	port, err := deployment.FreePort(ctx)
	if err != nil {
		return t, "", nil, err
	}
	if admin, err = deployment.FreePort(ctx); err != nil {
		return t, "", nil, err
	}
	admin = "127.0.0.1:" + admin
	t = target{name: "bare reverse_proxy", url: "http://127.0.0.1:" + port + "/v1/charges", key: "sk_test_bench", body: proxied, good: "x", kind: formType}
	payments := ""
	if profiled {
		payments = "payments {\n\t\tstore sqlite ../data/bare.db\n\t\tpepper {file.pepper}\n\t\tseal_key {file.seal_key}\n\t\tprofiling\n\t}"
	}
	config := strings.NewReplacer("ADMIN", admin, "PORT", port, "UPSTREAM", upstream, "PAYMENTS", payments).Replace(`{
	admin ADMIN
	auto_https off
	persist_config off
	PAYMENTS
}
http://127.0.0.1:PORT {
	bind 127.0.0.1
	reverse_proxy UPSTREAM {
		transport http {
			keepalive_idle_conns_per_host 256
		}
	}
}
`)
	process, err := runProxy(d, "bare", config)
	if err != nil {
		return t, "", nil, err
	}
	t.gateway = process.PID()
	if err := answers(ctx, t); err != nil {
		return t, "", nil, errors.Join(err, process.Kill())
	}
	return t, admin, process.Kill, nil
}

// passThrough is a whole gateway: the merchant's key, limits, a policy that
// allows the call, and an account of the merchant's own. It starts twice: the
// account's line must name a merchant, which must exist first.
func passThrough(ctx context.Context, d *deployment.Deployment, upstream string) (t target, token, admin string, stop func() error, err error) {
	port, err := deployment.FreePort(ctx)
	if err != nil {
		return t, "", "", nil, err
	}
	if admin, err = deployment.FreePort(ctx); err != nil {
		return t, "", "", nil, err
	}
	admin = "127.0.0.1:" + admin
	process, err := runProxy(d, "proxy", proxyConfig(admin, port, ""))
	if err != nil {
		return t, "", "", nil, err
	}
	merchant, key, err := newCaller(ctx, "http://"+admin)
	if err := errors.Join(err, process.Kill()); err != nil {
		return t, "", "", nil, err
	}
	if err := os.MkdirAll(d.Path("config", "rules"), 0o700); err != nil {
		return t, "", "", nil, err
	}
	policy := fmt.Sprintf("rules:\n  - name: charges\n    when: 'merchant == %q'\n    allow:\n      proxy: [\"GET /v1/charges*\", \"POST /v1/charges*\"]\n", merchant)
	if err := os.WriteFile(d.Path("config", "rules", "proxy.yaml"), []byte(policy), 0o600); err != nil {
		return t, "", "", nil, err
	}
	if token, err = newToken(d.Path("config", "jwks.json"), merchant); err != nil {
		return t, "", "", nil, err
	}
	account := strings.NewReplacer("ISSUER", issuer, "AUDIENCE", audience, "MERCHANT", merchant, "UPSTREAM", upstream).Replace(`policies rules
		jwt ISSUER {
			audience AUDIENCE
			jwks jwks.json
			merchants MERCHANT
		}
		rate_limit key 1000000/1s
		rate_limit merchant 1000000/1s
		rate_limit ip 1000000/1s
		account own stripe {
			mode test
			merchants MERCHANT
			base_url http://UPSTREAM
			secret_key {file.stripe_secret_key}
			webhook_secret {file.stripe_webhook_secret}
		}`)
	if process, err = runProxy(d, "proxy", proxyConfig(admin, port, account)); err != nil {
		return t, "", "", nil, err
	}
	t = target{
		name: "/v1/proxy", url: "http://127.0.0.1:" + port + "/v1/proxy/own/v1/charges", key: key, body: proxied, good: "x",
		gateway: process.PID(), kind: formType,
	}
	if err := answers(ctx, t); err != nil {
		return t, "", "", nil, errors.Join(err, process.Kill())
	}
	return t, token, admin, process.Kill, nil
}

const formType = "application/x-www-form-urlencoded"

func proxyConfig(admin, port, payments string) string {
	return strings.NewReplacer("ADMIN", admin, "PORT", port, "PAYMENTS", payments).Replace(`{
	admin ADMIN
	auto_https off
	persist_config off
	payments {
		store sqlite ../data/proxy.db
		pepper {file.pepper}
		seal_key {file.seal_key}
		profiling
		PAYMENTS
	}
}
http://127.0.0.1:PORT {
	bind 127.0.0.1
	payments_gateway
}
`)
}

// runProxy starts the binary with a configuration of its own.
func runProxy(d *deployment.Deployment, name, config string) (*deployment.Process, error) {
	file := d.Path("config", name+".caddyfile")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	return d.Run(name, "run", "--config", file, "--adapter", "caddyfile")
}

// newCaller makes a merchant, and a key that may use the pass-through.
func newCaller(ctx context.Context, admin string) (merchant, key string, err error) {
	var made struct{ ID, Key string }
	if err := patiently(ctx, func() error {
		return operate(ctx, admin+"/payments/merchants", map[string]any{"name": "Bench"}, &made)
	}); err != nil {
		return "", "", err
	}
	merchant = made.ID
	err = operate(ctx, admin+"/payments/keys", map[string]any{"merchant": merchant, "mode": "test", "scopes": []string{"proxy:use"}}, &made)
	return merchant, made.Key, err
}

// operate makes a call of the operators' endpoint.
func operate(ctx context.Context, url string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	b, err = io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("%s: status %d: %.300s", url, resp.StatusCode, b)
	}
	return json.Unmarshal(b, out)
}

// answers waits for the first good answer.
func answers(ctx context.Context, t target) error {
	if err := patiently(ctx, func() error { return t.once(ctx, http.DefaultClient, 0) }); err != nil {
		return fmt.Errorf("%s gives no good answer: %w", t.name, err)
	}
	return nil
}

// patiently tries until it succeeds.
func patiently(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, deployment.Patience/4)
	defer cancel()
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return err
		}
	}
}

// pin binds processes to cores, where taskset (util-linux) is at hand; elsewhere
// they go where the system puts them.
func pin(list string, pids ...int) {
	taskset, err := exec.LookPath("taskset")
	if err != nil || runtime.NumCPU() < 2 {
		return
	}
	for _, pid := range pids {
		_ = exec.Command(taskset, "-acp", list, strconv.Itoa(pid)).Run() //nolint:gosec,noctx // G204: our own words; it ends at once
	}
}

// line tells the comparison in words.
func (p *passage) line() string {
	verdict := func(ratio, target float64) string {
		if ratio > target {
			return fmt.Sprintf("ratio %.2f, OVER the target of %.2f", ratio, target)
		}
		return fmt.Sprintf("ratio %.2f, within the target of %.2f", ratio, target)
	}
	return fmt.Sprintf("\na passed request: %.3f ms of processor time bare\n  by API key  %.3f ms, %s\n  by token    %.3f ms, %s\n",
		p.Bare.CPUMS, p.Gateway.CPUMS, verdict(p.Ratio, targetRatio), p.Token.CPUMS, verdict(p.TokenRatio, tokenRatio))
}
