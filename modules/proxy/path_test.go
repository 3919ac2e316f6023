package proxy

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/purser-pay/purser/modules/payment"
)

// refusal is the code and the parameter of an error; "" = none.
func refusal(err error) string {
	if err == nil {
		return ""
	}
	var e *payment.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	return string(e.Code) + " " + e.Param
}

func TestCheckPath(t *testing.T) {
	t.Parallel()
	const bad, pan = "invalid_request path", "pan_not_allowed path"
	tests := []struct{ name, path, want string }{
		{"root", "/", ""},
		{"Stripe", "/v1/payment_intents/pi_3Mt/capture", ""},
		{"Adyen", "/v72/payments/8825ABC/captures", ""},
		{"Alipay", "/gateway.do/alipay.trade.query", ""},
		{"slash at the end", "/v1/charges/", ""},
		{"dots within names", "/v1/..a/a../a..b/.well-known/a.b", ""},
		{"plain punctuation", "/a-._~!$&'()*+,=:@b", ""},
		{"escapes of what needs them", "/a%20b%5B%5d%7B%22%7C", ""},
		{"escapes that change nothing", "/a%3Ab%40c%2B%2c", ""},
		{"as long as may be", "/" + strings.Repeat("a", MaxPath-1), ""},

		{"nothing", "", bad},
		{"no slash", "v1/charges", bad},
		{"a URL", "https://evil.example/v1", bad},
		{"another host", "//evil.example/v1", bad},
		{"too long", "/" + strings.Repeat("a", MaxPath), bad},
		{"dot", "/v1/./charges", bad},
		{"dot at the end", "/v1/.", bad},
		{"dots", "/v1/../charges", bad},
		{"dots at the start", "/../v1", bad},
		{"dots at the end", "/v1/..", bad},
		{"dots and a slash at the end", "/v1/../", bad},
		{"three dots", "/v1/.../charges", bad},
		{"escaped dots", "/v1/%2e%2e/charges", bad},
		{"escaped dots in capitals", "/v1/%2E%2E/charges", bad},
		{"half escaped dots", "/v1/.%2e/charges", bad},
		{"half escaped dots, the other half", "/v1/%2E./charges", bad},
		{"one escaped dot", "/v1/%2e/charges", bad},
		{"escaped twice", "/v1/%252e%252e/charges", bad},
		{"escaped thrice", "/v1/%25252e", bad},
		{"overlong UTF-8 dot", "/v1/%c0%ae%c0%ae/charges", bad},
		{"fullwidth dots", "/v1/%EF%BC%8E%EF%BC%8E/charges", bad},
		{"%u escapes", "/v1/%u002e%u002e/charges", bad},
		{"dots and a space", "/v1/..%20/charges", bad},
		{"dots and a parameter", "/v1/..;/charges", bad},
		{"dots and an escaped parameter", "/v1/..%3b/charges", bad},
		{"dots and NUL", "/v1/..%00/charges", bad},
		{"a parameter", "/v1/charges;a=b", bad},
		{"escaped slash", "/v1%2fcharges", bad},
		{"escaped slash in capitals", "/v1%2Fcharges", bad},
		{"dots with an escaped slash", "/v1/..%2fcharges", bad},
		{"slash escaped twice", "/v1%252fcharges", bad},
		{"overlong UTF-8 slash", "/v1%c0%afcharges", bad},
		{"division slash", "/v1%E2%88%95charges", bad},
		{"backslash", `/v1\charges`, bad},
		{"escaped backslash", "/v1%5ccharges", bad},
		{"escaped backslash in capitals", "/v1/..%5C..%5Ccharges", bad},
		{"empty segment", "/v1//charges", bad},
		{"empty segment at the start", "//v1/charges", bad},
		{"empty segments at the end", "/v1/charges//", bad},
		{"a segment of spaces", "/v1/%20/charges", bad},
		{"NUL", "/v1/charges%00", bad},
		{"bare NUL", "/v1/charges\x00", bad},
		{"line break", "/v1/charges%0d%0aHost:%20evil", bad},
		{"bare line break", "/v1/charges\r\nHost: evil", bad},
		{"tab", "/v1/charges%09", bad},
		{"DEL", "/v1/charges%7f", bad},
		{"space", "/v1/a b", bad},
		{"question mark", "/v1/charges?a=b", bad},
		{"escaped question mark", "/v1/charges%3Fa=b", bad},
		{"fragment", "/v1/charges#a", bad},
		{"escaped fragment", "/v1/charges%23a", bad},
		{"escaped percent", "/v1/100%25", bad},
		{"escaped letter", "/v1/ch%61rges", bad},
		{"escaped digit", "/v%31/charges", bad},
		{"escaped underscore", "/v1/payment%5Fintents", bad},
		{"escaped tilde", "/%7Eroot", bad},
		{"half an escape", "/v1/charges%2", bad},
		{"a percent alone", "/v1/charges%", bad},
		{"no hexadecimal", "/v1/charges%zz", bad},
		{"not ASCII", "/v1/ä", bad},
		{"not ASCII, escaped", "/v1/%C3%A4", bad},
		{"not UTF-8", "/v1/%ff", bad},
		{"quotes", `/v1/"x"`, bad},
		{"angle brackets", "/v1/<x>", bad},
		{"caret", "/v1/^", bad},

		{"card number", "/v1/cards/4242424242424242", pan},
		{"card number with dashes", "/v1/cards/4242-4242-4242-4242", pan},
		{"card number with spaces", "/v1/cards/4242%204242%204242%204242", pan},
		{"a long number", "/v1/x/1234567890123456789012", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := refusal(CheckPath(tt.path)); got != tt.want {
				t.Errorf("%q: got %q, want %q", tt.path, got, tt.want)
			}
		})
	}
}

