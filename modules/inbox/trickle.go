package inbox

import (
	"sync"
	"time"
)

// trickle bounds how often an account's forged webhooks are logged: anybody can send
// them, and who floods the door must not flood the log as well. What is left out is
// counted.
type trickle struct {
	mu       sync.Mutex
	accounts map[string]*drops
}

type drops struct {
	told    time.Time // the last that was
	skipped int64     // since then
}

// quiet is how long an account is not spoken of again.
const quiet = 10 * time.Second

// take tells whether the next of an account is to be logged, and how many were left
// out before it. Accounts are few: they are the configuration's.
func (t *trickle) take(account string, now time.Time) (told bool, skipped int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.accounts[account]
	if d == nil {
		d = new(drops)
		t.accounts[account] = d
	}
	// A clock that was set back must not silence us.
	if since := now.Sub(d.told); since >= 0 && since < quiet {
		d.skipped++
		return false, 0
	}
	skipped, d.told, d.skipped = d.skipped, now, 0
	return true, skipped
}
