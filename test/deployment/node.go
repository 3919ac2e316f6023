package deployment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// Node is one gateway, which may be dead at the moment. Its methods are for one
// goroutine.
type Node struct {
	d    *Deployment
	Name string // of its log
	// URL is its own address, Admin the operators' host:port.
	URL, Admin string
	process    *Process
}

// config is the file of the node's configuration.
func (n *Node) config() string { return n.d.Path("config", n.Name+".caddyfile") }

func (d *Deployment) addNode(ctx context.Context, name string) error {
	port, err := FreePort(ctx)
	if err != nil {
		return err
	}
	admin, err := FreePort(ctx)
	if err != nil {
		return err
	}
	d.Nodes = append(d.Nodes, &Node{d: d, Name: name, URL: "http://127.0.0.1:" + port, Admin: "127.0.0.1:" + admin})
	return nil
}

// Start starts the gateway. It may be called again after [Node.Kill] or
// [Node.Stop].
func (n *Node) Start() (err error) {
	n.process, err = n.d.Run(n.Name, "run", "--config", n.config(), "--adapter", "caddyfile")
	return err
}

// Kill ends the gateway with SIGKILL, and returns once it is gone.
func (n *Node) Kill() error { return n.process.Kill() }

// Stop asks the gateway to end, as a service manager does, and returns once it is
// gone.
func (n *Node) Stop(ctx context.Context) error {
	if err := n.process.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", n.Name, err)
	}
	select {
	case <-n.process.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s does not stop: %w", n.Name, ctx.Err())
	}
}

// Reload loads the node's configuration anew, whatever it says.
func (n *Node) Reload(ctx context.Context) error {
	return n.d.plain(ctx, "reload", "--force", "--config", n.config(), "--adapter", "caddyfile", "--address", n.Admin)
}

// PID is the process of the gateway.
func (n *Node) PID() int { return n.process.PID() }

// Ended is closed when the gateway that was started last has ended.
func (n *Node) Ended() <-chan struct{} { return n.process.ended }

// Ready waits until the gateway serves.
func (n *Node) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	pause := time.NewTicker(2 * time.Millisecond)
	defer pause.Stop()
	for {
		err := get(ctx, n.URL+"/readyz", nil)
		if err == nil {
			return nil
		}
		select {
		case <-pause.C:
		case <-n.Ended():
			return fmt.Errorf("%s ended; see %s", n.Name, n.d.Path("logs", n.Name+".log"))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", n.Name, errors.Join(ctx.Err(), err))
		}
	}
}
