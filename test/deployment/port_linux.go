package deployment

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// FreePort tells a port of loopback that nobody listens on, and that the system gives
// to nobody else for as long as this process lives: a socket is bound to it, which
// listens to nothing. Who asks for the port by its number gets it all the same, as
// servers do that set SO_REUSEADDR.
func FreePort(context.Context) (string, error) {
	port, err := reserve()
	if err != nil {
		return "", fmt.Errorf("free port: %w", os.NewSyscallError("bind", err))
	}
	return strconv.Itoa(port), nil
}

func reserve() (port int, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	// Caddy's sockets ask for the second, and get it only from sockets that do too.
	for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1); err != nil {
			return 0, err
		}
	}
	loopback := &unix.SockaddrInet4{Addr: [4]byte(net.IPv4(127, 0, 0, 1).To4())}
	if err := unix.Bind(fd, loopback); err != nil {
		return 0, err
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	return bound.(*unix.SockaddrInet4).Port, nil //nolint:forcetypeassert // it is what was bound
}
