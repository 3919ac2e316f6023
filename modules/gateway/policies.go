package gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/purser-pay/purser/modules/policy"
)

// watchEvery is how often files are looked at that are not part of the
// configuration: policies, and secrets.
const watchEvery = time.Second

// policies are the operator's rules, and the folder that they are read from.
type policies struct {
	dir     string
	current atomic.Pointer[policy.Set]
	mu      sync.Mutex // one reading at a time
	refused [sha256.Size]byte
	wrong   atomic.Bool // the files are not what holds
}

// openPolicies reads the rules. A configuration with rules that are wrong is
// refused as a whole.
func (a *App) openPolicies() error {
	if a.Policies == "" {
		return nil
	}
	dir, err := under(a.Root, a.Policies)
	if err != nil {
		return fmt.Errorf("policies: %w", err)
	}
	set, err := policy.Load(dir)
	if err != nil {
		return fmt.Errorf("policies: %w", err)
	}
	a.rules = &policies{dir: dir}
	a.rules.current.Store(set)
	return nil
}

// set returns the rules that hold now; nil is none.
func (p *policies) set() *policy.Set {
	if p == nil {
		return nil
	}
	return p.current.Load()
}

// change is what became of a look at the folder.
type change struct {
	changed bool
	undone  bool // the files are again what holds, and were wrong
	rules   int
}

// read looks at the folder, and takes the rules over if they are others and all
// of them are right. Where they are not, the rules that hold go on to hold; the
// same wrong rules are told once, unless again is set.
func (p *policies) read(again bool) (change, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.current.Load()
	sum, err := policy.Digest(p.dir)
	if err == nil && sum == old.Digest() {
		p.refused = [sha256.Size]byte{}
		return change{undone: p.wrong.Swap(false), rules: old.Len()}, nil
	}
	if err != nil {
		sum = sha256.Sum256([]byte(err.Error()))
	}
	if sum == p.refused && !again {
		return change{rules: old.Len()}, nil
	}
	var set *policy.Set
	if err == nil {
		set, err = policy.Load(p.dir)
	}
	if err != nil {
		p.refused = sum
		p.wrong.Store(true)
		return change{rules: old.Len()}, err
	}
	p.refused = [sha256.Size]byte{}
	p.wrong.Store(false)
	p.current.Store(set)
	return change{changed: true, rules: set.Len()}, nil
}

// watch looks at the folder until ctx ends.
func (p *policies) watch(ctx context.Context, log *slog.Logger) {
	for pause(ctx, watchEvery) {
		_, _ = p.take(log, false) // it has logged what is wrong
	}
}

// take reads the folder and logs what came of it.
func (p *policies) take(log *slog.Logger, again bool) (change, error) {
	c, err := p.read(again)
	var faults *policy.Error
	switch {
	case errors.As(err, &faults):
		log.Error("policies are wrong: those that held before go on to hold", slog.String("folder", p.dir), slog.String("error", err.Error()))
	case err != nil:
		log.Error("policies cannot be read: those that held before go on to hold", slog.String("folder", p.dir), slog.String("error", err.Error()))
	case c.changed:
		log.Info("policies changed", slog.String("folder", p.dir), slog.Int("rules", c.rules))
	case c.undone:
		log.Info("policies are again what they were", slog.String("folder", p.dir), slog.Int("rules", c.rules))
	default:
	}
	return c, err
}

// policyStanding reports whether the files of a configuration's policies are wrong, at
// the scrape.
type policyStanding struct{ rules *policies }

var policiesWrongDesc = prometheus.NewDesc("purser_policies_wrong",
	"1 while the policies' files are wrong, so that the rules which held before go on to hold; else 0.", nil, nil)

// Describe implements prometheus.Collector.
func (s policyStanding) Describe(ch chan<- *prometheus.Desc) { ch <- policiesWrongDesc }

// Collect implements prometheus.Collector.
func (s policyStanding) Collect(ch chan<- prometheus.Metric) {
	wrong := 0.0
	if s.rules != nil && s.rules.wrong.Load() {
		wrong = 1
	}
	ch <- prometheus.MustNewConstMetric(policiesWrongDesc, prometheus.GaugeValue, wrong)
}
