package clientcert

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// NewClient makes a client that fetches lists and asks responders: within 10 s, by
// no proxy, and without following redirects, which would lead to hosts that
// nobody configured.
func NewClient() *http.Client {
	return &http.Client{
		Timeout:       fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
			TLSHandshakeTimeout:    5 * time.Second,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			MaxIdleConns:           16,
			MaxConnsPerHost:        16,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 16 << 10,
			DisableCompression:     true,
		},
	}
}
