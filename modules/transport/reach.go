package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"slices"
	"time"

	"github.com/purser-pay/purser/modules/connector"
)

// Reached tells how far a request without content got at one host.
type Reached struct {
	URL     string
	Address string // of the peer, a proxy perhaps; "" = no connection came about
	// Reused tells that the connection was there already, so that neither the
	// name nor the certificate was looked at anew.
	Reused bool
	// TLS is the version, such as "TLS 1.3"; "" for plain HTTP.
	TLS string
	// NotAfter is when the host's certificate ends; zero for plain HTTP.
	NotAfter time.Time
	Status   int // of the HTTP answer; any is a sign of life
	Took     time.Duration
	Err      error // redacted
}

// Reach asks every host of an account for nothing, through the account's own
// client: HEAD, without a credential, once. Any answer proves the name, the way
// and the certificate, and no answer moves money. Whether the credentials are
// right it does not tell.
func (t *Transport) Reach(ctx context.Context, a *connector.Account) ([]Reached, error) {
	r, err := t.room(a)
	if err != nil {
		return nil, (&run{t: t, account: a}).redact(err)
	}
	var found []Reached
	for _, url := range r.hosts.urls() {
		found = append(found, t.reach(ctx, r, a, url))
	}
	return found, nil
}

// urls lists the roots of the hosts, in order.
func (h hosts) urls() []string {
	var urls []string
	if h.http != "" {
		urls = append(urls, "http://"+h.http+"/")
	}
	for host := range h.https {
		urls = append(urls, "https://"+host+"/")
	}
	slices.Sort(urls)
	return urls
}

func (t *Transport) reach(ctx context.Context, r *room, a *connector.Account, url string) Reached {
	found := Reached{URL: url}
	ctx, cancel := context.WithTimeout(ctx, a.Exchange())
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
		found.Address, found.Reused = c.Conn.RemoteAddr().String(), c.Reused
	}})
	began := t.cfg.Now()
	err := r.head(ctx, t.agent, url, &found)
	found.Took = t.cfg.Now().Sub(began)
	found.Err = (&run{t: t, account: a}).redact(err)
	return found
}

func (r *room) head(ctx context.Context, agent, url string, found *Reached) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, url, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", agent)
	if err := r.hosts.check(req); err != nil {
		return err
	}
	resp, err := r.tripper.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	found.Status = resp.StatusCode
	if c := resp.TLS; c != nil {
		found.TLS = tls.VersionName(c.Version)
		if len(c.PeerCertificates) > 0 {
			found.NotAfter = c.PeerCertificates[0].NotAfter
		}
	}
	return resp.Body.Close()
}