func TestCheckQuery(t *testing.T) {
	t.Parallel()
	const bad, pan = "invalid_request query", "pan_not_allowed query"
	tests := []struct{ name, query, want string }{
		{"nothing", "", ""},
		{"Stripe's", "expand[]=data.charge&created[gte]=1700000000&starting_after=pi_1", ""},
		{"escapes", "q=%e6%98%8e+%00%2F", ""},
		{"semicolon", "a=b;c=d", ""},
		{"as long as may be", strings.Repeat("a", MaxQuery), ""},
		{"too long", strings.Repeat("a", MaxQuery+1), bad},
		{"space", "a=b c", bad},
		{"line break", "a=b\r\nHost: evil", bad},
		{"not ASCII", "a=ä", bad},
		{"fragment", "a=b#c", bad},
		{"card number", "number=4242424242424242&a=b", pan},
		{"card number with plus signs", "number=4242+4242+4242+4242", pan},
		{"escaped card number", "number=%34%32%34%32424242424242", pan},
		{"card number as a name", "5555555555554444", pan},
		{"card number among bad escapes", "a=%zz&n=4242424242424242", pan},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := refusal(CheckQuery(tt.query)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// FuzzCheckPath: a path that passes reads the same for everybody.
func FuzzCheckPath(f *testing.F) {
	for _, s := range []string{"/v1/charges", "/a%20b", "/v1/%2e%2e/x", "/v1//x", "/..;/", "/%5b%41", "/ .", "/a/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if CheckPath(path) != nil {
			return
		}
		plain, err := url.PathUnescape(path)
		if err != nil {
			t.Fatalf("%q: %v", path, err)
		}
		if again, err := url.PathUnescape(plain); err != nil || again != plain {
			t.Errorf("%q can be read twice: %q, then %q (%v)", path, plain, again, err)
		}
		if strings.ContainsAny(plain, `\;?#%`) || strings.Contains(plain, "//") || strings.Count(plain, "/") != strings.Count(path, "/") {
			t.Errorf("%q reads as %q", path, plain)
		}
		for segment := range strings.SplitSeq(plain, "/") {
			if s := strings.TrimSpace(segment); s == "." || s == ".." {
				t.Errorf("%q has the segment %q", path, segment)
			}
		}
		for i := range len(plain) {
			if plain[i] < ' ' || plain[i] > '~' {
				t.Errorf("%q has the byte %#x", path, plain[i])
			}
		}
		u, err := url.ParseRequestURI(path)
		if err != nil || u.EscapedPath() != path || u.RawQuery != "" || u.Host != "" {
			t.Errorf("%q is read by net/url as %+v (%v)", path, u, err)
		}
	})
}

func TestParse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, method, target string
		header               http.Header
		want                 Target
		ok                   bool
		err                  string
	}{
		{"a call", "GET", "/v1/proxy/stripe/v1/charges?limit=1", nil, Target{"stripe", "/v1/charges"}, true, ""},
		{"the root", "POST", "/v1/proxy/stripe/", nil, Target{"stripe", "/"}, true, ""},
		{"no path", "GET", "/v1/proxy/stripe", nil, Target{}, false, ""},
		{"no account", "GET", "/v1/proxy//v1", nil, Target{}, false, ""},
		{"nothing", "GET", "/v1/proxy/", nil, Target{}, false, ""},
		{"another route", "GET", "/v1/payments", nil, Target{}, false, ""},
		{"escaped route", "GET", "/v1/pr%6fxy/stripe/v1", nil, Target{}, false, ""},
		{"an account with an escape", "GET", "/v1/proxy/str%69pe/v1", nil, Target{"str%69pe", "/v1"}, true, ""},
		{"dots", "GET", "/v1/proxy/stripe/../adyen/x", nil, Target{"stripe", "/../adyen/x"}, true, "invalid_request path"},
		{"dots as the account", "GET", "/v1/proxy/../x", nil, Target{"..", "/x"}, true, ""},
		{"a query", "GET", "/v1/proxy/stripe/v1?a=4242424242424242", nil, Target{"stripe", "/v1"}, true, "pan_not_allowed query"},
		{"OPTIONS", "OPTIONS", "/v1/proxy/stripe/v1", nil, Target{"stripe", "/v1"}, true, "method_not_allowed "},
		{"TRACE", "TRACE", "/v1/proxy/stripe/v1", nil, Target{"stripe", "/v1"}, true, "method_not_allowed "},
		{"CONNECT", "CONNECT", "/v1/proxy/stripe/v1", nil, Target{"stripe", "/v1"}, true, "method_not_allowed "},
		{"a made-up method", "PURGE", "/v1/proxy/stripe/v1", nil, Target{"stripe", "/v1"}, true, "method_not_allowed "},
		{"WebSocket", "GET", "/v1/proxy/stripe/v1", http.Header{"Upgrade": {"websocket"}}, Target{"stripe", "/v1"}, true, "invalid_request Upgrade"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u, err := url.ParseRequestURI(tt.target)
			if err != nil {
				t.Fatal(err)
			}
			got, ok, err := Parse(&http.Request{Method: tt.method, URL: u, Header: tt.header})
			if got != tt.want || ok != tt.ok || refusal(err) != tt.err {
				t.Errorf("got %+v %t %q, want %+v %t %q", got, ok, refusal(err), tt.want, tt.ok, tt.err)
			}
		})
	}
}

func BenchmarkCheckPath(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if CheckPath("/v1/payment_intents/pi_3MtwBwLkdIwHu7ix28a3tqPa/capture") != nil {
			b.Fatal("refused")
		}
	}
}
