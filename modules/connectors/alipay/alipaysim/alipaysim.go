// Package alipaysim speaks the classic interface of Alipay's domestic open
// platform (gateway.do, RSA2) over the simulator's books: trades by payment
// code, QR code, mini program and web page, their query, cancel, close and
// refund, and asynchronous notifications. It is written from Alipay's public
// documents, not from our connector, so that the two check each other.
package alipaysim

import (
	"crypto/rsa"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/simulator/books"
)

// Connector is the name under which the books hold Alipay's trades.
const Connector = "alipay"

// Options shape the dialect.
type Options struct {
	// BaseURL is where a browser or a wallet reaches the dialect, such as
	// http://127.0.0.1:12180/alipay; empty = taken from each request's Host.
	BaseURL string
	// Key yields Alipay's own key, which signs answers and notifications. It is
	// called when first needed.
	Key func() *rsa.PrivateKey
}

// Dialect is an http.Handler that expects the paths /gateway.do, /cashier/ and
// /qr/.
type Dialect struct {
	b   *books.Books
	opt Options

	mu   sync.RWMutex
	apps map[string]*rsa.PublicKey
}

// New opens the dialect over b.
func New(b *books.Books, opt Options) *Dialect {
	d := &Dialect{b: b, opt: opt, apps: map[string]*rsa.PublicKey{}}
	b.OnDue(Connector, d.due)
	return d
}

// SetMerchantKey registers an app's public key. From then on its requests must
// verify, and, once any app is registered, so must everybody's. While none is,
// every signature is taken.
func (d *Dialect) SetMerchantKey(appID string, public *rsa.PublicKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.apps[appID] = public
}

// zone is where Alipay's clocks stand.
var zone = time.FixedZone("Asia/Shanghai", 8*60*60)

const (
	timeForm = "2006-01-02 15:04:05"
	maxBody  = 1 << 20 // bytes
	seller   = "2088000000000001"
)

// call is one API request on its way through the dialect.
type call struct {
	d       *Dialect
	params  map[string]string
	account string // app_id
	method  string
	op      books.Operation
	base    string
	biz     biz
}

// biz is the biz_content of every method, as far as it is read.
type biz struct {
	OutTradeNo     string `json:"out_trade_no"`
	TradeNo        string `json:"trade_no"`
	TotalAmount    string `json:"total_amount"`
	Subject        string `json:"subject"`
	Scene          string `json:"scene"`
	AuthCode       string `json:"auth_code"`
	ProductCode    string `json:"product_code"`
	BuyerID        string `json:"buyer_id"`
	BuyerOpenID    string `json:"buyer_open_id"`
	OpBuyerOpenID  string `json:"op_buyer_open_id"`
	TimeoutExpress string `json:"timeout_express"`
	QRTimeout      string `json:"qr_code_timeout_express"`
	TimeExpire     string `json:"time_expire"`
	RefundAmount   string `json:"refund_amount"`
	OutRequestNo   string `json:"out_request_no"`
	RefundReason   string `json:"refund_reason"`
}

type method struct {
	op   books.Operation
	do   func(*call) result
	page bool // for a browser
}

var methods = map[string]method{
	"alipay.trade.pay":                  {op: books.OpAuthorize, do: (*call).pay},
	"alipay.trade.precreate":            {op: books.OpAuthorize, do: (*call).precreate},
	"alipay.trade.create":               {op: books.OpAuthorize, do: (*call).create},
	"alipay.trade.page.pay":             {op: books.OpAuthorize, page: true},
	"alipay.trade.wap.pay":              {op: books.OpAuthorize, page: true},
	"alipay.trade.app.pay":              {op: books.OpAuthorize, page: true},
	"alipay.trade.query":                {op: books.OpSync, do: (*call).query},
	"alipay.trade.cancel":               {op: books.OpVoid, do: (*call).cancel},
	"alipay.trade.close":                {op: books.OpVoid, do: (*call).close},
	"alipay.trade.refund":               {op: books.OpRefund, do: (*call).refund},
	"alipay.trade.fastpay.refund.query": {op: books.OpSync, do: (*call).refundQuery},
}

