package clientcert

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// lookEvery is how often [Checker.Run] looks at files and due dates.
	lookEvery = time.Second
	// fetchTimeout bounds the fetching of a list.
	fetchTimeout = 10 * time.Second
	// retryAfter is how long a source that failed is left alone; a file is looked
	// at every time.
	retryAfter = 30 * time.Second
	// settled is the age at which a file that looks the same is the same.
	settled = 2 * time.Second
)

// source is where revocation lists are read from, again and again.
type source struct {
	at    string
	roots []*x509.Certificate
	cfg   Config

	// held are the lists that count.
	held atomic.Pointer[[]*list]

	mu       sync.Mutex // one look at a time
	seen     os.FileInfo
	due      time.Time
	failure  error  // of the last reading
	reported string // what Report heard last; "" = all is well
}

func newSource(at string, cfg Config) (*source, error) {
	s := &source{at: at, roots: cfg.Roots, cfg: cfg}
	if isPath(at) {
		return s, nil
	}
	if !IsURL(at) {
		return nil, fmt.Errorf("the revocation list %.200q is neither an absolute path nor a URL of http or https", at)
	}
	if _, err := webURL(at); err != nil {
		return nil, fmt.Errorf("revocation list: %w", err)
	}
	if cfg.Client == nil {
		return nil, fmt.Errorf("revocation list %s: there is no client to fetch it", at)
	}
	return s, nil
}

func (s *source) lists() []*list {
	if held := s.held.Load(); held != nil {
		return *held
	}
	return nil
}

// Refresh reads every list that is new or due, all at the same time, and returns
// what is wrong with any. A file is due whenever it has changed; what is to be
// fetched, when it has the age of Config.Refresh, or lapses.
func (c *Checker) Refresh(ctx context.Context) error {
	problems := make([]error, len(c.sources))
	var all sync.WaitGroup
	for i, s := range c.sources {
		all.Go(func() { problems[i] = s.refresh(ctx) })
	}
	all.Wait()
	return errors.Join(problems...)
}

// Run keeps the lists fresh until ctx ends. A file that changes counts within two
// seconds.
func (c *Checker) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, s := range c.sources { // one that hangs does not hold up another
		all.Go(func() { s.run(ctx) })
	}
	all.Wait()
}

func (s *source) run(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			_ = s.refresh(ctx) // Report hears of it
		case <-ctx.Done():
			return
		}
	}
}

// refresh reads the source where that is due, and tells what is wrong with it. A
// reading that fails leaves the lists of the one before: they say themselves
// until when they are good.
func (s *source) refresh(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	data, err := s.read(ctx, now)
	switch {
	case err != nil:
		s.failure = err
	case data != nil:
		s.failure = s.take(data)
	}
	if !isPath(s.at) && (err != nil || data != nil) {
		s.schedule(now)
	}
	problem := s.failure
	for _, l := range s.lists() {
		if problem == nil && !l.current(now) {
			problem = l.lapse()
		}
	}
	s.report(problem)
	if problem != nil {
		return fmt.Errorf("revocation list %s: %w", s.at, problem)
	}
	return nil
}

// report tells of what has changed.
func (s *source) report(problem error) {
	text := ""
	if problem != nil {
		text = problem.Error()
	}
	if text == s.reported {
		return
	}
	s.reported = text
	if s.cfg.Report != nil {
		s.cfg.Report(s.at, problem)
	}
}

// read returns what is new at the source, or nil.
func (s *source) read(ctx context.Context, now time.Time) ([]byte, error) {
	if isPath(s.at) {
		return s.readFile()
	}
	if now.Before(s.due) {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.at, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/pkix-crl, application/x-pem-file")
	return fetch(s.cfg.Client, req, maxListBytes)
}

// schedule sets when the source is fetched next.
func (s *source) schedule(now time.Time) {
	if s.failure != nil {
		s.due = now.Add(min(retryAfter, s.cfg.Refresh))
		return
	}
	s.due = now.Add(s.cfg.Refresh)
	for _, l := range s.lists() {
		if end := l.crl.NextUpdate; end.Before(s.due) {
			s.due = end
		}
	}
	if soonest := now.Add(min(retryAfter, s.cfg.Refresh)); s.due.Before(soonest) {
		s.due = soonest // it lapsed before it came
	}
}

// readFile returns the content of a file that changed since it was read.
func (s *source) readFile() ([]byte, error) {
	info, err := os.Stat(s.at)
	if err != nil {
		s.seen = nil
		return nil, err
	}
	if s.seen != nil && os.SameFile(info, s.seen) && info.ModTime().Equal(s.seen.ModTime()) && info.Size() == s.seen.Size() {
		return nil, nil
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	f, err := os.Open(s.at)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	data, err := readAtMost(f, maxListBytes)
	if err != nil {
		return nil, err
	}
	if s.seen = info; s.cfg.Now().Sub(info.ModTime()) < settled {
		s.seen = nil // it may be written to again within the same tick of its clock
	}
	return data, nil
}

// take makes what was read count, all of it or nothing.
func (s *source) take(data []byte) error {
	lists, err := parseLists(data)
	if err != nil {
		return err
	}
	for _, l := range lists {
		if err := s.signed(l); err != nil {
			return err
		}
		if slices.ContainsFunc(s.lists(), l.older) {
			return fmt.Errorf("the list of %s is older than the one before", l.crl.Issuer)
		}
	}
	s.held.Store(&lists)
	return nil
}

// signed refuses a list that bears the name of a configured authority and not its
// signature. Lists of authorities between are looked at when a chain shows them.
func (s *source) signed(l *list) error {
	named := false
	for _, root := range s.roots {
		if l.of(root) {
			return nil
		}
		named = named || bytes.Equal(l.crl.RawIssuer, root.RawSubject)
	}
	if named {
		return fmt.Errorf("the list of %s is not signed by it", l.crl.Issuer)
	}
	return nil
}

// fetch makes a request, and wants 200 and at most limit bytes.
func fetch(client Doer, req *http.Request, limit int64) ([]byte, error) {
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	return readAtMost(resp.Body, limit)
}

func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(data)) > limit:
		return nil, fmt.Errorf("it is over %d bytes", limit)
	case len(data) == 0:
		return nil, errors.New("it is empty")
	default:
		return data, nil
	}
}
