package gateway

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/transport"
)

// accountTest is what a test of an account found.
type accountTest struct {
	Object    string       `json:"object"` // account_test
	Account   string       `json:"account"`
	Connector string       `json:"connector"`
	Mode      payment.Mode `json:"mode"`
	OK        bool         `json:"ok"` // of every check
	// Credentials is accepted, refused, unknown (no answer told) or not_tested.
	Credentials string `json:"credentials"`
	// Webhooks is configured, or none where the connector knows none.
	Webhooks string    `json:"webhooks"`
	Checks   []checked `json:"checks"`
	// NotTested is what an operator might take for tested.
	NotTested []string `json:"not_tested"`
}

// checked is one thing that was tried.
type checked struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	TookMS int64  `json:"took_ms"`
}

// testAccount looks whether an account could work: its secrets are as they were
// read, its PSP's hosts answer through the account's own client, and the PSP
// takes the credentials. It moves nothing, and changes nothing at the PSP.
func testAccount(c call) error {
	defer c.Use()()
	name := c.r.PathValue("name")
	account, ok := c.accounts[name]
	if !ok {
		return apiError(http.StatusNotFound, fmt.Errorf("there is no account %.63q", name))
	}
	c.mayTakeLong()
	t := accountTest{
		Object: "account_test", Account: name, Connector: account.Connector.Spec().Name, Mode: account.Mode, OK: true,
		Credentials: credentialsNotTested, Webhooks: "none", NotTested: []string{},
	}
	t.add(c.checkSecrets(name))
	found, err := c.exchange.Reach(c.r.Context(), account)
	if err != nil {
		t.add(checked{Check: "hosts", Detail: err.Error()})
	}
	for i := range found {
		t.add(checkHost(&found[i], now()))
	}
	t.checkCredentials(c, account)
	t.checkWebhooks(account)
	c.audit("accounts.test", name, nil, slog.Bool("ok", t.OK), slog.String("credentials", t.Credentials))
	return c.write(http.StatusOK, t)
}

func (t *accountTest) add(c checked) {
	t.OK = t.OK && c.OK
	t.Checks = append(t.Checks, c)
}

// What is known of an account's credentials.
const (
	credentialsAccepted  = "accepted"
	credentialsRefused   = "refused"
	credentialsUnknown   = "unknown"
	credentialsNotTested = "not_tested"
)

// checkCredentials asks the PSP, where the connector knows how. What cannot be
// told is not well: who tests an account wants to go live with it.
func (t *accountTest) checkCredentials(c call, account *connector.Account) {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // it never fails, as its documentation says
	p, ok := c.exchange.Probe(c.r.Context(), account, nonce)
	if !ok {
		t.NotTested = append(t.NotTested, "that the PSP takes the credentials: the connector knows no call that does nothing else")
		return
	}
	k := checked{Check: "credentials", TookMS: p.Took.Milliseconds()}
	switch {
	case p.Err != nil:
		t.Credentials, k.Detail = credentialsUnknown, "cannot tell: "+p.Err.Error()
	case !p.Accepted:
		t.Credentials, k.Detail = credentialsRefused, "refused: "+p.Detail
	case p.Livemode != nil && *p.Livemode != account.Mode.Live():
		t.Credentials = credentialsAccepted
		k.Detail = fmt.Sprintf("accepted: %s; but they are not of mode %s, which is the account's", p.Detail, account.Mode)
	default:
		t.Credentials, k.OK, k.Detail = credentialsAccepted, true, "accepted: "+p.Detail
	}
	t.add(k)
}

// checkWebhooks says what the PSP must be told. The credentials that verify
// deliveries are required fields: an account without them does not load.
func (t *accountTest) checkWebhooks(account *connector.Account) {
	if _, ok := account.Connector.(connector.WebhookDecoder); !ok {
		t.add(checked{Check: "webhooks", OK: true, Detail: "the connector has none: news comes by query alone"})
		return
	}
	t.Webhooks = "configured"
	t.add(checked{Check: "webhooks", OK: true, Detail: "configured: POST /webhooks/" + account.Name})
	t.NotTested = append(t.NotTested, "that the PSP's webhooks arrive: see its dashboard")
}

// checkSecrets reads the account's secrets again, and puts in use what changed.
func (c call) checkSecrets(name string) checked {
	c.renewing.Lock()
	changed, err := renew(c.accounts[name].Connector, lookup(c.Root))
	c.renewing.Unlock()
	switch {
	case err != nil:
		return checked{Check: "secrets", Detail: err.Error() + "; those that were read before stay in use"}
	case len(changed) > 0:
		return checked{Check: "secrets", OK: true, Detail: "changed, and in use from now on: " + strings.Join(changed, ", ")}
	default:
		return checked{Check: "secrets", OK: true, Detail: "readable, and in use"}
	}
}

// soonExpired is how near the end of a host's certificate is worth a word.
const soonExpired = 7 * 24 * time.Hour

func checkHost(r *transport.Reached, now time.Time) checked {
	k := checked{Check: r.URL, OK: r.Err == nil, TookMS: r.Took.Milliseconds()}
	if r.Err != nil {
		k.Detail = r.Err.Error()
		return k
	}
	k.Detail = "HTTP " + strconv.Itoa(r.Status) + " from " + r.Address
	if r.TLS != "" {
		k.Detail += ", " + r.TLS + ", certificate until " + r.NotAfter.UTC().Format(time.DateOnly)
		if r.NotAfter.Sub(now) < soonExpired {
			k.Detail += " (soon)"
		}
	}
	if r.Reused {
		k.Detail += ", over a connection that was open"
	}
	return k
}
