package alipay

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// The methods of the open platform that we call.
const (
	methodPay         = "alipay.trade.pay"
	methodPrecreate   = "alipay.trade.precreate"
	methodCreate      = "alipay.trade.create"
	methodPage        = "alipay.trade.page.pay"
	methodApp         = "alipay.trade.app.pay"
	methodQuery       = "alipay.trade.query"
	methodCancel      = "alipay.trade.cancel"
	methodClose       = "alipay.trade.close"
	methodRefund      = "alipay.trade.refund"
	methodRefundQuery = "alipay.trade.fastpay.refund.query"
)

// content is biz_content: the business fields of all methods, in the order in
// which they are written, so that a repeat bears the same bytes.
type content struct {
	OutTradeNo   string `json:"out_trade_no,omitempty"`
	TradeNo      string `json:"trade_no,omitempty"`
	TotalAmount  string `json:"total_amount,omitempty"` // yuan, two decimals, never a JSON number
	Subject      string `json:"subject,omitempty"`
	ProductCode  string `json:"product_code,omitempty"`
	Scene        string `json:"scene,omitempty"`
	AuthCode     string `json:"auth_code,omitempty"`
	BuyerID      string `json:"buyer_id,omitempty"`
	BuyerOpenID  string `json:"buyer_open_id,omitempty"`
	OpAppID      string `json:"op_app_id,omitempty"`
	TimeExpire   string `json:"time_expire,omitempty"`
	RefundAmount string `json:"refund_amount,omitempty"`
	RefundReason string `json:"refund_reason,omitempty"`
	OutRequestNo string `json:"out_request_no,omitempty"`
}

// message is one call before it is signed.
type message struct {
	method    string
	content   content
	notifyURL string
	returnURL string
}

// message says what Alipay is asked for.
func (c *Connector) message(call connector.Call) (message, error) {
	switch op := call.Op.(type) {
	case payment.Authorize:
		return c.authorize(call, op)
	case payment.Void:
		m := message{method: methodCancel, content: content{OutTradeNo: op.Charge.Reference}}
		if at := op.Charge.CreatedAt; !at.IsZero() && !call.Now.Before(at.Add(cancelWindow-connector.WindowMargin)) {
			m.method = methodClose // too late to take money back, never too late to let an order go
		}
		return m, m.named()
	case payment.GiveBack:
		amount, err := yuan(op.Amount)
		m := message{method: methodRefund, content: content{
			OutTradeNo: op.Charge.Reference, TradeNo: op.Charge.PSPReference,
			RefundAmount: amount, RefundReason: plain(op.Reason), OutRequestNo: call.Reference,
		}}
		return m, errors.Join(err, m.named())
	case payment.Sync:
		m := message{method: methodQuery, content: content{OutTradeNo: op.Charge.Reference, TradeNo: op.Charge.PSPReference}}
		if op.Of == payment.KindRefund {
			m.method, m.content.OutRequestNo = methodRefundQuery, op.Reference
		}
		return m, m.named()
	default:
		return message{}, fmt.Errorf("%w: %s", connector.ErrUnsupported, call.Op.Kind())
	}
}

// named refuses a message that does not say which trade it is about.
func (m *message) named() error {
	switch {
	case m.content.OutTradeNo == "":
		return errors.New("charge has no reference of ours")
	case (m.method == methodRefund || m.method == methodRefundQuery) && m.content.OutRequestNo == "":
		return errors.New("refund has no reference of ours")
	}
	return nil
}

// checkAuthorize refuses what Alipay has no words for.
func checkAuthorize(op payment.Authorize) error {
	if _, err := yuan(op.Amount); err != nil {
		return err
	}
	no := func(param, why string) error { return &connector.UnsupportedError{Param: param, Why: why} }
	switch {
	case op.Method.Type != payment.MethodAlipay:
		return no("payment_method", "it is not alipay")
	case !op.Capture:
		return no("capture_method", "a payment cannot be captured apart")
	}
	switch op.Method.Flow {
	case payment.FlowBarcode, payment.FlowQR, payment.FlowRedirect, payment.FlowApp, payment.FlowMiniProgram:
		return nil
	default:
		return no("payment_method", "it has no such flow")
	}
}

func (c *Connector) authorize(call connector.Call, op payment.Authorize) (message, error) {
	if err := checkAuthorize(op); err != nil {
		return message{}, err
	}
	m := message{
		notifyURL: op.NotifyURL,
		content: content{
			OutTradeNo: call.Reference, TotalAmount: op.Amount.Decimal(),
			Subject: subject(op), TimeExpire: expiry(op),
		},
	}
	switch op.Method.Flow {
	case payment.FlowBarcode:
		m.method, m.content.Scene = methodPay, "bar_code"
		if m.content.AuthCode = op.Method.AuthCode.Reveal(); !simple(m.content.AuthCode, maxAuthCode) {
			return message{}, errors.New("auth_code is missing or malformed")
		}
	case payment.FlowMiniProgram:
		m.method, m.content.ProductCode, m.content.OpAppID = methodCreate, "JSAPI_PAY", c.AppID
		if op.Method.OpenID == "" || len(op.Method.OpenID) > maxOpenID {
			return message{}, errors.New("open_id is missing or too long")
		}
		if userID(op.Method.OpenID) {
			m.content.BuyerID = op.Method.OpenID
		} else {
			m.content.BuyerOpenID = op.Method.OpenID
		}
	case payment.FlowRedirect:
		m.method, m.content.ProductCode, m.returnURL = methodPage, "FAST_INSTANT_TRADE_PAY", op.ReturnURL
	case payment.FlowApp:
		m.method, m.content.ProductCode = methodApp, "QUICK_MSECURITY_PAY"
	default: // qr; checkAuthorize knows no other
		m.method = methodPrecreate
	}
	return m, m.named()
}

