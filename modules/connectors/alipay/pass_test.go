package alipay

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connector/connectortest"
)

const passedForm = "application/x-www-form-urlencoded"

// passed is a caller's request on its way to Authorize.
type passed struct {
	method, path, query, contentType, body string
}

func (p passed) request(tb testing.TB) *http.Request {
	tb.Helper()
	u, err := url.Parse("https://openapi.alipay.com/base" + p.path)
	if err != nil {
		tb.Fatal(err)
	}
	u.RawQuery = p.query
	r := &http.Request{Method: p.method, URL: u, Header: http.Header{}}
	if p.contentType != "" {
		r.Header.Set("Content-Type", p.contentType)
	}
	return r
}

func passedCall() connector.Call {
	return connector.Call{BaseURL: "https://openapi.alipay.com/base", Now: connectortest.Now()}
}

func TestPass(t *testing.T) {
	t.Parallel()
	pass := (*Connector)(nil).Pass()
	if err := pass.Check(); err != nil {
		t.Error(err)
	}
	if !pass.Signs {
		t.Error("the signature covers the body, and Authorize would not see it")
	}
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	const content = `{"out_trade_no":"o 1&=+%","测试":true}`
	biz := "biz_content=" + url.QueryEscape(content)
	want := url.Values{
		"app_id": {testAppID}, "method": {"alipay.trade.query"}, "format": {"JSON"}, "charset": {"utf-8"},
		"sign_type": {"RSA2"}, "timestamp": {"2026-01-02 11:04:05"}, "version": {"1.0"},
	}
	with := func(more url.Values) url.Values {
		v := maps.Clone(want)
		maps.Copy(v, more)
		return v
	}
	tests := []struct {
		name  string
		given passed
		query url.Values // without sign
		form  url.Values
	}{
		{
			"all in the form",
			passed{"POST", "/gateway.do", "", passedForm, "method=alipay.trade.query&" + biz},
			want,
			url.Values{"biz_content": {content}},
		},
		{
			"method in the path",
			passed{"POST", "/gateway.do/alipay.trade.query", "", passedForm + "; charset=UTF-8", biz},
			want,
			url.Values{"biz_content": {content}},
		},
		{
			"method in path and form",
			passed{"POST", "/gateway.do/alipay.trade.query", "", passedForm, "method=alipay.trade.query&" + biz},
			want,
			url.Values{"biz_content": {content}},
		},
		{
			"method and addresses in the query",
			passed{"POST", "/gateway.do", "method=alipay.trade.query&notify_url=https%3A%2F%2Fshop.example%2Fn", passedForm, biz + "&grant_type=code"},
			with(url.Values{"notify_url": {"https://shop.example/n"}}),
			url.Values{"biz_content": {content}, "grant_type": {"code"}},
		},
		{
			"no body at all",
			passed{"POST", "/gateway.do/alipay.trade.query", "", "", ""},
			want,
			url.Values{},
		},
		{
			"a parameter without a value",
			passed{"POST", "/gateway.do/alipay.trade.query", "", passedForm, biz + "&empty="},
			want,
			url.Values{"biz_content": {content}, "empty": {""}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, _ := newTest(t)
			r := tt.given.request(t)
			body, err := c.Authorize(passedCall(), r, []byte(tt.given.body))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := r.URL.Scheme+"://"+r.URL.Host+r.URL.EscapedPath(), "https://openapi.alipay.com/base/gateway.do"; got != want {
				t.Errorf("address %s, want %s", got, want)
			}
			query, form := r.URL.Query(), mustParse(t, string(body))
			verifySign(t, query, form)
			query.Del("sign")
			if diff := cmp.Diff(tt.query, query); diff != "" {
				t.Errorf("query (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.form, form); diff != "" {
				t.Errorf("form (-want +got):\n%s", diff)
			}
			if got := r.Header.Get("Content-Type"); got != passedForm+";charset=utf-8" {
				t.Errorf("Content-Type %q", got)
			}
		})
	}
}

func mustParse(tb testing.TB, s string) url.Values {
	tb.Helper()
	v, err := url.ParseQuery(s)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// verifySign does what Alipay does, without the code that is under test.
func verifySign(tb testing.TB, query, form url.Values) {
	tb.Helper()
	_, key := testKey(tb, "test_application.pem")
	var parts []string
	for _, values := range []url.Values{query, form} {
		for name, v := range values {
			if name != "sign" && v[0] != "" {
				parts = append(parts, name+"="+v[0])
			}
		}
	}
	slices.Sort(parts)
	sig, err := base64.StdEncoding.DecodeString(query.Get("sign"))
	if err != nil {
		tb.Fatalf("sign: %v", err)
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "&")))
	if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], sig); err != nil {
		tb.Errorf("the signature does not verify: %v", err)
	}
}

