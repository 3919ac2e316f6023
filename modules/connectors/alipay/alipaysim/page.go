package alipaysim

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

// openPage answers a browser that was sent to the cashier: the trade comes
// into being here.
func (c *call) openPage(w http.ResponseWriter, r *http.Request, no *result) {
	show := func(res *result) {
		c.d.b.Page(w, books.PageText{Title: "Alipay", Lead: "The payment cannot be made.", Note: res.sub + " " + res.subMsg, Closed: true})
	}
	if no != nil {
		show(no)
		return
	}
	c.d.b.Received(Connector, c.biz.OutTradeNo, c.op)
	fresh, no := c.fresh(flowPage)
	if no != nil {
		show(no)
		return
	}
	fresh.Seen = true
	charge, _, no := c.book(fresh)
	if no != nil {
		show(no)
		return
	}
	c.d.b.Executed(Connector, charge.Reference, c.op)
	ch := c.ask(&charge, "/cashier/")
	http.Redirect(w, r, ch.URL, http.StatusFound)
}

// cashier shows the page on which the payer pays, or refuses. Opening the page
// of a QR code is scanning it.
func (d *Dialect) cashier(w http.ResponseWriter, r *http.Request, id string) {
	ch, ok := d.b.Challenge(id)
	if !ok || ch.Connector != Connector {
		http.NotFound(w, r)
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		d.scan(ch.PSPReference)
		charge, err := d.b.Get(Connector, "", ch.PSPReference)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		charge = d.touch(charge)
		d.b.Page(w, books.PageText{
			Title: "Alipay", Lead: "A merchant asks for a payment.", Note: charge.Description,
			Amount:  payment.Money{Minor: charge.Amount, Currency: charge.Currency}.String(),
			Approve: "Pay", Refuse: "Cancel", Closed: charge.Status != payment.RequiresAction,
		})
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		err := d.Resolve(ch.ID, r.PostFormValue("result") == books.ResultSucceed)
		if err != nil && !errors.Is(err, books.ErrState) {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		d.sendBack(w, r, ch)
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	}
}

// sendBack takes a browser that has paid to the merchant, with a signed query.
func (d *Dialect) sendBack(w http.ResponseWriter, r *http.Request, ch books.Challenge) {
	c, err := d.b.Get(Connector, "", ch.PSPReference)
	u, bad := url.Parse(c.ReturnURL)
	if err != nil || bad != nil || c.ReturnURL == "" || c.Authorized == 0 {
		d.b.Page(w, books.PageText{Title: "Alipay", Lead: "Done. This page can be closed.", Closed: true})
		return
	}
	p := map[string]string{
		"charset": "utf-8", "version": "1.0", "sign_type": "RSA2", "method": "alipay.trade.page.pay.return",
		"app_id": c.Account, "auth_app_id": c.Account, "seller_id": seller, "out_trade_no": c.Reference,
		"trade_no": c.PSPReference, "total_amount": fen(c.Amount), "timestamp": d.b.Now().In(zone).Format(timeForm),
	}
	p["sign"] = d.sign([]byte(signedText(p, "sign", "sign_type")))
	q := u.Query()
	for k, v := range p {
		q.Set(k, v)
	}
	u.RawQuery = q.Encode()
	http.Redirect(w, r, u.String(), http.StatusSeeOther)
}

// Resolve plays the payer: pays, or refuses, upon which the trade is closed.
func (d *Dialect) Resolve(id string, succeed bool) error {
	ch, err := d.b.Decide(id, succeed)
	if err != nil {
		return err
	}
	if succeed {
		_, err = d.settle(books.OpAuthorize, ch.PSPReference)
		return err
	}
	return d.shut(books.OpAuthorize, ch.PSPReference)
}

// Pay plays a payer who scans and pays.
func (d *Dialect) Pay(reference string) error {
	ch, err := d.b.FindChallenge(reference)
	if err != nil {
		return err
	}
	if ch.Connector != Connector {
		return books.ErrNotFound
	}
	return d.Resolve(ch.ID, true)
}
