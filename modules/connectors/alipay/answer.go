package alipay

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// answer is what we read of the object inside an answer. All scalars are
// strings, amounts are decimal yuan.
type answer struct {
	Code    string `json:"code"`
	Msg     string `json:"msg"`
	SubCode string `json:"sub_code"`
	SubMsg  string `json:"sub_msg"`

	OutTradeNo     string `json:"out_trade_no"`
	TradeNo        string `json:"trade_no"`
	TradeStatus    string `json:"trade_status"`
	TotalAmount    string `json:"total_amount"`
	BuyerPayAmount string `json:"buyer_pay_amount"`
	ReceiptAmount  string `json:"receipt_amount"`
	SendPayDate    string `json:"send_pay_date"`

	QRCode       string `json:"qr_code"`
	Action       string `json:"action"`
	RetryFlag    string `json:"retry_flag"`
	FundChange   string `json:"fund_change"`
	RefundFee    string `json:"refund_fee"` // of the trade, cumulative
	RefundStatus string `json:"refund_status"`
	RefundAmount string `json:"refund_amount"` // of the one refund
	OutRequestNo string `json:"out_request_no"`
}

// The top-level codes that are no refusal.
const (
	codeDone     = "10000"
	codeWaiting  = "10003" // the payer must confirm
	codeBusiness = "40004" // see sub_code
)

// envelope is an answer taken apart, byte for byte.
type envelope struct {
	name   string // alipay_trade_pay_response, or error_response
	object jsontext.Value
	sign   string
}

// errorName holds the answer where Alipay could not tell what was asked.
const errorName = "error_response"

// open takes an answer apart without changing a byte of the object, which the
// signature covers as it came. It refuses what is ambiguous: a name given
// twice, at any depth, and two objects that might both be the answer.
func open(body []byte) (envelope, error) {
	var e envelope
	d := jsontext.NewDecoder(bytes.NewReader(body))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return e, errors.New("answer is not a JSON object")
	}
	for d.PeekKind() == '"' {
		t, err := d.ReadToken()
		if err != nil {
			return e, errors.New("answer is not valid JSON")
		}
		name := t.String()
		value, err := d.ReadValue()
		if err != nil {
			return e, errors.New("answer is not valid JSON")
		}
		switch {
		case name == "sign":
			if json.Unmarshal(value, &e.sign) != nil {
				return e, errors.New("sign is not a string")
			}
		case strings.HasSuffix(name, "_response"):
			if e.name != "" || value.Kind() != '{' {
				return e, errors.New("answer holds no object, or more than one")
			}
			e.name, e.object = name, value.Clone()
		}
	}
	if t, err := d.ReadToken(); err != nil || t.Kind() != '}' {
		return e, errors.New("answer is cut off")
	}
	if len(bytes.TrimSpace(body[d.InputOffset():])) > 0 {
		return e, errors.New("answer is followed by something")
	}
	if e.name == "" {
		return e, errors.New("answer holds no object")
	}
	return e, nil
}

var errAnswerSignature = errors.New("signature of the answer does not verify")

// believe takes an answer apart, and verifies and reads it. One without any
// signature (an empty sign) is for [Connector.decode] to judge.
func (c *Connector) believe(r connector.Response) (e envelope, a answer, err error) {
	if r.StatusCode != http.StatusOK {
		return e, a, fmt.Errorf("status %d", r.StatusCode)
	}
	if e, err = open(r.Body); err != nil {
		return e, a, err
	}
	keys, err := c.loaded()
	if err != nil {
		return e, a, err
	}
	if e.sign != "" && !keys.verify(e.object, e.sign) {
		return e, a, errAnswerSignature
	}
	if err := json.Unmarshal(e.object, &a); err != nil {
		return e, a, errors.New("answer has a member of the wrong type")
	}
	return e, a, nil
}

// Decode reads an answer. Whatever is not signed, or contradicts itself or the
// call, is an error: only a query can tell then.
func (c *Connector) Decode(call connector.Call, r connector.Response) (connector.Result, error) {
	result, err := c.decode(call, r)
	if err != nil {
		return connector.Result{}, fmt.Errorf("alipay: %w", err)
	}
	return result, nil
}

