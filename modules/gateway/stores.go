package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/store"
	"github.com/purser-pay/purser/modules/store/postgres"
	"github.com/purser-pay/purser/modules/store/sqlite"
)

// StoreConfig says where payments are kept.
type StoreConfig struct {
	// Driver is "sqlite" (the default), for one node, or "postgres", for any number
	// of nodes that share one database.
	Driver string `json:"driver,omitempty"`
	// Path is the database file of sqlite, made where it is not there; relative to
	// the app's root. One process at a time may hold it.
	Path string `json:"path,omitempty"`
	// DSN leads to the database of postgres, by reference: a URL
	// (postgres://user:password@host/database) or key=value pairs. The database
	// must exist; its tables are made and migrated at start.
	DSN connector.Secret `json:"dsn,omitzero"`
	// Connections bounds the connections of this node to postgres, 2 … 500; default
	// 16.
	Connections int `json:"connections,omitempty"`
}

// The drivers.
const (
	driverSQLite   = "sqlite"
	driverPostgres = "postgres"
)

const minConnections, maxConnections = 2, 500

// check refuses what no driver of this build can open.
func (s *StoreConfig) check() error {
	switch s.Driver {
	case "", driverSQLite:
		if s.Path == "" {
			return errors.New("store: a file is needed: store sqlite FILE")
		}
		if !s.DSN.IsZero() || s.Connections != 0 {
			return errors.New("store: dsn and connections belong to the driver postgres")
		}
		return nil
	case driverPostgres:
		if s.DSN.IsZero() {
			return errors.New("store: a DSN is needed, by reference: store postgres {env.DATABASE_URL}")
		}
		if s.Path != "" {
			return errors.New("store: path belongs to the driver sqlite")
		}
		if c := s.Connections; c != 0 && (c < minConnections || c > maxConnections) {
			return fmt.Errorf("store: connections is %d … %d", minConnections, maxConnections)
		}
		return nil
	default:
		return fmt.Errorf("there is no store %q; there are sqlite and postgres", s.Driver)
	}
}

// groundKey tells one store from another. It shows no password.
type groundKey string

// opening says which store a configuration means, and how it is opened.
func (s *StoreConfig) opening(root string, lookup func(string) (string, error)) (groundKey, func(context.Context, *slog.Logger) (*opened, error), error) {
	if s.Driver == driverPostgres {
		if err := s.DSN.Resolve(lookup); err != nil {
			return "", nil, fmt.Errorf("store: %w", err)
		}
		dsn, conns := s.DSN.Reveal(), s.Connections
		sum := sha256.Sum256([]byte(dsn))
		return groundKey("postgres:" + hex.EncodeToString(sum[:])), func(ctx context.Context, log *slog.Logger) (*opened, error) {
			return openPostgres(ctx, postgres.DSN(dsn), conns, log)
		}, nil
	}
	path, err := under(root, s.Path)
	if err != nil {
		return "", nil, fmt.Errorf("store: %w", err)
	}
	return groundKey("sqlite:" + path), func(ctx context.Context, log *slog.Logger) (*opened, error) {
		return openSQLite(ctx, path, log)
	}, nil
}

// opened is a store, and what its driver can do beside.
type opened struct {
	store.Store
	// sweep forgets what has lapsed, a bite at a time.
	sweep func(ctx context.Context, now time.Time, limit int) (int, error)
	// copier makes backups; nil = the driver has none.
	copier *copier
	// changes tells what other nodes write; nil = there are no others.
	changes changes
}

// changes tells of merchants, keys and settings that somebody has written. It
// belongs to a store, and ends with it.
type changes interface {
	// Live tells whether every change that was committed more than a second ago has
	// been told.
	Live() bool
	// Run tells changes until ctx ends, each after its commit; of each kind, any once at
	// the start and whenever some may have been missed.
	Run(ctx context.Context, heard func(news))
}

// news is something that somebody has written. Where it names neither a merchant nor
// a key, any of its kind may have changed.
type news struct {
	kind          changeKind
	merchant, key string // IDs
}

// changeKind is what of a node's memory is out of date.
type changeKind uint8

// The kinds of change.
const (
	keysChanged     changeKind = iota // merchants or API keys
	tokensRevoked                     // revocations of tokens
	settingsChanged                   // a setting
)