// ServeHTTP answers the gateway and the payer's pages.
func (d *Dialect) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if id, ok := strings.CutPrefix(r.URL.Path, "/cashier/"); ok {
		d.cashier(w, r, id)
		return
	}
	if id, ok := strings.CutPrefix(r.URL.Path, "/qr/"); ok {
		d.cashier(w, r, id)
		return
	}
	if r.URL.Path != "/gateway.do" || (r.Method != http.MethodPost && r.Method != http.MethodGet) {
		http.NotFound(w, r)
		return
	}
	c, refused := d.admit(r)
	m := methods[c.method]
	if m.page {
		c.openPage(w, r, refused)
		return
	}
	if refused != nil {
		c.write(w, *refused)
		return
	}
	reference := c.reference()
	d.b.Received(Connector, reference, m.op)
	wall := books.Wall{
		E500: func() books.Answer {
			return books.Answer{Status: http.StatusInternalServerError, Type: "text/html", Body: []byte("<html><body>system busy</body></html>")}
		},
		E429: func() books.Answer {
			return c.answer(result{code: "40005", msg: "Call Limited", sub: "isv.app-call-limited"})
		},
	}
	d.b.Serve(w, r, Connector, m.op, wall, func(books.Fault) books.Answer {
		res := m.do(c)
		if !res.invalid {
			d.b.Executed(Connector, reference, m.op)
		}
		return c.answer(res)
	})
}

func (c *call) write(w http.ResponseWriter, res result) {
	a := c.answer(res)
	w.Header().Set("Content-Type", a.Type)
	_, _ = w.Write(a.Body) // the client may have left
}

// admit reads and authenticates a request. The call is usable for an answer
// even where it is refused.
func (d *Dialect) admit(r *http.Request) (*call, *result) {
	c := &call{d: d, params: map[string]string{}, base: d.opt.BaseURL}
	if c.base == "" {
		c.base = "http://" + r.Host + "/" + Connector
	}
	if err := c.read(r); err != nil {
		return c, err
	}
	p := c.params
	c.method, c.account = p["method"], p["app_id"]
	m, ok := methods[c.method]
	c.op = m.op
	switch {
	case c.method == "":
		return c, arguments("40001", "isv.missing-method")
	case c.account == "":
		return c, arguments("40001", "isv.missing-app-id")
	case !ok:
		return c, arguments("40002", "isv.invalid-method")
	case p["sign"] == "":
		return c, arguments("40001", "isv.missing-signature")
	case p["sign_type"] != "RSA2":
		return c, arguments("40002", "isv.invalid-signature-type")
	case !strings.EqualFold(p["charset"], "utf-8"):
		return c, arguments("40002", "isv.invalid-charset")
	case p["format"] != "" && !strings.EqualFold(p["format"], "JSON"):
		return c, arguments("40002", "isv.invalid-format")
	case p["version"] != "1.0":
		return c, arguments("40001", "isv.missing-version")
	}
	if _, err := time.ParseInLocation(timeForm, p["timestamp"], zone); err != nil {
		return c, arguments("40002", "isv.invalid-timestamp")
	}
	if sub := d.verify(c.account, p); sub != "" {
		return c, arguments("40002", sub)
	}
	if err := json.Unmarshal([]byte(p["biz_content"]), &c.biz); err != nil {
		return c, arguments("40002", "isv.invalid-parameter")
	}
	return c, nil
}

// read merges the query and the form; a name given twice is refused.
func (c *call) read(r *http.Request) *result {
	raw := []string{r.URL.RawQuery}
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
		if err != nil || len(body) > maxBody {
			return arguments("40002", "isv.invalid-parameter")
		}
		raw = append(raw, string(body))
	}
	for _, s := range raw {
		values, err := url.ParseQuery(s)
		if err != nil {
			return arguments("40002", "isv.invalid-parameter")
		}
		for k, v := range values {
			if _, twice := c.params[k]; twice || len(v) != 1 {
				return arguments("40002", "isv.invalid-parameter")
			}
			c.params[k] = v[0]
		}
	}
	return nil
}

// reference is our client's name of the trade that a request is about.
func (c *call) reference() string {
	if c.biz.OutTradeNo != "" || c.biz.TradeNo == "" {
		return c.biz.OutTradeNo
	}
	charge, err := c.d.b.Get(Connector, c.account, c.biz.TradeNo)
	if err != nil {
		return ""
	}
	return charge.Reference
}
