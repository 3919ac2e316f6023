//go:build !linux

package deployment

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// FreePort tells a port of loopback that nobody listens on now. On Linux it also keeps
// the system from giving it to somebody else.
func FreePort(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("free port: %w", err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}
