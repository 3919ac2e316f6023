package engine

import (
	"fmt"
	"sync"
	"time"
)

// A PSP that hangs holds up the recovery and the expiry of its own payments, and of no
// other's: each account has a share of the places. What comes beyond it is put off, in the
// order in which it came, at the pace at which the account's PSP answers.
const (
	// laneShare is the part of a queue's places that one of several accounts may have.
	laneShare = 4
	// laneGuess is how long an exchange takes at a PSP that was not asked yet.
	laneGuess = 100 * time.Millisecond
	// leastOff and mostOff bound for how long an item is put off.
	leastOff, mostOff = 50 * time.Millisecond, time.Minute
)

// lanes is what a queue's workers know of the accounts, in memory.
type lanes struct {
	now   func() time.Time
	share int // 0 = no bound

	mu sync.Mutex
	of map[string]*lane
}

// lane is one account.
type lane struct {
	running int
	// took is how long a look takes, as a moving average.
	took time.Duration
	// turn is when the next item that is put off may come back.
	turn time.Time
}

func newLanes(now func() time.Time, width, accounts int) *lanes {
	l := &lanes{now: now, of: map[string]*lane{}}
	if accounts > 1 {
		l.share = max(width/laneShare, 1)
	}
	return l
}

// enter takes a place at an account, until leave; or tells by a [crowdedError] when to
// come again.
func (l *lanes) enter(account string) (leave func(), err error) {
	if l.share == 0 {
		return func() {}, nil
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.of[account]
	if a == nil {
		a = &lane{took: laneGuess}
		l.of[account] = a
	}
	if a.running < l.share {
		a.running++
		return func() { l.leave(a, now) }, nil
	}
	at := now.Add(leastOff)
	if a.turn.After(at) {
		at = a.turn
	}
	if latest := now.Add(mostOff); at.After(latest) {
		at = latest
	} else {
		a.turn = at.Add(a.took / time.Duration(l.share))
	}
	return nil, &crowdedError{account, at}
}

func (l *lanes) leave(a *lane, since time.Time) {
	took := max(l.now().Sub(since), 0)
	l.mu.Lock()
	defer l.mu.Unlock()
	a.running--
	a.took += (took - a.took) / 4
}

// crowdedError puts an item off whose account has its share of the places.
type crowdedError struct {
	account string
	until   time.Time
}

// Error names the account.
func (e *crowdedError) Error() string {
	return fmt.Sprintf("account %s has its share of looks", e.account)
}
