package deployment

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// balance starts a balancer before the nodes: the binary itself, as the Caddy that
// it is. It tries another node where one cannot be reached, and never sends a
// request twice.
func (d *Deployment) balance() (err error) {
	upstreams := make([]string, len(d.Nodes))
	for i, n := range d.Nodes {
		upstreams[i] = strings.TrimPrefix(n.URL, "http://")
	}
	file := d.Path("config", "balancer.caddyfile")
	text := fmt.Sprintf(`{
	admin off
	auto_https off
	persist_config off
}
%s {
	bind 127.0.0.1
	reverse_proxy %s {
		lb_policy round_robin
		lb_try_duration 10s
		lb_try_interval 20ms
		health_uri /readyz
		health_interval 200ms
		health_timeout 2s
	}
}
`, d.URL, strings.Join(upstreams, " "))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return fmt.Errorf("balancer: %w", err)
	}
	d.balancer, err = d.Run("balancer", "run", "--config", file, "--adapter", "caddyfile")
	return err
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
