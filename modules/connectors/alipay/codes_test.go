package alipay

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connector/connectortest"
	"github.com/purser-pay/purser/modules/payment"
)

// answerWith returns a signed answer to a call of the given method.
func (k *keyPair) answerWith(tb testing.TB, method, object string) connector.Response {
	tb.Helper()
	body := `{"` + strings.ReplaceAll(method, ".", "_") + `_response":` + object + `,` + unsigned + `}`
	return connector.Response{StatusCode: 200, Body: []byte(k.seal(tb, body))}
}

func barcode() payment.Authorize {
	return payment.Authorize{
		Amount: payment.Money{Minor: 8888, Currency: "CNY"}, Capture: true, Payment: "pay_01",
		Method: payment.Method{
			Type: payment.MethodAlipay, Flow: payment.FlowBarcode, AuthCode: payment.NewSensitive("28763443825664394"),
		},
		CreatedAt: connectortest.Now(), ExpiresAt: connectortest.Now().Add(30 * 60e9),
	}
}

func testCall(op payment.Operation) connector.Call {
	return connector.Call{
		Op: op, Reference: connectortest.Reference, Key: connectortest.Key,
		BaseURL: "https://openapi.alipay.com", Now: connectortest.Now(),
	}
}

// TestSubCodes plays every documented sub_code as the answer to a payment and
// to a query: testdata/sub_codes.txt says what each means for the payment.
func TestSubCodes(t *testing.T) {
	c, alipay := newTest(t)
	b, err := os.ReadFile("testdata/sub_codes.txt")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	lines := 0
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		lines++
		code, want := f[0], strings.Join(f[1:], " ")
		name, _ := subCode(code)
		listed[name] = true
		object := `{"code":"40004","msg":"Business Failed","sub_code":"` + code + `","sub_msg":"?"}`
		got := said(c.Decode(testCall(barcode()), alipay.answerWith(t, methodPay, object)))
		if got != want {
			t.Errorf("%s: got %q, want %q", code, got, want)
		}
		query := payment.Sync{Of: payment.KindAuthorize, Charge: payment.ChargeRef{Reference: connectortest.Reference}}
		r, err := c.Decode(testCall(query), alipay.answerWith(t, methodQuery, object))
		if err == nil && r.State != connector.Rejected && !(r.State == connector.NotFound && name == "TRADE_NOT_EXIST") {
			t.Errorf("%s: a query yields %q: a failed question is no verdict on the charge", code, r.State)
		}
	}
	if lines != 132 {
		t.Errorf("sub_codes.txt lists %d codes, want all 132", lines)
	}
	known := map[string]bool{}
	for name := range subCodes {
		known[name] = true
	}
	if diff := cmp.Diff(listed, known); diff != "" {
		t.Errorf("table and list differ (-listed +table):\n%s", diff)
	}
}

// said writes a verdict in a few words.
func said(r connector.Result, err error) string {
	switch {
	case err != nil:
		return "unknown"
	case r.Failure != nil:
		return string(r.State) + " " + string(r.Failure.Code)
	default:
		return string(r.State)
	}
}

func TestTopCodes(t *testing.T) {
	c, alipay := newTest(t)
	tests := map[string]string{
		`"code":"20000","sub_code":"isp.unknow-error"`:       "unknown",
		`"code":"20000","sub_code":"aop.unknow-error"`:       "unknown",
		`"code":"20001","sub_code":"aop.invalid-auth-token"`: "rejected configuration_error",
		`"code":"40001","sub_code":"isv.missing-timestamp"`:  "rejected psp_rejected_request",
		`"code":"40001","sub_code":"isv.missing-signature"`:  "rejected configuration_error",
		`"code":"40002","sub_code":"isv.invalid-parameter"`:  "rejected psp_rejected_request",
		`"code":"40002","sub_code":"isv.invalid-signature"`:  "rejected configuration_error",
		`"code":"40003"`: "unknown",
		`"code":"40004"`: "unknown",
		`"code":"40004","sub_code":"ACQ.NEVER_HEARD_OF"`:        "unknown",
		`"code":"40005","sub_code":"isv.app-call-limited"`:      "rejected psp_unavailable",
		`"code":"40004","sub_code":"isp.call-limited"`:          "rejected psp_unavailable",
		`"code":"40006","sub_code":"isv.insufficient-isv-perm"`: "rejected configuration_error",
		`"code":"10001"`:  "unknown",
		`"code":""`:       "unknown",
		`"msg":"no code"`: "unknown",
		`"code":10000`:    "unknown",
	}
	for members, want := range tests {
		got := said(c.Decode(testCall(barcode()), alipay.answerWith(t, methodPay, "{"+members+"}")))
		if got != want {
			t.Errorf("%s: got %q, want %q", members, got, want)
		}
	}
}

// TestUnsigned holds what is believed without a signature: that the gateway did
// not know who asked, and nothing else.
func TestUnsigned(t *testing.T) {
	c, _ := newTest(t)
	tests := map[string]string{
		`{"error_response":{"code":"40002","sub_code":"isv.invalid-app-id"}}`:                             "rejected configuration_error",
		`{"error_response":{"code":"40002","sub_code":"isv.invalid-app-id"},"sign":""}`:                   "rejected configuration_error",
		`{"error_response":{"code":"40002","sub_code":"isv.invalid-app-id"},"sign":"AAAA"}`:               "unknown",
		`{"error_response":{"code":"40002","sub_code":"isv.invalid-app-id","out_trade_no":"x"}}`:          "unknown",
		`{"error_response":{"code":"40002","sub_code":"isv.invalid-app-id","trade_no":"x"}}`:              "unknown",
		`{"alipay_trade_pay_response":{"code":"40002","sub_code":"isv.invalid-app-id"}}`:                  "unknown",
		`{"error_response":{"code":"40004","sub_code":"ACQ.BUYER_BALANCE_NOT_ENOUGH"}}`:                   "unknown",
		`{"error_response":{"code":"20000","sub_code":"isp.unknow-error"}}`:                               "unknown",
		`{"alipay_trade_pay_response":{"code":"40004","sub_code":"ACQ.PAYMENT_FAIL"}}`:                    "unknown",
		`{"alipay_trade_pay_response":{"code":"10000","out_trade_no":"` + connectortest.Reference + `"}}`: "unknown",
	}
	for body, want := range tests {
		got := said(c.Decode(testCall(barcode()), connector.Response{StatusCode: 200, Body: []byte(body)}))
		if got != want {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
}