// changeKinds lists them.
var changeKinds = [...]changeKind{keysChanged, tokensRevoked, settingsChanged}

func openSQLite(ctx context.Context, path string, log *slog.Logger) (*opened, error) {
	s, err := sqlite.Open(ctx, sqlite.Config{Path: path, Now: time.Now, Log: log, Committed: counters.committed})
	if err != nil {
		return nil, err
	}
	return &opened{Store: s, sweep: s.Sweep, copier: &copier{store: path, copy: s.Backup, now: time.Now}}, nil
}

const (
	// openPatience is how long a node that starts waits for its database: both may
	// be starting at the same time.
	openPatience = 30 * time.Second
	// openPause is the time between two tries.
	openPause = 200 * time.Millisecond
)

// patiently tries again while a store on another machine is away.
func patiently(ctx context.Context, log *slog.Logger, try func() error) error {
	deadline, told := time.Now().Add(openPatience), false
	for {
		err := try()
		if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUncertain) ||
			time.Now().After(deadline) || !pause(ctx, openPause) {
			return err
		}
		if !told {
			told = true
			log.Warn("waiting for the store", slog.String("error", err.Error()))
		}
	}
}

// patiently is [patiently] where the store is on another machine; a file that
// cannot be read now cannot be read in half a minute.
func (g *ground) patiently(ctx context.Context, log *slog.Logger, try func() error) error {
	if g.relay == nil {
		return try()
	}
	return patiently(ctx, log, try)
}

func openPostgres(ctx context.Context, dsn postgres.DSN, conns int, log *slog.Logger) (*opened, error) {
	var s *postgres.Store
	err := patiently(ctx, log, func() (err error) {
		s, err = postgres.Open(ctx, postgres.Config{DSN: dsn, Conns: conns, Now: time.Now, Log: log, Committed: counters.committed})
		return err
	})
	if err != nil {
		return nil, err
	}
	return &opened{Store: s, sweep: s.Sweep, changes: &notices{store: s, now: time.Now}}, nil
}

// staleAfter is how old what a node knows may be before it asks the store.
const staleAfter = time.Second

// notices are the changes that PostgreSQL tells its listeners.
type notices struct {
	store   *postgres.Store
	now     func() time.Time
	watcher atomic.Pointer[postgres.Watcher]
}

// Live tells whether all up to a second ago was heard.
func (n *notices) Live() bool {
	w := n.watcher.Load()
	return w != nil && n.now().Sub(w.Heard()) < staleAfter
}

// Run hands changes on until ctx ends.
func (n *notices) Run(ctx context.Context, heard func(news)) {
	w, err := n.store.Watch(ctx, func(_ context.Context, c postgres.Change) error {
		for _, told := range newsOf(c) {
			heard(told)
		}
		return nil
	})
	if err != nil { // the store is closed, or about to be: nothing is live
		return
	}
	n.watcher.Store(w)
	<-ctx.Done()
	w.Stop()
}

// newsOf says what a change in PostgreSQL means for the copies in memory.
func newsOf(c postgres.Change) []news {
	switch c.Kind {
	case postgres.MerchantChanged:
		return []news{{kind: keysChanged, merchant: c.ID}}
	case postgres.APIKeyChanged:
		return []news{{kind: keysChanged, key: c.ID}}
	case postgres.TokensRevoked:
		return []news{{kind: tokensRevoked}}
	case postgres.SettingChanged:
		return []news{{kind: settingsChanged}}
	default: // everything; a kind that a newer release tells of may be anything
		all := make([]news, len(changeKinds))
		for i, kind := range changeKinds {
			all[i].kind = kind
		}
		return all
	}
}

// storePauses are the pauses before what a PSP has answered is written down again
// where the store was away. With the store's own time-outs they stay within the time
// for which a caller's key is held.
var storePauses = [...]time.Duration{100 * time.Millisecond, 300 * time.Millisecond, time.Second}

// storeAgain waits for a store that is away; false = it has been away for long enough.
func storeAgain(try int) bool {
	if try >= len(storePauses) {
		return false
	}
	time.Sleep(storePauses[try])
	return true
}
