package alipay

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/purser-pay/purser/modules/connector"
)

var _ connector.Passer = (*Connector)(nil)

// Pass buffers the body: the signature covers every parameter in it.
func (*Connector) Pass() connector.Pass { return connector.Pass{Signs: true} }

const (
	gatewayPath = "/gateway.do"
	formType    = "application/x-www-form-urlencoded"

	maxPassed = 64
	maxName   = 64  // bytes of a parameter's name
	maxMethod = 128 // bytes of a method's name
)

// common are the parameters that stand in the URL, where Alipay looks for the
// charset before it reads anything else. true: the gateway's own, which a
// caller may not send.
var common = map[string]bool{
	"app_id": true, "charset": true, "format": true, "sign": true, "sign_type": true, "timestamp": true, "version": true,
	// The certificates belong to the application, and it speaks for no other.
	"alipay_root_cert_sn": true, "app_auth_token": true, "app_cert_sn": true,
	"method": false, "notify_url": false, "return_url": false,
}

// Authorize signs the caller's parameters together with the gateway's own. The
// caller sends a form to /gateway.do, or to /gateway.do/{method}: the open
// platform has one path for everything, so that a policy could not tell a query
// from a transfer of money; with the method in the path it can. What Alipay
// answers is signed with its own key, and passed on as it is.
func (c *Connector) Authorize(call connector.Call, r *http.Request, body []byte) ([]byte, error) {
	keys, err := c.loaded()
	if err != nil {
		return nil, err
	}
	method, err := passedMethod(call, r)
	if err != nil {
		return nil, err
	}
	p, err := passedParameters(r, body)
	if err != nil {
		return nil, err
	}
	switch named := p.Get("method"); {
	case method == "" && !methodName(named):
		return nil, &connector.PassError{Param: "method", Detail: "The method of the open platform is missing or malformed."}
	case method != "" && named != "" && named != method:
		return nil, &connector.PassError{Param: "method", Detail: "The form names another method than the path."}
	case method != "":
		p.Set("method", method)
	}
	for name, value := range map[string]string{
		"app_id": c.AppID, "format": "JSON", "charset": "utf-8", "sign_type": "RSA2", "version": "1.0",
		"timestamp": call.Now.In(shanghai).Format(timeLayout),
	} {
		p.Set(name, value)
	}
	sign, err := keys.sign(signText(p))
	if err != nil {
		return nil, fmt.Errorf("alipay: %w", err)
	}
	query := url.Values{"sign": {sign}}
	for name := range common {
		if v := p.Get(name); v != "" {
			query.Set(name, v)
			p.Del(name)
		}
	}
	r.URL.RawQuery = query.Encode()
	r.Header["Content-Type"] = []string{formType + ";charset=utf-8"}
	return []byte(p.Encode()), nil
}

// passedMethod takes the method out of the path; "" where the path names none.
func passedMethod(call connector.Call, r *http.Request) (string, error) {
	if r.Method != http.MethodPost {
		return "", fmt.Errorf("alipay: %s, where the open platform takes POST: %w", r.Method, connector.ErrUnsupported)
	}
	base, err := url.Parse(strings.TrimSuffix(call.BaseURL, "/") + gatewayPath)
	if err != nil {
		return "", errors.New("alipay: base URL is malformed") // url.Parse quotes what it was given
	}
	rest, ok := strings.CutPrefix(r.URL.Path, base.Path)
	if !ok || (rest != "" && rest[0] != '/') {
		return "", fmt.Errorf("alipay: a path beside %s: %w", gatewayPath, connector.ErrUnsupported)
	}
	if rest == "" {
		return "", nil
	}
	method := rest[1:]
	if !methodName(method) {
		return "", &connector.PassError{Param: "path", Detail: "What follows /gateway.do/ is no method of the open platform."}
	}
	r.URL.Path, r.URL.RawPath = base.Path, ""
	return method, nil
}

// methodName tells names such as alipay.trade.query.
func methodName(s string) bool {
	return s != "" && len(s) <= maxMethod && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789._") == ""
}

// passedParameters reads query and form. A parameter that is there twice is
// refused: the signature covers one value, and Alipay might act on the other.
func passedParameters(r *http.Request, body []byte) (url.Values, error) {
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); len(body) > 0 && (err != nil || mediaType != formType) {
		return nil, &connector.PassError{Param: "Content-Type", Detail: "The open platform takes " + formType + "."}
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, &connector.PassError{Param: "body", Detail: "The form cannot be read."}
	}
	p, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &connector.PassError{Param: "query", Detail: "The query cannot be read."}
	}
	for name, values := range form {
		p[name] = append(p[name], values...)
	}
	if len(p) > maxPassed {
		return nil, &connector.PassError{Param: "body", Detail: fmt.Sprintf("There are at most %d parameters.", maxPassed)}
	}
	names := make([]string, 0, len(p))
	for name := range p {
		names = append(names, name)
	}
	slices.Sort(names) // so that the same request is refused in the same words
	for _, name := range names {
		if err := passedParameter(name, p[name]); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func passedParameter(name string, values []string) error {
	lower := strings.ToLower(name)
	ours, known := common[lower]
	switch {
	case !simple(name, maxName):
		return &connector.PassError{Param: "body", Detail: "The name of a parameter is not letters, digits, _ and -."}
	case ours, known && name != lower: // whether Alipay knows Sign from sign is not for us to find out
		return &connector.PassError{Param: name, Detail: "The gateway sets this parameter itself."}
	case len(values) != 1:
		return &connector.PassError{Param: name, Detail: "The parameter is there more than once."}
	case !utf8.ValidString(values[0]):
		return &connector.PassError{Param: name, Detail: "The value is not UTF-8."}
	default:
		return nil
	}
}
