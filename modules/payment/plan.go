package payment

// Facts is what a routing rule may ask about. Each field is a CEL variable of
// its JSON name.
type Facts struct {
	Merchant string     `json:"merchant"`
	Mode     Mode       `json:"mode"`
	Amount   Money      `json:"amount"`
	Method   MethodType `json:"method"`
	Flow     Flow       `json:"flow,omitempty"`
	Channel  Channel    `json:"channel"`
	Capture  bool       `json:"capture"`
	Country  string     `json:"country,omitempty"` // of the payer, ISO 3166-1 alpha-2
	Brand    string     `json:"brand,omitempty"`   // of the card
	Account  string     `json:"account,omitempty"` // pinned by the merchant or by a token
}

// Plan is where a payment may be tried, in order, with the reason. It is stored
// with the attempt, so that "why did it go there?" has an answer.
type Plan struct {
	Rule       string      `json:"rule"`
	Candidates []Candidate `json:"candidates"`
}

// Candidate is one account, and why it stands where it stands.
type Candidate struct {
	Account string `json:"account"`
	// Outcome is "chosen", "next" (it would be tried after those before it),
	// "tried" (an attempt before this one), or "rejected".
	Outcome string `json:"outcome"`
	Reason  string `json:"reason"`
}

// The outcomes of a candidate.
const (
	CandidateChosen   = "chosen"
	CandidateNext     = "next"
	CandidateTried    = "tried"
	CandidateRejected = "rejected"
)