// post puts the common parameters into the URL, where Alipay looks for the
// charset before it reads anything else, and the business fields into the body.
func (c *Connector) post(call connector.Call, m message) (*http.Request, error) {
	query, body, err := c.parameters(call, m)
	if err != nil {
		return nil, err
	}
	form := url.Values{"biz_content": {body}}.Encode()
	// A codec has no context: the transport sets it.
	r, err := http.NewRequest(http.MethodPost, gateway(call)+"?"+query.Encode(), strings.NewReader(form))
	if err != nil {
		return nil, errors.New("base URL is malformed")
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded;charset=utf-8")
	r.Header.Set("Accept", "application/json")
	return r, nil
}

// signed writes all parameters into one query, for the payer to carry.
func (c *Connector) signed(call connector.Call, m message) (string, error) {
	query, body, err := c.parameters(call, m)
	if err != nil {
		return "", err
	}
	query.Set("biz_content", body)
	return query.Encode(), nil
}

// parameters returns the common parameters, signed together with biz_content,
// and biz_content itself.
func (c *Connector) parameters(call connector.Call, m message) (url.Values, string, error) {
	keys, err := c.loaded()
	if err != nil {
		return nil, "", err
	}
	body, err := json.Marshal(m.content)
	if err != nil {
		return nil, "", errors.New("biz_content cannot be written: text is not UTF-8")
	}
	p := url.Values{
		"app_id":    {c.AppID},
		"method":    {m.method},
		"format":    {"JSON"},
		"charset":   {"utf-8"},
		"sign_type": {"RSA2"},
		"timestamp": {call.Now.In(shanghai).Format(timeLayout)},
		"version":   {"1.0"},
	}
	if m.notifyURL != "" {
		p.Set("notify_url", m.notifyURL)
	}
	if m.returnURL != "" {
		p.Set("return_url", m.returnURL)
	}
	p.Set("biz_content", string(body))
	sign, err := keys.sign(signText(p))
	if err != nil {
		return nil, "", err
	}
	p.Del("biz_content")
	p.Set("sign", sign)
	return p, string(body), nil
}

// signText joins all parameters but sign and those without a value, sorted by
// name, as name=value with raw values.
func signText(p url.Values) string {
	names := make([]string, 0, len(p))
	for name := range p {
		if name != "sign" && p.Get(name) != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var b strings.Builder
	for i, name := range names {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(name + "=" + p.Get(name))
	}
	return b.String()
}

// shanghai is Alipay's time; China has kept one offset since 1991, so that no
// time zone data is needed.
var shanghai = time.FixedZone("Asia/Shanghai", 8*60*60)

const timeLayout = "2006-01-02 15:04:05"

// yuan writes an amount as Alipay takes it.
func yuan(m payment.Money) (string, error) {
	if m.Currency != "CNY" {
		return "", fmt.Errorf("%w: %s is not CNY", connector.ErrNotRepresentable, m.Currency)
	}
	if m.Minor < 1 || m.Minor > maxAmount {
		return "", fmt.Errorf("%w: %s is not 0.01 … 100000000.00", connector.ErrNotRepresentable, m)
	}
	return m.Decimal(), nil
}

// expiry is when the order ends at Alipay, too: after that nobody can pay it
// any more. Alipay keeps an order for [orderLife] at most.
func expiry(op payment.Authorize) string {
	at := op.ExpiresAt
	if at.IsZero() {
		return ""
	}
	if last := op.CreatedAt.Add(orderLife); !op.CreatedAt.IsZero() && last.Before(at) {
		at = last
	}
	return at.In(shanghai).Format(timeLayout)
}

const (
	maxAuthCode    = 64  // characters; Alipay's own are 16 to 35
	maxSubject     = 256 // bytes
	defaultSubject = "Payment"
)

// subject is what the payer reads.
func subject(op payment.Authorize) string {
	for _, s := range []string{op.Description, op.Reference} {
		if s = plain(s); s != "" {
			return s
		}
	}
	return defaultSubject
}

// plain leaves out what Alipay forbids in a text (/, = and & among others) and
// cuts it to 256 bytes.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) || strings.ContainsRune(`/=&?#%"'<>\^|`+"`", r) {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxSubject {
		s = s[:maxSubject]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	return strings.TrimSpace(s)
}

// userID tells an Alipay user number from an open_id.
func userID(s string) bool {
	return len(s) == 16 && strings.HasPrefix(s, "2088") && strings.Trim(s, "0123456789") == ""
}

// simple tells that s is 1 … most ASCII letters, digits, _ and -.
func simple(s string, most int) bool {
	if s == "" || len(s) > most {
		return false
	}
	for _, r := range s {
		if !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_' || r == '-') {
			return false
		}
	}
	return true
}
