package pursercmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
)

// defaultAdmin is Caddy's own default.
const defaultAdmin = "localhost:2019"

// adminTimeout bounds one call: a sync asks the PSP, which may take its time.
const adminTimeout = 2 * time.Minute

// maxAdminAnswer bounds what is read of one answer: a page of 100 payments.
const maxAdminAnswer = 32 << 20

// adminClient talks to the admin endpoint of a running gateway.
type adminClient struct {
	http *http.Client
	base string
	// origin is what Caddy wants to hear of who asks; "" on a socket, where it takes
	// none.
	origin string
}

// newAdminClient takes "host:port" or "unix//path".
func newAdminClient(address string) (*adminClient, error) {
	addr, err := caddy.ParseNetworkAddressWithDefaults(address, "tcp", 2019)
	if err != nil || addr.PortRangeSize() > 1 {
		return nil, usageError("admin address %q is neither host:port nor unix//path", address)
	}
	base := "http://" + addr.JoinHostPort(0)
	origin, dial := base, addr.JoinHostPort(0)
	if addr.IsUnixNetwork() {
		base, origin = "http://127.0.0.1", "" // any name will do on a socket
		dial, _, _ = strings.Cut(addr.Host, "|")
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, addr.Network, dial)
		},
		DisableKeepAlives: true,
	}
	return &adminClient{&http.Client{Transport: transport, Timeout: adminTimeout}, base, origin}, nil
}

// call sends in as JSON, if there is one, and returns the answer's body.
func (c *adminClient) call(ctx context.Context, method, path string, in any) (json.RawMessage, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/payments"+path, body)
	if err != nil {
		return nil, err
	}
	if c.origin != "" {
		req.Header.Set("Origin", c.origin)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err
		}
		return nil, fmt.Errorf("the gateway's admin endpoint is out of reach: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAdminAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode >= 400 {
		return nil, adminError(resp.Status, answer)
	}
	return answer, nil
}

// adminError turns {"error": "…"} into an error of one line.
func adminError(status string, body []byte) error {
	var e struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &e) != nil || e.Error == "" {
		return fmt.Errorf("the gateway answers %s", status)
	}
	return errors.New(strings.Join(strings.Fields(e.Error), " "))
}

// adminFlags adds --address and --json to a command.
func adminFlags(cmd *cobra.Command) {
	address := os.Getenv("PURSER_ADMIN")
	if address == "" {
		address = defaultAdmin
	}
	cmd.Flags().String("address", address, "the gateway's admin endpoint, host:port or unix//path (environment: PURSER_ADMIN)")
	cmd.Flags().Bool("json", false, "print JSON")
}

// ask makes one call for cmd, and shows the answer.
func ask(cmd *cobra.Command, method, path string, in any, human func(io.Writer, json.RawMessage) error) error {
	client, err := adminOf(cmd)
	if err != nil {
		return err
	}
	answer, err := client.call(cmd.Context(), method, path, in)
	if err != nil {
		return err
	}
	return show(cmd, answer, human)
}

// adminOf returns the client of the gateway that a command's flags name.
func adminOf(cmd *cobra.Command) (*adminClient, error) {
	address, err := cmd.Flags().GetString("address")
	if err != nil {
		return nil, err
	}
	return newAdminClient(address)
}

// show hands an answer to human, or prints it as it is with --json.
func show(cmd *cobra.Command, answer json.RawMessage, human func(io.Writer, json.RawMessage) error) error {
	if asJSON, err := cmd.Flags().GetBool("json"); err != nil || asJSON {
		return errors.Join(err, printJSON(cmd.OutOrStdout(), answer))
	}
	return human(cmd.OutOrStdout(), answer)
}

func printJSON(w io.Writer, answer json.RawMessage) error {
	_, err := fmt.Fprintf(w, "%s\n", bytes.TrimSpace(answer))
	return err
}

// table prints rows under headings in columns.
func table(w io.Writer, head []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{head}, rows...) {
		if _, err := fmt.Fprintln(t, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return t.Flush()
}

// listOf is the form of the gateway's lists.
type listOf[T any] struct {
	Data       []T     `json:"data"`
	HasMore    bool    `json:"has_more"`
	NextCursor *string `json:"next_cursor"`
}

// decode reads an answer that a person will see a part of.
func decode[T any](answer json.RawMessage) (T, error) {
	var v T
	if err := json.Unmarshal(answer, &v); err != nil {
		return v, fmt.Errorf("the gateway's answer: %w", err)
	}
	return v, nil
}

// orDash shows what is absent.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
