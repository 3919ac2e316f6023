package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// part is what one kind of load came to.
type part struct {
	Name      string  `json:"name"`
	Requests  int     `json:"requests"`
	Failures  int     `json:"failures"`
	Failure   string  `json:"failure,omitempty"` // the first
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"per_second"`
	P50MS     float64 `json:"p50_ms"`
	P99MS     float64 `json:"p99_ms"`
	// CPUMS is user and system time of the gateway's process alone per request,
	// in milliseconds.
	CPUMS float64 `json:"gateway_cpu_ms"`
	RSSMB float64 `json:"gateway_rss_mb"` // at the end
	// Cores tells how many cores each process kept busy.
	Cores cores `json:"cores_used"`
}

type cores struct {
	Gateway float64 `json:"gateway"`
	PSP     float64 `json:"psp"` // in the hop's part a handler within the load's process
	Load    float64 `json:"load"`
}

// target is where requests go, and whose CPU is looked at.
type target struct {
	name         string
	url, key     string
	body         func(n int64) string
	good         string // a part of every good answer
	kind         string // Content-Type; "" = JSON
	gateway, psp int    // process IDs; 0 = there is none
}

// warmUp is not counted: connections are made, and caches filled.
const warmUp = time.Second

// sample is one answered request.
type sample struct {
	at, took time.Duration
}

// measure loads t.
func measure(ctx context.Context, t target, o options) (part, error) {
	p := part{Name: t.name}
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		MaxIdleConns: o.clients, MaxIdleConnsPerHost: o.clients, MaxConnsPerHost: o.clients, DisableCompression: true,
	}}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		group   sync.WaitGroup
		number  atomic.Int64
		stop    atomic.Bool
		mu      sync.Mutex
		samples []sample
	)
	began := time.Now()
	for range o.clients {
		group.Go(func() {
			var own []sample
			for !stop.Load() && ctx.Err() == nil {
				start := time.Now()
				err := t.once(ctx, client, number.Add(1))
				if err != nil {
					mu.Lock()
					if p.Failures++; p.Failure == "" {
						p.Failure = err.Error()
					}
					mu.Unlock()
					continue
				}
				own = append(own, sample{time.Since(began), time.Since(start)})
			}
			mu.Lock()
			samples = append(samples, own...)
			mu.Unlock()
		})
	}
	from, err := t.settled(ctx, warmUp)
	if err != nil {
		return p, err
	}
	opened := time.Since(began)
	to, err := t.settled(ctx, o.each)
	closed := time.Since(began)
	stop.Store(true)
	group.Wait()
	if err != nil {
		return p, err
	}
	if p.RSSMB, err = rss(t.gateway); err != nil {
		return p, err
	}
	p.sum(samples, opened, closed, from, to)
	return p, ctx.Err()
}

// settled waits, and then reads the clocks of the processes.
func (t *target) settled(ctx context.Context, d time.Duration) (usage, error) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return t.usage()
	case <-ctx.Done():
		return usage{}, ctx.Err()
	}
}

// sum computes the figures of the requests that ended in the window.
func (p *part) sum(samples []sample, opened, closed time.Duration, from, to usage) {
	var took []time.Duration
	for _, s := range samples {
		if s.at >= opened && s.at < closed {
			took = append(took, s.took)
		}
	}
	slices.Sort(took)
	p.Requests = len(took)
	p.Seconds = (closed - opened).Seconds()
	p.Cores = cores{
		(to.gateway - from.gateway).Seconds() / p.Seconds, (to.psp - from.psp).Seconds() / p.Seconds, (to.load - from.load).Seconds() / p.Seconds,
	}
	if len(took) == 0 {
		return
	}
	p.PerSecond = float64(len(took)) / p.Seconds
	p.P50MS, p.P99MS = ms(took[len(took)/2]), ms(took[len(took)*99/100])
	p.CPUMS = ms(to.gateway-from.gateway) / float64(len(took))
}

// once makes one request; every answer but the good one is an error.
func (t *target) once(ctx context.Context, client *http.Client, n int64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, strings.NewReader(t.body(n)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", cmp.Or(t.kind, "application/json"))
	req.Header.Set("Idempotency-Key", fmt.Sprintf("%s-%d", t.name, n))
	req.Header.Set("Authorization", "Bearer "+t.key)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 || !strings.Contains(string(b), t.good) {
		return fmt.Errorf("status %d: %.300s", resp.StatusCode, b)
	}
	return nil
}
