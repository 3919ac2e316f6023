package token

import (
	"net/http"
	"time"
)

// NewClient makes a client that fetches key sets: with the system's authorities
// and proxies, few connections, and no redirect, which could lead anywhere.
func NewClient() *http.Client {
	return &http.Client{
		Timeout:       fetchTimeout,
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConns: 4, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