func (c *Connector) decode(call connector.Call, r connector.Response) (connector.Result, error) {
	e, a, err := c.believe(r)
	if err != nil {
		return connector.Result{}, err
	}
	if f := turnedAway(&a); f != nil && (e.sign != "" || e.name == errorName && a.OutTradeNo+a.TradeNo == "") {
		// Alipay does not sign where it does not know who asked.
		return connector.Result{State: connector.Rejected, Failure: f}, nil
	}
	method, ok := answers(call.Op, e.name)
	switch {
	case e.sign == "":
		return connector.Result{}, fmt.Errorf("answer with code %.16q is not signed", a.Code)
	case !ok:
		return connector.Result{}, fmt.Errorf("%.64q answers another call", e.name)
	}
	if err := about(call, &a); err != nil {
		return connector.Result{}, err
	}
	switch {
	case a.Code == codeBusiness:
		return failed(call, &a)
	case a.Code == codeWaiting && method == methodPay:
		return connector.Result{State: connector.Pending, PSPReference: a.TradeNo}, nil
	case a.Code != codeDone:
		return connector.Result{}, fmt.Errorf("code %.16q, %.64q", a.Code, a.SubCode)
	}
	return done(call, method, &a)
}

// turnedAway reads the gateway's refusals; nil for any other answer.
func turnedAway(a *answer) *payment.Failure {
	switch code, ok := refusals[a.Code]; {
	case a.Code == codeDone || a.Code == codeWaiting:
		return nil
	case throttled(a.SubCode):
		return failure(payment.PSPUnavailable, a)
	case ok && setupFaults[a.SubCode]:
		return failure(payment.ConfigurationError, a)
	case ok:
		return failure(code, a)
	}
	return nil
}

// answers tells which method the object named so answers, if it is one that op
// calls for. A void may have become a close since, or have been a cancel before.
func answers(op payment.Operation, name string) (method string, ok bool) {
	var asked []string
	switch op := op.(type) {
	case payment.Authorize:
		switch op.Method.Flow {
		case payment.FlowBarcode:
			asked = []string{methodPay}
		case payment.FlowMiniProgram:
			asked = []string{methodCreate}
		default:
			asked = []string{methodPrecreate}
		}
	case payment.Void:
		asked = []string{methodCancel, methodClose}
	case payment.GiveBack:
		asked = []string{methodRefund}
	case payment.Sync:
		asked = []string{methodQuery}
		if op.Of == payment.KindRefund {
			asked = []string{methodRefundQuery}
		}
	default: // a capture: Alipay has none
	}
	for _, m := range asked {
		if strings.ReplaceAll(m, ".", "_")+"_response" == name {
			return m, true
		}
	}
	return "", false
}

// trade is our number, and Alipay's where we know it, of the trade that the
// call is about.
func trade(call connector.Call) (reference, pspReference string) {
	switch op := call.Op.(type) {
	case payment.Void:
		return op.Charge.Reference, op.Charge.PSPReference
	case payment.GiveBack:
		return op.Charge.Reference, op.Charge.PSPReference
	case payment.Sync:
		return op.Charge.Reference, op.Charge.PSPReference
	default:
		return call.Reference, ""
	}
}

// about refuses an answer that names another trade. One that must name ours is
// held to that in [done].
func about(call connector.Call, a *answer) error {
	reference, pspReference := trade(call)
	switch {
	case a.OutTradeNo != "" && a.OutTradeNo != reference:
		return errors.New("answer is about another out_trade_no")
	case a.TradeNo != "" && !simple(a.TradeNo, maxTradeNo):
		return errors.New("trade_no is malformed")
	case a.TradeNo != "" && pspReference != "" && a.TradeNo != pspReference:
		return errors.New("answer is about another trade_no")
	}
	return nil
}

// failed reads a business failure.
func failed(call connector.Call, a *answer) (connector.Result, error) {
	name, v := subCode(a.SubCode)
	switch kind := call.Op.Kind(); {
	case name == "TRADE_NOT_EXIST" && kind == payment.KindSync:
		return connector.Result{State: connector.NotFound}, nil
	case name == "TRADE_NOT_EXIST" && kind == payment.KindVoid:
		return connector.Result{State: connector.Pending}, nil // not seen yet, or never: see voided
	case name == "TRADE_NOT_EXIST" && kind == payment.KindRefund:
		return connector.Result{State: connector.Rejected, Failure: failure(payment.PSPRejectedRequest, a)}, nil
	case name == "PAYMENT_AUTH_CODE_INVALID" && !call.Sent.IsZero():
		// The send before this one may have used the code up.
		return connector.Result{}, errors.New("auth_code is used up, perhaps by ourselves")
	case v.state == "" && kind == payment.KindVoid && a.RetryFlag == "Y":
		return connector.Result{State: connector.Pending, Again: true}, nil
	case v.state == "":
		return connector.Result{}, fmt.Errorf("sub_code %.64q leaves the outcome open", a.SubCode)
	case v.state == connector.Declined && kind == payment.KindSync:
		return connector.Result{}, fmt.Errorf("sub_code %.64q answers no query", a.SubCode)
	}
	r := connector.Result{State: v.state, Failure: failure(v.code, a)}
	// A trade that was made and not paid waits for another try.
	r.Payable = v.state == connector.Declined && call.Op.Kind() == payment.KindAuthorize && a.TradeNo != ""
	return r, nil
}
