package deployment

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// balance starts a balancer before the nodes: the binary itself, as the Caddy that
// it is, set up as caddyfile/balancer.caddyfile: it tries another node where one
// cannot be reached, and sends again what broke off under an Idempotency-Key.
func (d *Deployment) balance(ctx context.Context) (err error) {
	upstreams := make([]string, len(d.Nodes))
	for i, n := range d.Nodes {
		upstreams[i] = strings.TrimPrefix(n.URL, "http://")
	}
	port, err := FreePort(ctx)
	if err != nil {
		return err
	}
	d.balancerAdmin = "127.0.0.1:" + port
	file := d.balancerConfig()
	text := fmt.Sprintf(`{
	admin %s
	auto_https off
	persist_config off
}
%s {
	bind 127.0.0.1
	payments_handover
	reverse_proxy %s {
		lb_policy round_robin
		lb_try_duration 10s
		lb_try_interval 20ms
		lb_retry_match {
			method GET
		}
		lb_retry_match {
			header Idempotency-Key *
			not header Signature-Input *
			not header Purser-Signature *
			not header DPoP *
		}
		request_buffers 1MiB
		health_uri /readyz
		health_interval 200ms
		health_timeout 2s
	}
}
`, d.balancerAdmin, d.URL, strings.Join(upstreams, " "))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return fmt.Errorf("balancer: %w", err)
	}
	d.balancer, err = d.Run("balancer", "run", "--config", file, "--adapter", "caddyfile")
	return err
}

func (d *Deployment) balancerConfig() string { return d.Path("config", "balancer.caddyfile") }

// ReloadBalancer loads the balancer's configuration anew, whatever it says.
func (d *Deployment) ReloadBalancer(ctx context.Context) error {
	return d.plain(ctx, "reload", "--force", "--config", d.balancerConfig(), "--adapter", "caddyfile", "--address", d.balancerAdmin)
}

// balanced waits until the balancer finds a node.
func (d *Deployment) balanced(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	pause := time.NewTicker(10 * time.Millisecond)
	defer pause.Stop()
	for {
		err := get(ctx, d.URL+"/readyz", nil)
		if err == nil {
			return nil
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return fmt.Errorf("the balancer finds no node: %w", err)
		}
	}
}
