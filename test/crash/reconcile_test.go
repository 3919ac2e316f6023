package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// charge is what the PSP's books say.
type charge struct {
	Connector    string            `json:"connector"`
	Reference    string            `json:"reference"`
	PSPReference string            `json:"psp_reference"`
	Currency     string            `json:"currency"`
	Status       string            `json:"status"`
	Amount       int64             `json:"amount"`
	Authorized   int64             `json:"authorized"`
	Captured     int64             `json:"captured"`
	Refunded     int64             `json:"refunded"`
	Released     int64             `json:"released"`
	Metadata     map[string]string `json:"metadata,omitempty"`
}

// held is the payer's money that the PSP has or keeps back.
func (c *charge) held() int64 { return c.uncaptured() + c.Captured - c.Refunded }

func (c *charge) uncaptured() int64 { return c.Authorized - c.Captured - c.Released }

// findings is what the reconciliation found out. All but money must be empty.
type findings struct {
	money                          int // payments that moved any
	double, lost, wrong, undecided []string
}

// finding notes one thing with everything that is known of it.
func finding(to *[]string, about any, format string, args ...any) {
	b, err := json.Marshal(about)
	if err != nil {
		b = []byte(err.Error())
	}
	*to = append(*to, fmt.Sprintf(format, args...)+"\n\t"+string(b))
}

