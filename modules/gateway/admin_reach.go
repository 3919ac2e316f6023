package gateway

import (
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/transport"
)

// accountTest is what a test of an account found.
type accountTest struct {
	Object    string       `json:"object"` // account_test
	Account   string       `json:"account"`
	Connector string       `json:"connector"`
	Mode      payment.Mode `json:"mode"`
	OK        bool         `json:"ok"`
	Checks    []checked    `json:"checks"`
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
// read, and its PSP's hosts answer through the account's own client. It calls
// no operation of the PSP.
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
		NotTested: []string{
			"that the PSP takes the credentials: no connector names a call for it that does nothing",
			"that the PSP's webhooks arrive: see its dashboard, POST /webhooks/" + name,
		},
	}
	t.add(c.checkSecrets(name))
	found, err := c.exchange.Reach(c.r.Context(), account)
	if err != nil {
		t.add(checked{Check: "hosts", Detail: err.Error()})
	}
	for i := range found {
		t.add(checkHost(&found[i], now()))
	}
	c.audit("accounts.test", name, nil, slog.Bool("ok", t.OK))
	return c.write(http.StatusOK, t)
}

func (t *accountTest) add(c checked) {
	t.OK = t.OK && c.OK
	t.Checks = append(t.Checks, c)
}

// checkSecrets reads the account's secrets again.
func (c call) checkSecrets(name string) checked {
	changed, err := changedSecrets(c.accounts[name].Connector, lookup(c.Root))
	k := checked{Check: "secrets", OK: true, Detail: "readable, and the same as at the last reload"}
	switch {
	case err != nil:
		k.OK, k.Detail = false, err.Error()
	case len(changed) > 0:
		k.OK, k.Detail = false, fmt.Sprintf("changed since the last reload: %v", changed)
	}
	return k
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
