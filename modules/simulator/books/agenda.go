package books

import (
	"slices"
	"sync"
	"time"
)

// Task is something that a PSP does by itself, later. It is data, so that it
// survives a restart.
type Task struct {
	Due       time.Time `json:"due"`
	Connector string    `json:"connector"`
	Charge    string    `json:"charge"`          // PSP reference
	What      string    `json:"what"`            // the dialect's word
	Refund    string    `json:"refund,omitzero"` // of the charge
}

type agenda struct {
	mu     sync.Mutex
	tasks  []*scheduled
	closed bool
}

type scheduled struct {
	Task
	stop func() bool
}

// OnDue names who does a connector's tasks.
func (b *Books) OnDue(connector string, do func(Task)) { b.handlers.Store(connector, do) }

// Later schedules t for d from now.
func (b *Books) Later(d time.Duration, t Task) {
	t.Due = b.cfg.Now().Add(d)
	b.schedule(t)
}

func (b *Books) schedule(t Task) {
	a := &b.agenda
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	s := &scheduled{Task: t}
	a.tasks = append(a.tasks, s)
	s.stop = b.cfg.AfterFunc(max(0, t.Due.Sub(b.cfg.Now())), func() { b.run(s) })
}

// run does s once.
func (b *Books) run(s *scheduled) {
	a := &b.agenda
	a.mu.Lock()
	i := slices.Index(a.tasks, s)
	if i < 0 || a.closed {
		a.mu.Unlock()
		return
	}
	a.tasks = slices.Delete(a.tasks, i, i+1)
	a.mu.Unlock()
	if do, ok := b.handlers.Load(s.Connector); ok {
		do.(func(Task))(s.Task) //nolint:forcetypeassert // only OnDue stores
	}
}

// Advance does every scheduled thing now, in the order of its due time, and
// sends every webhook that was held back. It returns how many there were.
func (b *Books) Advance() int {
	a := &b.agenda
	a.mu.Lock()
	tasks := slices.Clone(a.tasks)
	a.mu.Unlock()
	slices.SortStableFunc(tasks, func(x, y *scheduled) int { return x.Due.Compare(y.Due) })
	for _, s := range tasks {
		s.stop()
		b.run(s)
	}
	return len(tasks) + b.Webhooks.release()
}

// Tasks lists what is scheduled.
func (b *Books) Tasks() []Task {
	a := &b.agenda
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]Task, 0, len(a.tasks))
	for _, s := range a.tasks {
		all = append(all, s.Task)
	}
	return all
}

func (a *agenda) clear() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.tasks {
		s.stop()
	}
	a.tasks = nil
}

func (a *agenda) close() {
	a.clear()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
}
