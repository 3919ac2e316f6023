package connector

import "net/http"

// Prober is implemented by connectors that know a request which moves nothing
// and changes nothing at the PSP, and whose answer tells whether the account's
// credentials are taken there. It is for operators: the engine never asks so.
type Prober interface {
	// EncodeProbe builds the request. Op, Step, Done, Reference, Key and Sent of c
	// are zero. An error means that the account cannot be asked.
	EncodeProbe(c Call) (*http.Request, error)

	// DecodeProbe reads the answer. An error means that it tells nothing of the
	// credentials: a 5xx, a 429, HTML, an answer to something else. Only the PSP's
	// own words prove anything.
	DecodeProbe(c Call, r Response) (Probe, error)
}

// Probe is what the PSP's answer tells of an account's credentials.
type Probe struct {
	// Accepted tells that the PSP takes them, for the account they are configured
	// with; false tells that it does not.
	Accepted bool `json:"accepted"`
	// Detail says in a few words by what that is known, and which field is at
	// fault. It holds nothing of a secret.
	Detail string `json:"detail"`
	// Livemode is that of the credentials; nil where nothing tells.
	Livemode *bool `json:"livemode,omitempty"`
}
