package stripesim

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/purser-pay/purser/modules/simulator/books"
)

// maxScan bounds how far back a list or a search looks.
const maxScan = 200_000

// page reads limit; 1 … 100, 10 by default.
func (c *call) page() (int, error) {
	s := c.form.get("limit")
	if s == "" {
		return 10, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 100 {
		return 0, invalid("parameter_invalid_integer", "limit", "Invalid integer: limit must be 1 to 100.")
	}
	return n, nil
}

// during reads created, created[gt], [gte], [lt] and [lte].
func (c *call) during() (func(*books.Charge) bool, error) {
	from, to := int64(0), int64(1)<<62
	for _, b := range []struct {
		name   string
		lo, hi bool
		off    int64
	}{
		{"created", true, true, 0},
		{"created[gt]", true, false, 1},
		{"created[gte]", true, false, 0},
		{"created[lt]", false, true, -1},
		{"created[lte]", false, true, 0},
	} {
		s := c.form.get(b.name)
		if s == "" {
			continue
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return nil, invalid("parameter_invalid_integer", b.name, "Invalid timestamp: "+s)
		}
		if b.lo {
			from = max(from, n+b.off)
		}
		if b.hi {
			to = min(to, n+b.off)
		}
	}
	return func(p *books.Charge) bool { t := p.Created.Unix(); return t >= from && t <= to }, nil
}

// charges selects a page of the account's charges, newest first; more tells
// that there would be another.
func (c *call) charges(id func(*books.Charge) string, keep func(*books.Charge) bool) (found []books.Charge, more bool, err error) {
	limit, err := c.page()
	if err != nil {
		return nil, false, err
	}
	during, err := c.during()
	if err != nil {
		return nil, false, err
	}
	after, before, err := c.cursors()
	if err != nil {
		return nil, false, err
	}
	c.executed = true
	most := limit + 1
	if before != "" {
		most = maxScan // the page is the one next to the cursor, and not the newest
	}
	open, shut := after == "", false
	found = c.d.b.Select(most, maxScan, func(p *books.Charge) bool {
		if p.Connector != Connector || p.Account != c.account {
			return false
		}
		name := id(p)
		shut = shut || before != "" && name == before
		take := open && !shut && during(p) && keep(p)
		open = open || name == after
		return take
	})
	switch {
	case len(found) <= limit:
		return found, false, nil
	case before != "":
		return found[len(found)-limit:], true, nil
	default:
		return found[:limit], true, nil
	}
}

// cursors reads starting_after and ending_before, which name charges or intents
// that must exist.
func (c *call) cursors() (after, before string, err error) {
	for _, name := range []string{"starting_after", "ending_before"} {
		id := c.form.get(name)
		if id == "" {
			continue
		}
		if _, err := c.d.b.Get(Connector, c.account, id); err != nil {
			return "", "", noCursor(id, name)
		}
	}
	return c.form.get("starting_after"), c.form.get("ending_before"), nil
}

// noCursor refuses a cursor that names nothing: a bad parameter, and not a path
// that is not there.
func noCursor(id, param string) error {
	return invalid("resource_missing", param, "No such object: '"+id+"'")
}

func (c *call) listIntents() (document, error) {
	customer := c.form.get("customer")
	found, more, err := c.charges(func(p *books.Charge) string { return p.PSPReference }, func(p *books.Charge) bool {
		return customer == "" || p.Customer == customer
	})
	if err != nil {
		return document{}, err
	}
	return c.list("/v1/payment_intents", "list", found, more), nil
}

// searchResult is the kind of list that has pages instead of cursors.
const searchResult = "search_result"

func (c *call) list(url, object string, found []books.Charge, more bool) document {
	x := expansion(c.form.list("expand"))
	render := func(off func(*books.Charge) *books.Charge) []byte {
		o := books.NewDocument(256+2048*len(found)).Text("object", object).List("data")
		for i := range found {
			o.Raw("", c.d.renderIntent(off(&found[i]), x))
		}
		o.End().Bool("has_more", more)
		if object == searchResult {
			next := ""
			if more {
				next = found[len(found)-1].PSPReference
			}
			o.Maybe("next_page", next)
		}
		return o.Text("url", url).Bytes()
	}
	return document{body: render(copyOf), wrong: func() []byte { return render(wrongAmount) }}
}

// queryForm is the one clause of Stripe's query language that a gateway needs:
// metadata["name"]:"value", in either kind of quotes; and status:"…", currency:"…".
var queryForm = regexp.MustCompile(`^\s*(?:metadata\[\s*['"]([^'"]+)['"]\s*\]|(status|currency|customer))\s*:\s*['"]([^'"]*)['"]\s*$`)

// searchIntents is GET /v1/payment_intents/search, with clauses joined by AND.
func (c *call) searchIntents() (document, error) {
	limit, err := c.page()
	if err != nil {
		return document{}, err
	}
	query := c.form.get("query")
	if query == "" {
		return document{}, invalid("parameter_missing", "query", "Missing required param: query.")
	}
	var clauses [][]string
	for part := range strings.SplitSeq(query, " AND ") {
		m := queryForm.FindStringSubmatch(part)
		if m == nil {
			return document{}, invalid("", "query", "The simulator understands metadata['k']:'v', status:'v', currency:'v' and customer:'v', joined by AND.")
		}
		clauses = append(clauses, m)
	}
	last := c.form.get("page") // the last that the page before this one showed
	if _, err := c.d.b.Get(Connector, c.account, last); last != "" && err != nil {
		return document{}, invalid("", "page", "Invalid page: "+last)
	}
	c.executed = true
	newest := c.d.b.Now().Add(-c.d.opt.SearchLag)
	open := last == ""
	found := c.d.b.Select(limit+1, maxScan, func(p *books.Charge) bool {
		if p.Connector != Connector || p.Account != c.account || p.Created.After(newest) {
			return false
		}
		for _, m := range clauses {
			have := p.Metadata[m[1]]
			switch m[2] {
			case "status":
				have = intentStatus(p)
			case "currency":
				have = strings.ToLower(string(p.Currency))
			case "customer":
				have = p.Customer
			}
			if have != m[3] {
				return false
			}
		}
		take := open
		open = open || p.PSPReference == last
		return take
	})
	more := len(found) > limit
	return c.list("/v1/payment_intents/search", searchResult, found[:min(limit, len(found))], more), nil
}

// getCharge is GET /v1/charges/{id}: the latest attempt of an intent.
func (c *call) getCharge() (document, error) {
	charge, err := c.d.b.Get(Connector, c.account, c.id)
	if err != nil || !strings.HasPrefix(c.id, "ch_") {
		return document{}, missing("charge", c.id, "id")
	}
	c.executed = true
	x := expansion(c.form.list("expand"))
	return document{
		body:  c.d.renderCharge(&charge, x),
		wrong: func() []byte { return c.d.renderCharge(wrongAmount(&charge), x) },
	}, nil
}

func (c *call) listCharges() (document, error) {
	intent, customer := c.form.get("payment_intent"), c.form.get("customer")
	found, more, err := c.charges(func(p *books.Charge) string { return p.AttemptReference }, func(p *books.Charge) bool {
		return p.AttemptReference != "" && (intent == "" || p.PSPReference == intent) && (customer == "" || p.Customer == customer)
	})
	if err != nil {
		return document{}, err
	}
	o := books.NewDocument(256+3072*len(found)).Text("object", "list").List("data")
	for i := range found {
		o.Raw("", c.d.renderCharge(&found[i], nil))
	}
	return document{body: o.End().Bool("has_more", more).Text("url", "/v1/charges").Bytes()}, nil
}

// listRefunds is GET /v1/refunds: of one intent or charge, or the newest of all.
func (c *call) listRefunds() (document, error) {
	limit, err := c.page()
	if err != nil {
		return document{}, err
	}
	id := c.form.get("payment_intent")
	if id == "" {
		id = c.form.get("charge")
	}
	var found []books.Charge
	if id != "" {
		charge, err := c.d.b.Get(Connector, c.account, id)
		if err != nil {
			return document{}, missing("payment_intent", id, "payment_intent")
		}
		found = []books.Charge{charge}
	} else {
		found = c.d.b.Select(maxScan, maxScan, func(p *books.Charge) bool {
			return p.Connector == Connector && p.Account == c.account && len(p.Refunds) > 0
		})
	}
	var all []refundOf
	for i := range found {
		for _, r := range slices.Backward(found[i].Refunds) {
			all = append(all, refundOf{&found[i], r})
		}
	}
	slices.SortStableFunc(all, func(a, b refundOf) int { return b.Created.Compare(a.Created) })
	page, more, err := c.refundPage(all, limit)
	if err != nil {
		return document{}, err
	}
	c.executed = true
	render := func(off int64) []byte {
		o := books.NewDocument(256+768*len(page)).Text("object", "list").List("data")
		for _, r := range page {
			o.Raw("", renderRefund(r.charge, r.Refund, off))
		}
		return o.End().Bool("has_more", more).Text("url", "/v1/refunds").Bytes()
	}
	return document{body: render(0), wrong: func() []byte { return render(1) }}, nil
}

// refundOf is a refund with the charge that it is of.
type refundOf struct {
	charge *books.Charge
	books.Refund
}

// refundPage cuts the page out of all refunds, newest first.
func (c *call) refundPage(all []refundOf, limit int) (page []refundOf, more bool, err error) {
	at := func(name string) (int, error) {
		id := c.form.get(name)
		i := slices.IndexFunc(all, func(r refundOf) bool { return r.ID == id })
		if id != "" && i < 0 {
			return i, noCursor(id, name)
		}
		return i, nil
	}
	after, err := at("starting_after")
	if err != nil {
		return nil, false, err
	}
	before, err := at("ending_before")
	if err != nil {
		return nil, false, err
	}
	if before >= 0 {
		from := max(after+1, before-limit)
		return all[min(from, before):before], from > after+1, nil
	}
	rest := all[after+1:]
	return rest[:min(limit, len(rest))], len(rest) > limit, nil
}