// undecided lists what still waits for a PSP's word.
func undecided(ctx context.Context, m *merchant) ([]json.RawMessage, error) {
	var all []json.RawMessage
	for _, path := range []string{
		"/v1/payments?limit=100&outcome=unknown", "/v1/payments?limit=100&status=processing",
		"/v1/payments?limit=100&status=requires_action", "/v1/refunds?limit=100&status=pending",
	} {
		some, err := list[json.RawMessage](ctx, m, path)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// settleAll waits until nothing is in doubt, and returns what is after all.
func settleAll(ctx context.Context, m *merchant, patience time.Duration) ([]json.RawMessage, error) {
	deadline := time.Now().Add(patience)
	for {
		left, err := undecided(ctx, m)
		if err != nil || len(left) == 0 || time.Now().After(deadline) || !wait(ctx, 200*time.Millisecond) {
			return left, err
		}
	}
}

// reconcile compares what the merchants were told and are told now with the
// PSP's books.
func reconcile(ctx context.Context, w *world, orders []*order) (f findings, err error) {
	var books struct{ Charges []charge }
	if err := w.Simulator.Get(ctx, "/books", &books); err != nil {
		return f, err
	}
	all, err := list[payment](ctx, w.merchant, "/v1/payments?limit=100")
	if err != nil {
		return f, err
	}
	byReference := map[string][]payment{}
	for i := range all {
		byReference[all[i].Reference] = append(byReference[all[i].Reference], all[i])
	}
	known := map[string]bool{} // references of charges that a payment knows
	for _, o := range orders {
		mine := byReference[o.reference()]
		delete(byReference, o.reference())
		if len(mine) > 1 {
			finding(&f.double, mine, "%s: one key made %d payments", o.reference(), len(mine))
		}
		if !o.answered {
			continue
		}
		var p payment
		if err := w.get(ctx, "/v1/payments/"+o.payment.ID, &p); err != nil || len(mine) == 0 || mine[0].ID != p.ID {
			finding(&f.lost, o.payment, "%s: was answered and is lost: %v", o.reference(), err)
			continue
		}
		f.compare(o, &p, books.Charges, known)
	}
	for reference, p := range byReference {
		finding(&f.wrong, p, "%q: a payment that nobody ordered", reference)
	}
	perOrder := map[string]int{}
	for i := range books.Charges {
		c := &books.Charges[i]
		if c.held() != 0 && !known[c.Connector+c.PSPReference] {
			finding(&f.double, c, "the PSP holds %d that no payment knows of", c.held())
		}
		if name := c.Metadata["purser_order"]; name != "" && c.Authorized > 0 {
			if perOrder[name]++; perOrder[name] > 1 {
				finding(&f.double, c, "%s: charged %d times", name, perOrder[name])
			}
		}
	}
	return f, nil
}

// compare looks at one payment.
func (f *findings) compare(o *order, p *payment, books []charge, known map[string]bool) {
	names := map[string]bool{}
	if p.PSPReference != nil {
		names[*p.PSPReference] = true
	}
	for _, a := range p.Attempts {
		if a.Operation == "authorize" && a.PSPReference != nil {
			names[*a.PSPReference] = true
		}
	}
	var found []*charge
	for i := range books {
		if c := &books[i]; names[c.PSPReference] && c.Authorized > 0 {
			found = append(found, c)
			known[c.Connector+c.PSPReference] = true
		}
	}
	about := map[string]any{"payment": p, "charges": found, "purchase": o.purchase, "left": o.err}
	say := func(format string, args ...any) {
		finding(&f.wrong, about, o.reference()+": "+format, args...)
	}
	if p.unsettled() || p.Outcome != "known" || p.Status == "requires_action" {
		finding(&f.undecided, about, "%s: %s, %s", o.reference(), p.Status, p.Outcome)
		return
	}
	if len(found) > 1 {
		finding(&f.double, about, "%s: charged %d times", o.reference(), len(found))
		return
	}
	if p.Amount != o.amount || p.Currency != o.body["currency"] {
		say("amount %d %s, want %d %s", p.Amount, p.Currency, o.amount, o.body["currency"])
	}
	switch p.Status {
	case "succeeded", "requires_capture":
		f.money++
		if len(found) == 0 {
			say("%s, and the PSP has no charge", p.Status)
			return
		}
		c := found[0]
		if c.Captured != p.Captured || c.Refunded != p.Refunded || c.Currency != p.Currency || c.Authorized != o.amount {
			say("captured %d, refunded %d of %d %s, and at the PSP captured %d, refunded %d of %d %s",
				p.Captured, p.Refunded, o.amount, p.Currency, c.Captured, c.Refunded, c.Authorized, c.Currency)
		}
		if rest := c.uncaptured(); rest != p.Capturable {
			say("capturable %d, and at the PSP %d", p.Capturable, rest)
		}
	default:
		if len(found) == 1 && found[0].held() != 0 {
			say("%s, and the PSP holds %d", p.Status, found[0].held())
		}
	}
	f.expect(o, p, say)
}

// expect looks whether the payment is one that its order could have become.
func (f *findings) expect(o *order, p *payment, say func(string, ...any)) {
	if (o.purchase == declined || o.purchase == notAtAlipay) && p.Status != "failed" {
		say("a card without money led to %s", p.Status)
	}
	switch {
	case (o.purchase == captured || o.purchase == adyenCaptured) && p.Captured != 0 && p.Captured != o.part,
		(o.purchase == refunded || o.purchase == adyenRefunded) && p.Refunded != 0 && p.Refunded != o.part:
		say("captured %d, refunded %d, asked for %d of %d", p.Captured, p.Refunded, o.part, o.amount)
	case o.purchase == canceled && p.Captured != 0:
		say("captured %d of what was to be released", p.Captured)
	case o.purchase != refunded && o.purchase != adyenRefunded && p.Refunded != 0 && p.Status == "succeeded":
		say("refunded %d that nobody asked to", p.Refunded)
	}
}

// leaks searches everything that the gateway has written for what it must
// never write.
func leaks(ctx context.Context, w *world, orders []*order, events []byte) ([]string, error) {
	needles := map[string][]byte{"payment code": []byte(paidCode), "empty payment code": []byte(emptyCode)}
	for _, n := range append(append([]string{}, goodCards...), badCards...) {
		needles["card number …"+n[len(n)-4:]] = []byte(n)
	}
	for name, secret := range w.Secrets {
		needles[name] = []byte(secret)
	}
	key := w.Secrets["api_key"]
	needles["the API key's secret"] = []byte(key[strings.LastIndexByte(key, '_')+1:])
	code := regexp.MustCompile(`(?i)(cvc|cvv|security_code|code)[^0-9a-z]{1,6}` + cvc + `[^0-9]`)

	var found []string
	sawPayment := false
	look := func(name string, b []byte) {
		for what, needle := range needles {
			if i := bytes.Index(b, needle); i >= 0 {
				found = append(found, fmt.Sprintf("%s holds %s at byte %d", name, what, i))
			}
		}
		if at := code.Find(b); at != nil {
			found = append(found, fmt.Sprintf("%s holds a CVC: %q", name, at))
		}
		sawPayment = sawPayment || bytes.Contains(b, []byte(orders[0].payment.ID))
	}
	look("the events", events)
	sawPayment = false // the canary must sing where something is to be found: in the files
	if w.database != nil {
		if err := w.database.Rows(ctx, func(table, row string) { look("table "+table, []byte(row)) }); err != nil {
			return nil, err
		}
	}
	for _, folder := range []string{"data", "logs", "home"} {
		err := filepath.WalkDir(w.Path(folder), func(name string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			look(name, b)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if !sawPayment {
		found = append(found, "the search is blind: it does not find a payment's ID either")
	}
	return found, nil
}