func TestAuthorizeRefuses(t *testing.T) {
	t.Parallel()
	const query = "method=alipay.trade.query"
	tests := []struct {
		name  string
		given passed
		param string // of the PassError; "" = ErrUnsupported
	}{
		{"GET", passed{"GET", "/gateway.do", query, "", ""}, ""},
		{"another path", passed{"POST", "/v3/alipay/trade/pay", "", passedForm, query}, ""},
		{"a path that begins alike", passed{"POST", "/gateway.dox", "", passedForm, query}, ""},
		{"no method", passed{"POST", "/gateway.do", "", passedForm, "biz_content={}"}, "method"},
		{"two methods", passed{"POST", "/gateway.do", query, passedForm, query}, "method"},
		{"another method than the path's", passed{"POST", "/gateway.do/alipay.trade.refund", "", passedForm, query}, "method"},
		{"a method of odd letters", passed{"POST", "/gateway.do", "", passedForm, "method=alipay.trade%26x"}, "method"},
		{"a slash after the gateway", passed{"POST", "/gateway.do/", "", passedForm, query}, "path"},
		{"more behind the method", passed{"POST", "/gateway.do/alipay.trade.query/x", "", passedForm, ""}, "path"},
		{"app_id", passed{"POST", "/gateway.do", "", passedForm, query + "&app_id=1"}, "app_id"},
		{"sign", passed{"POST", "/gateway.do", "", passedForm, query + "&sign=1"}, "sign"},
		{"sign in the query", passed{"POST", "/gateway.do", "sign=1", passedForm, query}, "sign"},
		{"sign in capitals", passed{"POST", "/gateway.do", "", passedForm, query + "&Sign=1"}, "Sign"},
		{"sign_type", passed{"POST", "/gateway.do", "", passedForm, query + "&sign_type=RSA"}, "sign_type"},
		{"timestamp", passed{"POST", "/gateway.do", "", passedForm, query + "&timestamp=1"}, "timestamp"},
		{"charset", passed{"POST", "/gateway.do", "charset=GBK", passedForm, query}, "charset"},
		{"version", passed{"POST", "/gateway.do", "", passedForm, query + "&version=2.0"}, "version"},
		{"format", passed{"POST", "/gateway.do", "", passedForm, query + "&format=xml"}, "format"},
		{"another's authority", passed{"POST", "/gateway.do", "", passedForm, query + "&app_auth_token=t"}, "app_auth_token"},
		{"a certificate", passed{"POST", "/gateway.do", "", passedForm, query + "&app_cert_sn=1"}, "app_cert_sn"},
		{"Method beside method", passed{"POST", "/gateway.do", "", passedForm, query + "&Method=alipay.trade.refund"}, "Method"},
		{"twice", passed{"POST", "/gateway.do", "", passedForm, query + "&biz_content=1&biz_content=2"}, "biz_content"},
		{"in query and form", passed{"POST", "/gateway.do", "biz_content=1", passedForm, query + "&biz_content=2"}, "biz_content"},
		{"a name of odd letters", passed{"POST", "/gateway.do", "", passedForm, query + "&a%26b=1"}, "body"},
		{"not UTF-8", passed{"POST", "/gateway.do", "", passedForm, query + "&biz_content=%ff"}, "biz_content"},
		{"not a form", passed{"POST", "/gateway.do", "", passedForm, query + "&a=%zz"}, "body"},
		{"semicolons", passed{"POST", "/gateway.do", "", passedForm, query + ";a=1"}, "body"},
		{"a query of odd escapes", passed{"POST", "/gateway.do", "a=%zz", passedForm, query}, "query"},
		{"JSON", passed{"POST", "/gateway.do", query, "application/json", `{}`}, "Content-Type"},
		{"no type", passed{"POST", "/gateway.do", "", "", query}, "Content-Type"},
		{"too many", passed{"POST", "/gateway.do", "", passedForm, query + manyParameters()}, "body"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, _ := newTest(t)
			body, err := c.Authorize(passedCall(), tt.given.request(t), []byte(tt.given.body))
			if err == nil || body != nil {
				t.Fatalf("got body %q and no error", body)
			}
			var refused *connector.PassError
			switch errors.As(err, &refused) {
			case true:
				if refused.Param != tt.param {
					t.Errorf("got %v, want it to be about %q", err, tt.param)
				}
			case false:
				if tt.param != "" || !errors.Is(err, connector.ErrUnsupported) {
					t.Errorf("got %v, want a PassError about %q", err, tt.param)
				}
			}
			if strings.Contains(err.Error(), testAppID) {
				t.Errorf("%v says who we are", err)
			}
		})
	}
}

func manyParameters() string {
	var b strings.Builder
	for i := range maxPassed {
		b.WriteString("&p" + strings.Repeat("x", i%60) + string(rune('a'+i/60)) + "=1")
	}
	return b.String()
}

// FuzzAuthorize: whatever a caller sends, ours are there once, and the signature
// covers all.
func FuzzAuthorize(f *testing.F) {
	f.Add("/gateway.do", "", "method=alipay.trade.query&biz_content={}")
	f.Add("/gateway.do/alipay.trade.query", "notify_url=https://a", "biz_content=%E6%98%8E")
	f.Add("/gateway.do", "sign=1", "method=a&method=b")
	c, _ := newTest(f)
	f.Fuzz(func(t *testing.T, path, query, form string) {
		r := &http.Request{
			Method: http.MethodPost, Header: http.Header{"Content-Type": {passedForm}},
			URL: &url.URL{Scheme: "https", Host: "openapi.alipay.com", Path: "/base" + path, RawQuery: query},
		}
		body, err := c.Authorize(passedCall(), r, []byte(form))
		if err != nil {
			return
		}
		q, b := mustParse(t, r.URL.RawQuery), mustParse(t, string(body))
		for name, ours := range common {
			if _, there := b[name]; there || (ours && len(q[name]) > 1) {
				t.Errorf("%s is in the form, or twice in the query", name)
			}
		}
		if q.Get("app_id") != testAppID || r.URL.Host != "openapi.alipay.com" || r.URL.Path != "/base/gateway.do" {
			t.Errorf("goes as %s to %s", q.Get("app_id"), r.URL)
		}
		verifySign(t, q, b)
	})
}
