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
	c.executed = true
	after, before := c.form.get("starting_after"), c.form.get("ending_before")
	open := after == ""
	found = c.d.b.Select(limit+1, maxScan, func(p *books.Charge) bool {
		if p.Connector != Connector || p.Account != c.account {
			return false
		}
		name := id(p)
		if name == before && before != "" {
			open = false
		}
		take := open && during(p) && keep(p)
		if name == after {
			open = true
		}
		return take
	})
	if len(found) > limit {
		return found[:limit], true, nil
	}
	return found, false, nil
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

func (c *call) list(url, object string, found []books.Charge, more bool) document {
	x := expansion(c.form.list("expand"))
	render := func(off func(*books.Charge) *books.Charge) []byte {
		o := books.NewDocument(256+2048*len(found)).Text("object", object).List("data")
		for i := range found {
			o.Raw("", c.d.renderIntent(off(&found[i]), x))
		}
		return o.End().Bool("has_more", more).Text("url", url).Bytes()
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
	c.executed = true
	newest := c.d.b.Now().Add(-c.d.opt.SearchLag)
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
		return true
	})
	more := len(found) > limit
	return c.list("/v1/payment_intents/search", "search_result", found[:min(limit, len(found))], more), nil
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
		found = c.d.b.Select(limit, maxScan, func(p *books.Charge) bool {
			return p.Connector == Connector && p.Account == c.account && len(p.Refunds) > 0
		})
	}
	c.executed = true
	after := c.form.get("starting_after")
	render := func(off int64) []byte {
		o := books.NewDocument(1024).Text("object", "list").List("data")
		n, open, more := 0, after == "", false
		for i := range found {
			charge := &found[i]
			for _, r := range slices.Backward(charge.Refunds) {
				if open && n < limit {
					o.Raw("", renderRefund(charge, r, off))
					n++
				} else if open {
					more = true
				}
				open = open || r.ID == after
			}
		}
		return o.End().Bool("has_more", more).Text("url", "/v1/refunds").Bytes()
	}
	return document{body: render(0), wrong: func() []byte { return render(1) }}, nil
}
