package connectortest

import (
	"strings"
	"testing"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// wantComplaint fails unless the complaints are one that holds want, or none
// where want is empty.
func wantComplaint(t *testing.T, got []string, want string) {
	t.Helper()
	switch {
	case want == "" && len(got) > 0:
		t.Errorf("got complaints %q, want none", got)
	case want != "" && !strings.Contains(strings.Join(got, "\n"), want):
		t.Errorf("got complaints %q, want one with %q", got, want)
	}
}

func TestCheckRequestSeesMistakes(t *testing.T) {
	tests := map[string]struct {
		spoil func(*toy)
		want  string
	}{
		"sound":            {func(*toy) {}, ""},
		"another host":     {func(c *toy) { c.elsewhere = true }, "neither that of the base URL"},
		"POST without":     {func(c *toy) { c.emptyPost = true }, "POST without a body"},
		"drifts with time": {func(c *toy) { c.drifts = true }, "repeated an hour later"},
		"key without use":  {func(c *toy) { c.wrongKey = true }, "does not count on it"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newToy()
			tt.spoil(c)
			call := connector.Call{
				Op: payment.Void{}, Reference: Reference, Key: Key, BaseURL: "https://api.toy.example", Now: Now(),
			}
			req, err := c.Encode(call)
			if err != nil {
				t.Fatal(err)
			}
			wantComplaint(t, checkRequest(c, call, req), tt.want)
		})
	}
}

// TestCheckRequestOfProbe holds that a probe is held to what holds for a query.
func TestCheckRequestOfProbe(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(*toy)
		want  string
	}{
		"sound":         {func(*toy) {}, ""},
		"POST without":  {func(c *toy) { c.emptyPost = true }, "POST without a body"},
		"key on a read": {func(c *toy) { c.wrongKey = true }, "on a query"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newToy()
			tt.spoil(c)
			call := connector.Call{Op: payment.Sync{}, BaseURL: "https://api.toy.example", Now: Now()}
			req, err := c.EncodeProbe(call)
			if err != nil {
				t.Fatal(err)
			}
			wantComplaint(t, checkRequest(prober{c, c}, call, req), tt.want)
		})
	}
}

func TestCheckResultSeesMistakes(t *testing.T) {
	eur := payment.Money{Minor: 100, Currency: "EUR"}
	charge := func(authorized, captured, refunded int64) *connector.Charge {
		return &connector.Charge{Amount: eur, Authorized: authorized, Captured: captured, Refunded: refunded}
	}
	tests := map[string]struct {
		result connector.Result
		want   string
	}{
		"sound":                    {connector.Result{State: connector.Succeeded, Amount: eur, Charge: charge(100, 100, 50)}, ""},
		"no state":                 {connector.Result{}, "is none"},
		"declined without why":     {connector.Result{State: connector.Declined}, "without a failure"},
		"unknown failure":          {connector.Result{State: connector.Declined, Failure: &payment.Failure{Code: "odd"}}, "not in the table"},
		"succeeded with failure":   {connector.Result{State: connector.Succeeded, Failure: payment.Fail(payment.LostCard)}, "with a failure"},
		"action without action":    {connector.Result{State: connector.ActionRequired}, "without an action"},
		"not found of a void":      {connector.Result{State: connector.NotFound}, "answers a sync alone"},
		"step done at the last":    {connector.Result{State: connector.StepDone, StepReference: "x"}, "at the last step"},
		"payable though succeeded": {connector.Result{State: connector.Succeeded, Payable: true}, "payable goes with"},
		"unattended, not payable":  {connector.Result{State: connector.Declined, Unattended: true, Failure: payment.Fail(payment.LostCard)}, "unattended goes with"},
		"negative amount":          {connector.Result{State: connector.Succeeded, Amount: eur.With(-1)}, "out of bounds"},
		"captured over authorized": {connector.Result{State: connector.Succeeded, Charge: charge(100, 101, 0)}, "does not hold"},
		"refunded over captured":   {connector.Result{State: connector.Succeeded, Charge: charge(100, 50, 51)}, "does not hold"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			call := connector.Call{Op: payment.Void{}, BaseURL: "https://api.toy.example"}
			wantComplaint(t, checkResult(newToy(), call, tt.result), tt.want)
		})
	}
}

func TestCheckLeaksSeesSecrets(t *testing.T) {
	call := connector.Call{
		Op: payment.Authorize{Method: payment.Method{
			Type: payment.MethodCard, Card: &payment.Card{Number: payment.NewSensitive("4242424242424242")},
		}},
		Token: connector.NewSecret("bearer-token"),
	}
	for text, want := range map[string]string{
		"nothing of note":          "",
		"key toy-secret is wrong":  "the secret Key",
		"card 4242424242424242":    "the card number",
		"Authorization bearer-tok": "",
		"token bearer-token":       "the access token",
	} {
		wantComplaint(t, checkLeaks(newToy(), call, []byte(text)), want)
	}
}

// accepts counts the forgeries that a decoder lets through, by hand: the suite
// itself would fail the test that runs it.
func accepts(c *toy, forged map[string]string) int {
	n := 0
	for _, body := range forged {
		d := delivery()
		d.Body = []byte(body)
		if c.VerifyWebhook(d) == nil {
			n++
		}
	}
	return n
}

func TestForgedBodiesReachTheDecoder(t *testing.T) {
	forged := forgedBodies(delivery())
	if got := accepts(newToy(), forged); got != 0 {
		t.Errorf("a sound decoder took %d forgeries, want 0", got)
	}
	blind := newToy()
	blind.ignoresBody = true
	good := delivery()
	blind.sign(&good)
	for what, body := range forged {
		bad := good
		bad.Body = []byte(body)
		if err := blind.VerifyWebhook(bad); err != nil {
			t.Errorf("%s: a decoder that ignores the body refused it: %v", what, err)
		}
	}
	if len(forged) < 2*len(good.Body) {
		t.Errorf("%d forgeries of %d bytes, want at least two a byte", len(forged), len(good.Body))
	}
}

func TestForgedFormsDiffer(t *testing.T) {
	d := connector.Delivery{Body: []byte("a=%2B&b=c")}
	for what, body := range forgedBodies(d) {
		if strings.EqualFold(body, "a=%2b&b=c") && strings.HasPrefix(body, "a=%2b") && strings.HasSuffix(body, "b=c") {
			t.Errorf("%s: %q only re-encodes", what, body)
		}
	}
}
