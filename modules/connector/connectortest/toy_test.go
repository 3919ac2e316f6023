package connectortest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// toy is a connector with one switch for each mistake that the checks must see.
type toy struct {
	Key connector.Secret

	elsewhere, emptyPost, drifts, wrongKey bool
	ignoresTime, ignoresBody               bool
}

func newToy() *toy { return &toy{Key: connector.NewSecret("toy-secret")} }

func (c *toy) Spec() connector.Spec {
	s := connector.Spec{Name: "toy", TestURL: "https://api.toy.example", Idempotency: connector.Idempotency{By: connector.ByKey}}
	if c.wrongKey {
		s.Idempotency.By = connector.ByNothing
	}
	return s
}

func (c *toy) Encode(call connector.Call) (*http.Request, error) {
	if call.Op.Kind() == payment.KindSync {
		return nil, fmt.Errorf("sync: %w", connector.ErrUnsupported)
	}
	form := url.Values{"kind": {string(call.Op.Kind())}}
	if a, ok := call.Op.(payment.Authorize); ok {
		form.Set("amount", strconv.FormatInt(a.Amount.Minor, 10))
	}
	if c.drifts {
		form.Set("at", call.Now.Format(time.RFC3339))
	}
	body := form.Encode()
	if c.emptyPost {
		body = ""
	}
	base := call.BaseURL
	if c.elsewhere {
		base = "https://evil.example"
	}
	req, err := http.NewRequest(http.MethodPost, base+"/charges", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Idempotency-Key", call.Key)
	return req, nil
}

func (c *toy) Decode(_ connector.Call, r connector.Response) (connector.Result, error) {
	if r.StatusCode != http.StatusOK {
		return connector.Result{}, fmt.Errorf("status %d", r.StatusCode)
	}
	return connector.Result{State: connector.Succeeded, PSPReference: "ch_1"}, nil
}

func (c *toy) EncodeProbe(call connector.Call) (*http.Request, error) {
	if c.emptyPost {
		return http.NewRequest(http.MethodPost, call.BaseURL+"/whoami", http.NoBody)
	}
	req, err := http.NewRequest(http.MethodGet, call.BaseURL+"/whoami", http.NoBody)
	if err == nil && c.wrongKey {
		req.Header.Set("Idempotency-Key", "x")
	}
	return req, err
}

func (c *toy) DecodeProbe(_ connector.Call, r connector.Response) (connector.Probe, error) {
	if r.StatusCode >= http.StatusInternalServerError {
		return connector.Probe{}, fmt.Errorf("status %d", r.StatusCode)
	}
	return connector.Probe{Accepted: r.StatusCode == http.StatusOK, Detail: "the toy says " + strconv.Itoa(r.StatusCode)}, nil
}

func (c *toy) mac(at string, body []byte) string {
	m := hmac.New(sha256.New, []byte(c.Key.Reveal()))
	m.Write([]byte(at + "."))
	if !c.ignoresBody {
		m.Write(body)
	}
	return hex.EncodeToString(m.Sum(nil))
}

func (c *toy) sign(d *connector.Delivery) {
	at := strconv.FormatInt(d.Now.Unix(), 10)
	d.Header.Set("Toy-Signature", at+","+c.mac(at, d.Body))
}

func (c *toy) VerifyWebhook(d connector.Delivery) error {
	values := d.Header.Values("Toy-Signature")
	if len(values) != 1 {
		return connector.ErrSignature
	}
	at, mac, _ := strings.Cut(values[0], ",")
	if !hmac.Equal([]byte(mac), []byte(c.mac(at, d.Body))) {
		return connector.ErrSignature
	}
	unix, err := strconv.ParseInt(at, 10, 64)
	if err != nil || (!c.ignoresTime && d.Now.Sub(time.Unix(unix, 0)).Abs() > time.Minute) {
		return connector.ErrSignature
	}
	return nil
}

func (c *toy) DecodeWebhook(d connector.Delivery) ([]connector.Event, error) {
	if len(d.Body) == 0 {
		return nil, nil
	}
	return []connector.Event{{Of: payment.KindAuthorize, PSPReference: "ch_1", Result: connector.Result{State: connector.Succeeded}}}, nil
}

func (c *toy) Acknowledge() connector.Acknowledgement {
	return connector.Acknowledgement{StatusCode: http.StatusOK}
}

func TestRun(t *testing.T)         { Run(t, newToy(), "testdata/calls") }
func TestRunProbe(t *testing.T)    { RunProbe(t, newToy(), "testdata/probe") }
func TestRunWebhooks(t *testing.T) { RunWebhooks(t, newToy(), newToy().sign, "testdata/webhooks") }

func delivery() connector.Delivery {
	d := connector.Delivery{Method: http.MethodPost, URL: "/", Header: http.Header{}, Body: []byte("ch_1"), Now: Now()}
	newToy().sign(&d)
	return d
}

func TestForgery(t *testing.T)    { Forgery(t, newToy(), delivery(), time.Minute) }
func FuzzToyDecode(f *testing.F)  { FuzzDecode(f, newToy(), "testdata/calls") }
func FuzzToyProbe(f *testing.F)   { FuzzProbe(f, newToy(), "testdata/probe") }
func FuzzToyWebhook(f *testing.F) { FuzzWebhook(f, newToy(), newToy().sign, "testdata/webhooks") }
