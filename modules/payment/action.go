package payment

import "time"

// ActionType names what the payer, or the merchant's client, must do next.
type ActionType string

// The types of action.
const (
	ActionRedirect     ActionType = "redirect_to_url"
	ActionQRCode       ActionType = "display_qr_code"
	ActionInvokeApp    ActionType = "invoke_app"
	ActionBankTransfer ActionType = "display_bank_transfer"
	ActionWait         ActionType = "wait"
)

// NextAction is what must happen before the payment can go on. Which fields are
// set depends on Type alone.
type NextAction struct {
	Type ActionType `json:"type"`

	URL    string            `json:"url,omitempty"`    // redirect_to_url; HTTPS
	Method string            `json:"method,omitempty"` // redirect_to_url: GET or POST
	Fields map[string]string `json:"fields,omitempty"` // redirect_to_url by POST: the form

	Data      string    `json:"data,omitempty"`      // display_qr_code: what the code says
	ImageURL  string    `json:"image_url,omitempty"` // display_qr_code: the code as an image
	ExpiresAt time.Time `json:"expires_at,omitzero"` // display_qr_code
	PollAfter time.Time `json:"poll_after,omitzero"` // wait

	Parameters map[string]string `json:"parameters,omitempty"` // invoke_app
	Details    map[string]string `json:"details,omitempty"`    // display_bank_transfer
}
