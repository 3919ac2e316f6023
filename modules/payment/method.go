package payment

import "fmt"

// MethodType names a way to pay, the same for every PSP.
type MethodType string

// The payment methods that some connector speaks.
const (
	MethodCard      MethodType = "card"       // number and expiry, in memory only
	MethodCardToken MethodType = "card_token" // a PSP's own token; pins its account
	MethodAlipay    MethodType = "alipay"
	MethodWeChatPay MethodType = "wechat_pay"
)

// Flow is how a wallet and the payer meet.
type Flow string

// The flows of a wallet.
const (
	FlowQR          Flow = "qr"       // we show a code, the payer scans it
	FlowRedirect    Flow = "redirect" // the payer goes to the wallet's page
	FlowApp         Flow = "app"
	FlowMiniProgram Flow = "mini_program"
	FlowBarcode     Flow = "barcode" // the payer shows a code, the till scans it
)

// Method is how the payer pays, with what may live in memory only.
type Method struct {
	Type  MethodType `json:"type"`
	Card  *Card      `json:"card,omitempty"`  // type card
	Token string     `json:"token,omitempty"` // type card_token
	Flow  Flow       `json:"flow,omitempty"`  // wallets
	// AuthCode is the one-time code off the payer's screen; flow barcode.
	AuthCode Sensitive `json:"auth_code,omitzero"`
	OpenID   string    `json:"open_id,omitempty"` // flow mini_program
}

// Card is a card as the payer typed it.
type Card struct {
	Number     Sensitive `json:"number"`
	ExpMonth   int       `json:"exp_month"` // 1 … 12
	ExpYear    int       `json:"exp_year"`  // four digits
	CVC        Sensitive `json:"cvc,omitzero"`
	HolderName string    `json:"holder_name,omitempty"`
}

// Transient tells that the method holds data that is never stored, so that a
// request made of it cannot be made again after a crash.
func (m *Method) Transient() bool {
	return m != nil && (m.Card != nil || !m.AuthCode.IsZero())
}

// MethodSummary is a method as it is stored and shown.
type MethodSummary struct {
	Type     MethodType `json:"type"`
	Flow     Flow       `json:"flow,omitempty"`
	Brand    string     `json:"brand,omitempty"`
	Last4    string     `json:"last4,omitempty"`
	BIN6     string     `json:"bin6,omitempty"`
	ExpMonth int        `json:"exp_month,omitempty"`
	ExpYear  int        `json:"exp_year,omitempty"`
	// Token is the PSP's token, and OpenID the payer's ID in a mini program:
	// stored so that a call can be repeated, not shown to merchants.
	Token  string `json:"token,omitempty"`
	OpenID string `json:"open_id,omitempty"`
}

// Summary masks m: at most the first six and the last four digits of a number
// (PCI DSS 3.4.1).
func (m *Method) Summary() *MethodSummary {
	if m == nil {
		return nil
	}
	s := &MethodSummary{Type: m.Type, Flow: m.Flow, Token: m.Token, OpenID: m.OpenID}
	if c := m.Card; c != nil {
		n := c.Number.Reveal()
		s.Brand, s.ExpMonth, s.ExpYear = Brand(n), c.ExpMonth, c.ExpYear
		if len(n) >= minPAN {
			s.BIN6, s.Last4 = n[:6], n[len(n)-4:]
		}
	}
	return s
}

// Stored rebuilds the method from what was kept. What was transient is absent.
func (s *MethodSummary) Stored() Method {
	if s == nil {
		return Method{}
	}
	return Method{Type: s.Type, Flow: s.Flow, Token: s.Token, OpenID: s.OpenID}
}

// String names the method without a detail of the payer.
func (m Method) String() string {
	if m.Flow != "" {
		return fmt.Sprintf("%s/%s", m.Type, m.Flow)
	}
	return string(m.Type)
}
