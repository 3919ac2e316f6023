package outbox

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/purser-pay/purser/modules/webhook"
)

// Bounds of one try.
const (
	// Timeout bounds a try: DNS, connect, TLS, request and answer.
	Timeout     = 15 * time.Second
	dialTimeout = 10 * time.Second
	// maxAnswer and maxAnswerHeader bound what is read of an answer, in bytes.
	// The body is thrown away; it is only read so that the connection can serve
	// again.
	maxAnswer, maxAnswerHeader = 64 << 10, 64 << 10
	// maxIdle and maxIdlePerHost bound the connections that are kept for the next
	// delivery, and idleFor for how long.
	maxIdle, maxIdlePerHost = 1024, 8
	idleFor                 = 30 * time.Second
	// maxSessions bounds the TLS sessions that are remembered.
	maxSessions = 256
)

// ClientConfig says where a [Client] may go. The zero value works.
type ClientConfig struct {
	// Targets says where deliveries may go; zero = HTTPS at public addresses.
	Targets webhook.Targets
	// RootCAs are those whom the endpoints' certificates must come from; nil =
	// the system's.
	RootCAs *x509.CertPool
	// Resolver looks up names; nil = the system's.
	Resolver *net.Resolver
	// Timeout bounds a try; 0, or more than [Timeout], is [Timeout].
	Timeout time.Duration
	// Version is shown in User-Agent; "" = "dev".
	Version string
}

// Client sends one delivery at a time: one POST, no redirect, no proxy, no
// cookie. It connects only where its [webhook.Targets] allow, which it asks of
// the very address that is about to be dialed, after DNS. It is safe for
// concurrent use.
//
// net/http sends a request a second time by itself only where not one byte of
// it left on a kept connection that had died.
type Client struct {
	targets   webhook.Targets
	timeout   time.Duration
	userAgent string
	// One transport a scheme, as the rules for addresses differ.
	https, http *http.Transport
}

// NewClient returns a client with connections of its own.
func NewClient(c ClientConfig) *Client {
	client := &Client{
		targets: c.Targets, timeout: Timeout, userAgent: "Purser/" + cmp.Or(c.Version, "dev"),
		https: c.transport("https"), http: c.transport("http"),
	}
	if c.Timeout > 0 {
		client.timeout = min(c.Timeout, Timeout)
	}
	return client
}

func (c ClientConfig) transport(scheme string) *http.Transport {
	dialer := &net.Dialer{
		Timeout: dialTimeout, Resolver: c.Resolver,
		Control: func(_, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("%w: %w", webhook.ErrAddress, err)
			}
			return c.Targets.CheckAddr(scheme, at)
		},
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:       nil, // not even the environment's
		DialContext: dialer.DialContext,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: c.RootCAs, ClientSessionCache: tls.NewLRUClientSessionCache(maxSessions),
		},
		TLSHandshakeTimeout:    dialTimeout,
		DisableCompression:     true,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleFor,
		MaxResponseHeaderBytes: maxAnswerHeader,
		Protocols:              &protocols,
	}
}

// Close closes the connections that are kept.
func (c *Client) Close() {
	c.https.CloseIdleConnections()
	c.http.CloseIdleConnections()
}

// Result is what became of a try, in one word; metrics count by it.
type Result string

// The results of a try.
const (
	Delivered Result = "delivered" // 2xx
	// Rejected: any other answer, a redirect too.
	Rejected Result = "rejected"
	// Unreachable: no answer, and it did not take long.
	Unreachable Result = "unreachable"
	// TimedOut: no answer in time.
	TimedOut Result = "timeout"
	// Forbidden: the URL, or what its name resolves to, is no target.
	Forbidden Result = "forbidden"
)

// Results lists them all.
var Results = []Result{Delivered, Rejected, Unreachable, TimedOut, Forbidden}

// answer is what came of one POST.
type answer struct {
	result Result
	status int    // 0 = there was none
	why    string // in our words; "" if delivered
	// retryAfter is the header as it came.
	retryAfter string
}

// post sends a body once. The header belongs to the client afterwards.
func (c *Client) post(ctx context.Context, to string, header http.Header, body []byte) answer {
	if err := c.targets.CheckURL(to); err != nil {
		return c.failed(err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return answer{result: Forbidden, why: "the URL is not one"}
	}
	header.Set("Content-Type", "application/json")
	header.Set("User-Agent", c.userAgent)
	req.Header = header
	transport := c.https
	if req.URL.Scheme == "http" {
		transport = c.http
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return c.failed(err)
	}
	defer res.Body.Close() //nolint:errcheck // it is thrown away
	if err := ctx.Err(); err != nil {
		// net/http closes the connection when the time is over, and while it does it
		// still takes what comes. A host that answers because we hung up, as many a
		// framework does, has not said that it took the delivery.
		return c.failed(err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		// Whatever becomes of the body: the answer is there.
		_, _ = io.CopyN(io.Discard, res.Body, maxAnswer+1)
	}
	a := answer{result: Delivered, status: res.StatusCode, retryAfter: res.Header.Get("Retry-After")}
	switch res.StatusCode / 100 {
	case 2:
	case 3:
		a.result, a.why = Rejected, fmt.Sprintf("it answered %d: a redirect is not followed", a.status)
	default:
		a.result, a.why = Rejected, fmt.Sprintf("it answered %d", a.status)
	}
	return a
}

// failed tells in our own words why there is no answer: neither the endpoint's
// words, nor an address that a name resolved to, are shown to a merchant.
func (c *Client) failed(err error) answer {
	var (
		dns      *net.DNSError
		netErr   net.Error
		record   tls.RecordHeaderError
		op       *net.OpError
		name     x509.HostnameError
		unknown  x509.UnknownAuthorityError
		invalid  x509.CertificateInvalidError
		verified *tls.CertificateVerificationError
	)
	unreachable := func(why string) answer { return answer{result: Unreachable, why: why} }
	switch {
	case errors.Is(err, webhook.ErrURL):
		return answer{result: Forbidden, why: err.Error()} // our own words, which quote nothing
	case errors.Is(err, webhook.ErrAddress):
		return answer{result: Forbidden, why: "the host is not at a public address, or the port is not allowed"}
	case errors.As(err, &dns) && dns.IsNotFound:
		return unreachable("the host's name does not resolve")
	case errors.As(err, &netErr) && netErr.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return answer{result: TimedOut, why: fmt.Sprintf("no answer within %v", c.timeout)}
	case errors.Is(err, context.Canceled):
		return answer{result: TimedOut, why: "the gateway was stopped before there was an answer"}
	case errors.As(err, &dns):
		return unreachable("the host's name could not be looked up")
	case errors.As(err, &name):
		return unreachable("TLS: the certificate is for another host")
	case errors.As(err, &unknown):
		return unreachable("TLS: the certificate comes from an unknown authority")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return unreachable("TLS: the certificate has expired, or is not valid yet")
	case errors.As(err, &verified):
		return unreachable("TLS: the certificate is not valid")
	case errors.As(err, &record):
		return unreachable("TLS: the host does not speak it at this port")
	case errors.As(err, &op) && op.Op == "remote error": // crypto/tls's word for an alert
		return unreachable("TLS: the host refused the handshake")
	case errors.Is(err, syscall.ECONNREFUSED):
		return unreachable("the host refused the connection")
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return unreachable("the host closed the connection before it answered")
	}
	return unreachable("there was no HTTP answer")
}
