package payment

// Customer is the payer as the merchant knows them. All fields are optional.
type Customer struct {
	ID    string `json:"id,omitempty"`
	Name  string `json:"name,omitempty"`
	Email string `json:"email,omitempty"`
	Phone string `json:"phone,omitempty"`
	IP    string `json:"ip,omitempty"`
}

// Address is a postal address. Country is ISO 3166-1 alpha-2.
type Address struct {
	Line1      string `json:"line1,omitempty"`
	Line2      string `json:"line2,omitempty"`
	City       string `json:"city,omitempty"`
	State      string `json:"state,omitempty"`
	PostalCode string `json:"postal_code,omitempty"`
	Country    string `json:"country,omitempty"`
}

// Browser is what EMV 3-D Secure 2 wants to know of the payer's browser.
type Browser struct {
	Accept         string `json:"accept,omitempty"`
	UserAgent      string `json:"user_agent,omitempty"`
	Language       string `json:"language,omitempty"`    // RFC 5646, such as "en-GB"
	ColorDepth     int    `json:"color_depth,omitempty"` // bits
	ScreenWidth    int    `json:"screen_width,omitempty"`
	ScreenHeight   int    `json:"screen_height,omitempty"`
	TimezoneOffset int    `json:"timezone_offset,omitempty"` // minutes, as JavaScript's getTimezoneOffset tells it
	Java           bool   `json:"java,omitempty"`
	JavaScript     bool   `json:"javascript,omitempty"`
}
