package books

import (
	"time"

	"github.com/purser-pay/purser/modules/payment"
)

// Challenge is a payer's decision that a charge waits for: a 3DS page, a
// wallet's cashier page, a QR code on a screen.
type Challenge struct {
	ID           string    `json:"id"`
	Connector    string    `json:"connector"`
	Kind         string    `json:"kind"` // 3ds, page, qr, barcode
	PSPReference string    `json:"psp_reference"`
	Reference    string    `json:"reference"`
	URL          string    `json:"url"`
	ReturnURL    string    `json:"return_url,omitzero"`
	Result       string    `json:"result,omitzero"` // succeed, fail; empty while open
	Created      time.Time `json:"created"`
}

// The results of a challenge.
const (
	ResultSucceed = "succeed"
	ResultFail    = "fail"
)

// Ask opens a challenge.
func (b *Books) Ask(c Challenge) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.Created = b.cfg.Now()
	b.challenges.put(c.ID, c)
	b.challenges.evict(func(Challenge) bool { return true }, nil)
	b.changes.Add(1)
}

// FindChallenge finds a challenge by its ID, or the latest of a charge by
// either of the charge's references.
func (b *Books) FindChallenge(name string) (Challenge, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c, ok := b.challenges.get(name); ok {
		return c, nil
	}
	if name != "" {
		for p := range b.charges.newest() {
			if p.PSPReference != name && p.Reference != name {
				continue
			}
			if c, ok := b.challenges.get(p.Challenge); ok {
				return c, nil
			}
		}
	}
	return Challenge{}, ErrNotFound
}

// Challenge finds a challenge by its ID.
func (b *Books) Challenge(id string) (Challenge, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.challenges.get(id)
}

// Decide closes an open challenge; [ErrState] where it was closed before.
func (b *Books) Decide(id string, succeed bool) (Challenge, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, ok := b.challenges.get(id)
	if !ok {
		return Challenge{}, ErrNotFound
	}
	if c.Result != "" {
		return c, ErrState
	}
	if c.Result = ResultFail; succeed {
		c.Result = ResultSucceed
	}
	b.challenges.put(id, c)
	b.changes.Add(1)
	return c, nil
}

// Challenges lists them, oldest first; with open set, only those that a charge
// still waits for.
func (b *Books) Challenges(open bool) []Challenge {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := []Challenge{}
	for c := range b.challenges.oldest() {
		p, ok := b.charges.get(key(c.Connector, c.PSPReference))
		if !open || (c.Result == "" && ok && p.Status == payment.RequiresAction && p.Challenge == c.ID) {
			all = append(all, c)
		}
	}
	return all
}
