package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// defaultPage is the length of a page where nothing is said.
const defaultPage = 20

func listPayments(c call) error {
	q, err := paymentQuery(c.r)
	if err != nil {
		return err
	}
	var found store.Page[payment.Payment]
	if err := c.ground.store.View(c.r.Context(), func(r store.Reader) (err error) {
		found, err = r.Payments(q)
		return err
	}); err != nil {
		return err
	}
	data := make([]json.RawMessage, 0, len(found.Data))
	for i := range found.Data {
		o, err := found.Data[i].Object()
		if err != nil {
			return fmt.Errorf("payment %s: %w", found.Data[i].ID, err)
		}
		data = append(data, o)
	}
	return c.list(data, found.Cursor)
}

// paymentQuery reads the filters of a list. Unknown ones are refused: a
// misspelled filter would show everything.
func paymentQuery(r *http.Request) (store.PaymentQuery, error) {
	q := store.PaymentQuery{Paging: store.Paging{Limit: defaultPage}}
	for name, values := range r.URL.Query() {
		value := values[0]
		var err error
		switch name {
		case "outcome":
			q.Outcome = payment.Outcome(value)
		case "status":
			q.Status = payment.Status(value)
		case "reference":
			q.Reference = value
		default:
			err = pageFilter(&q.Paging, name, value)
		}
		if err != nil {
			return q, err
		}
	}
	return q, checkQuery(q)
}

// checkQuery refuses filters that could never match: an empty list would look
// like good news.
func checkQuery(q store.PaymentQuery) error {
	outcomes := []payment.Outcome{"", payment.Known, payment.Unknown, payment.Conflicted}
	modes := []payment.Mode{"", payment.Test, payment.Live}
	switch {
	case q.Limit < 1 || q.Limit > store.MaxPage:
		return fmt.Errorf("%w: limit is 1 … %d", errRequest, store.MaxPage)
	case !slices.Contains(outcomes, q.Outcome):
		return fmt.Errorf("%w: there is no outcome %.40q", errRequest, string(q.Outcome))
	case !slices.Contains(modes, q.Mode):
		return fmt.Errorf("%w: there is no mode %.40q", errRequest, string(q.Mode))
	case q.Status != "" && !slices.Contains(payment.Statuses, q.Status):
		return fmt.Errorf("%w: there is no status %.40q", errRequest, string(q.Status))
	case q.Merchant != "" && !payment.IsID(payment.PrefixMerchant, q.Merchant):
		return fmt.Errorf("%w: %.40q is no merchant's id", errRequest, q.Merchant)
	default:
		return nil
	}
}

func getPayment(c call) error {
	id := c.r.PathValue("id")
	var p payment.Payment
	if err := c.ground.store.View(c.r.Context(), func(r store.Reader) (err error) {
		p, err = r.Payment(id)
		return err
	}); err != nil {
		return fmt.Errorf("payment %.40s: %w", id, err)
	}
	return c.writePayment(&p)
}

func (c call) writePayment(p *payment.Payment) error {
	o, err := p.Object()
	if err != nil {
		return fmt.Errorf("payment %s: %w", p.ID, err)
	}
	return c.write(http.StatusOK, json.RawMessage(o))
}

func syncPayment(c call) error {
	id := c.r.PathValue("id")
	c.mayTakeLong()
	p, err := c.engine.Sync(c.r.Context(), id)
	c.audit("payments.sync", id, err)
	if err != nil {
		return err
	}
	return c.writePayment(&p)
}

// maxReason bounds the reason of a resolution, in bytes.
const maxReason = 500

func resolvePayment(c call) error {
	var in struct {
		As     engine.Resolution `json:"as"`
		Reason string            `json:"reason"`
	}
	if err := c.read(&in); err != nil {
		return err
	}
	switch {
	case in.As != engine.ResolveSucceeded && in.As != engine.ResolveFailed && in.As != engine.ResolveCanceled:
		return fmt.Errorf("%w: as is succeeded, failed or canceled", errRequest)
	case strings.TrimSpace(in.Reason) == "" || len(in.Reason) > maxReason:
		return fmt.Errorf("%w: a reason of at most %d bytes is needed", errRequest, maxReason)
	}
	id := c.r.PathValue("id")
	p, err := c.engine.Resolve(c.r.Context(), id, in.As, in.Reason, c.who())
	c.audit("payments.resolve", id, err, slog.String("as", string(in.As)), slog.String("reason", in.Reason))
	if err != nil {
		return err
	}
	return c.writePayment(&p)
}

