package postgres

// Kind says what has changed.
type Kind string

// The kinds of change that are told.
const (
	MerchantChanged Kind = "merchant"
	APIKeyChanged   Kind = "api_key"
	SettingChanged  Kind = "setting"
)

// Change is something that a node may have kept in memory, and that has changed.
type Change struct {
	Kind Kind
	ID   string // of the merchant or key, or the setting's name
}

func (c Change) payload() string { return string(c.Kind) + " " + c.ID }
