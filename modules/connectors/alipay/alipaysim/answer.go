package alipaysim

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"github.com/purser-pay/purser/modules/simulator/books"
)

// result is what a method yields: Alipay's four words, and further members.
type result struct {
	code, msg, sub, subMsg string
	// more adds members; off is what wrong_amount adds to amounts, in fen.
	more func(o *books.Document, off int64)
	// invalid tells that the request was refused before it was executed.
	invalid bool
}

func success(more func(o *books.Document, off int64)) result {
	return result{code: "10000", msg: "Success", more: more}
}

// refused is a business failure, with the sub_code of Alipay's documents.
func refused(sub string) result {
	return result{code: "40004", msg: "Business Failed", sub: sub, subMsg: strings.ReplaceAll(strings.TrimPrefix(sub, "ACQ."), "_", " ")}
}

// parameter is a refusal before execution.
func parameter(why string) result {
	r := refused("ACQ.INVALID_PARAMETER")
	r.subMsg, r.invalid = why, true
	return r
}

func arguments(code, sub string) *result {
	msg := "Invalid Arguments"
	if code == "40001" {
		msg = "Missing Required Arguments"
	}
	return &result{code: code, msg: msg, sub: sub, subMsg: sub, invalid: true}
}

// answer renders and signs: {"<method>_response":{…},"sign":"…"}, where the
// signature covers the exact bytes of the inner object.
func (c *call) answer(r result) books.Answer {
	render := func(off int64) []byte {
		o := books.NewDocument(512).Text("code", r.code).Text("msg", r.msg).Some("sub_code", r.sub).Some("sub_msg", r.subMsg)
		if r.more != nil {
			r.more(o, off)
		}
		name := strings.ReplaceAll(c.method, ".", "_") + "_response"
		if c.method == "" || r.sub == "isv.invalid-method" {
			name = "error_response"
		}
		inner := o.Bytes()
		return books.NewDocument(len(inner)+512).Raw(name, inner).Text("sign", c.d.sign(inner)).Bytes()
	}
	a := books.Answer{Status: http.StatusOK, Type: "text/html;charset=utf-8", Body: render(0)}
	if r.more != nil {
		a.Wrong = func() []byte { return render(1) }
	}
	return a
}

// sign is RSA2: SHA256withRSA (PKCS #1 v1.5), in base64.
func (d *Dialect) sign(text []byte) string {
	sum := sha256.Sum256(text)
	sig, err := rsa.SignPKCS1v15(rand.Reader, d.opt.Key(), crypto.SHA256, sum[:])
	if err != nil {
		return "" // the key is too short to sign: the receiver will see
	}
	return base64.StdEncoding.EncodeToString(sig)
}

// verify yields the sub_code of a refusal, or nothing.
func (d *Dialect) verify(app string, params map[string]string) string {
	d.mu.RLock()
	key, known := d.apps[app]
	open := len(d.apps) == 0
	d.mu.RUnlock()
	switch {
	case open:
		return ""
	case !known:
		return "isv.invalid-app-id"
	}
	sig, err := base64.StdEncoding.DecodeString(params["sign"])
	sum := sha256.Sum256([]byte(signedText(params, "sign")))
	if err != nil || rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], sig) != nil {
		return "isv.invalid-signature"
	}
	return ""
}

// signedText joins what a signature covers: every non-empty parameter but
// those left out, sorted by name, values raw.
func signedText(params map[string]string, without ...string) string {
	names := make([]string, 0, len(params))
	for k, v := range params {
		if v != "" && !slices.Contains(without, k) {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	var text strings.Builder
	for i, k := range names {
		if i > 0 {
			text.WriteByte('&')
		}
		text.WriteString(k + "=" + params[k])
	}
	return text.String()
}