// accountState is an account as operators see it. It shows no credential.
type accountState struct {
	Name      string       `json:"name"`
	Connector string       `json:"connector"`
	Mode      payment.Mode `json:"mode"`
	Merchants []string     `json:"merchants"`
	Priority  int          `json:"priority"`
	// State is enabled, disabled (by an operator) or retired (by configuration).
	State string `json:"state"`
	// Circuit is that of this node: closed, half_open, open, or none. Payments go
	// through while it is closed.
	Circuit          string     `json:"circuit"`
	Unresolved       int        `json:"unresolved"`
	OldestUnresolved *time.Time `json:"oldest_unresolved"`
}

// The states of an account.
const (
	accountEnabled  = "enabled"
	accountDisabled = "disabled"
	accountRetired  = "retired"
)

// accountPage is the list of accounts, and whether they take new payments at all.
type accountPage struct {
	page
	Freeze freezeState `json:"freeze"`
}

func listAccounts(c call) error {
	data := []accountState{}
	var frozen freezeState
	err := c.ground.store.View(c.r.Context(), func(r store.Reader) (err error) {
		if frozen, err = readFreeze(r); err != nil {
			return err
		}
		for _, name := range sorted(c.accounts) {
			state, err := c.accountState(r, name)
			if err != nil {
				return err
			}
			data = append(data, state)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.write(http.StatusOK, accountPage{page{Object: "list", Data: data}, frozen})
}

func (a *App) accountState(r store.Reader, name string) (accountState, error) {
	x := a.accounts[name]
	s := accountState{
		Name: name, Connector: x.Connector.Spec().Name, Mode: x.Mode, Merchants: x.Merchants, Priority: x.Priority,
		State: accountEnabled, Circuit: a.circuitState(name),
	}
	off, err := isDisabled(r, name)
	switch {
	case err != nil:
		return accountState{}, err
	case x.Retired:
		s.State = accountRetired
	case off:
		s.State = accountDisabled
	}
	rows, err := r.Unresolved()
	if err != nil {
		return accountState{}, err
	}
	for _, row := range rows {
		if row.Account == name {
			s.Unresolved, s.OldestUnresolved = row.Count, &row.Oldest
		}
	}
	return s, nil
}

func disabledSetting(account string) string { return "account." + account + ".disabled" }

// isDisabled tells whether an operator took an account out of use.
func isDisabled(r store.Reader, account string) (bool, error) {
	v, err := r.Setting(disabledSetting(account))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return v == "true", err
}

func disableAccount(c call) error { return c.switchAccount("accounts.disable", true) }
func enableAccount(c call) error  { return c.switchAccount("accounts.enable", false) }

func (c call) switchAccount(act string, off bool) error {
	name := c.r.PathValue("name")
	if _, ok := c.accounts[name]; !ok {
		return apiError(http.StatusNotFound, fmt.Errorf("there is no account %.63q", name))
	}
	c.switches.Lock()
	defer c.switches.Unlock()
	err := c.ground.store.Update(c.r.Context(), func(tx store.Tx) error {
		return tx.PutSetting(disabledSetting(name), strconv.FormatBool(off))
	})
	if err == nil {
		c.router.SetDisabled(name, off)
	}
	c.audit(act, name, err)
	if err != nil {
		return err
	}
	var state accountState
	if err := c.ground.store.View(c.r.Context(), func(r store.Reader) (err error) {
		state, err = c.accountState(r, name)
		return err
	}); err != nil {
		return err
	}
	return c.write(http.StatusOK, state)
}

// pageFilter reads a filter that every list has.
func pageFilter(p *store.Paging, name, value string) (err error) {
	switch name {
	case "merchant":
		p.Merchant = value
	case "mode":
		p.Mode = payment.Mode(value)
	case "cursor":
		p.Cursor = value
	case "created_after":
		p.CreatedAfter, err = time.Parse(time.RFC3339, value)
	case "created_before":
		p.CreatedBefore, err = time.Parse(time.RFC3339, value)
	case "limit":
		p.Limit, err = strconv.Atoi(value)
	default:
		return fmt.Errorf("%w: there is no filter %.40q", errRequest, name)
	}
	if err != nil {
		return fmt.Errorf("%w: %s %.40q", errRequest, name, value)
	}
	return nil
}
