package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/store"
	"github.com/purser-pay/purser/modules/store/sqlite"
)

// backupState is a backup as operators see it.
type backupState struct {
	Object string `json:"object"` // backup
	// State is running, done, or none where none is under way.
	State string `json:"state"`
	File  string `json:"file,omitempty"`
	// Bytes is the size of the copy, so far or in the end; StoreBytes is that of
	// the store, which a copy does not pass.
	Bytes      int64  `json:"bytes"`
	StoreBytes int64  `json:"store_bytes"`
	TookMS     int64  `json:"took_ms"`
	CreatedAt  string `json:"created_at,omitempty"` // the moment that the copy shows, or a little before
}

// The states of long work: of a backup, of a reconciliation.
const (
	workNone    = "none"
	workRunning = "running"
	workDone    = "done"
)

// errBackup is wrapped by refusals of a backup.
var (
	errBackupRuns = errors.New("a backup is under way")
	errBackupFile = errors.New("there is a file already")
)

// copier makes backups of one store, one at a time.
type copier struct {
	store string                                       // the file of the store
	copy  func(ctx context.Context, file string) error // to a file that must not exist
	now   func() time.Time

	mu      sync.Mutex
	file    string // "" = none is under way
	started time.Time
}

// partial is where a copy grows: a file under its final name is whole.
const partial = ".partial"

// run writes a backup to file, which must not exist.
func (c *copier) run(ctx context.Context, file string) (backupState, error) {
	started := c.now()
	if err := c.begin(file, started); err != nil {
		return backupState{}, err
	}
	defer c.end()
	if _, err := os.Lstat(file); err == nil {
		return backupState{}, fmt.Errorf("%w: %s", errBackupFile, file)
	}
	growing := file + partial
	if err := c.copy(ctx, growing); err != nil {
		return backupState{}, err
	}
	err := markCopy(ctx, growing, started)
	if err == nil {
		err = publish(growing, file)
	}
	if err != nil {
		return backupState{}, errors.Join(err, dropCopy(growing))
	}
	size, err := sizeOf(file)
	return backupState{
		Object: "backup", State: workDone, File: file, Bytes: size, StoreBytes: c.storeSize(),
		TookMS: c.now().Sub(started).Milliseconds(), CreatedAt: started.UTC().Format(time.RFC3339Nano),
	}, err
}

func (c *copier) begin(file string, started time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file != "" {
		return fmt.Errorf("%w: to %s", errBackupRuns, c.file)
	}
	c.file, c.started = file, started
	return nil
}

func (c *copier) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.file = ""
}

// state tells how far the backup is that is under way.
func (c *copier) state() backupState {
	c.mu.Lock()
	file, started := c.file, c.started
	c.mu.Unlock()
	s := backupState{Object: "backup", State: workNone, File: file, StoreBytes: c.storeSize()}
	if file == "" {
		return s
	}
	s.State, s.TookMS, s.CreatedAt = workRunning, c.now().Sub(started).Milliseconds(), started.UTC().Format(time.RFC3339Nano)
	s.Bytes, _ = sizeOf(file + partial) // it may not be there yet
	return s
}

// storeSize is about what a copy will have, in bytes: what is in the log alone
// is counted as well, and may be there twice.
func (c *copier) storeSize() int64 {
	size, _ := sizeOf(c.store)
	log, _ := sizeOf(c.store + "-wal")
	return size + log
}

func sizeOf(file string) (int64, error) {
	info, err := os.Stat(file)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// markCopy freezes a copy: whoever restores it has a store that lacks all that
// happened since, and must not take money before somebody has looked.
func markCopy(ctx context.Context, file string, at time.Time) error {
	s, err := sqlite.Open(ctx, sqlite.Config{Path: file, Now: time.Now})
	if err != nil {
		return fmt.Errorf("mark the copy: %w", err)
	}
	err = s.Update(ctx, func(tx store.Tx) error {
		at := at.UTC()
		if err := tx.PutSetting(engine.SettingRestored, at.Format(time.RFC3339Nano)); err != nil {
			return err
		}
		return putFrost(tx, frost{Since: at, By: frozenByBackup, Reason: "restored from a backup of " + at.Format(time.RFC3339)})
	})
	if err = errors.Join(err, s.Close()); err != nil {
		return fmt.Errorf("mark the copy: %w", err)
	}
	// SQLite removes its log once everything of it is in the file.
	if n, err := sizeOf(file + "-wal"); err == nil && n > 0 {
		return errors.New("mark the copy: its log is still there")
	}
	return dropSides(file)
}

// dropSides removes what lies beside a copy once it is closed.
func dropSides(file string) error {
	var errs []error
	for _, side := range []string{"-wal", "-shm", ".lock"} {
		if err := os.Remove(file + side); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func dropCopy(file string) error {
	err := os.Remove(file)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, dropSides(file))
}

// publish gives a whole copy its name. A link never replaces a file, as a
// rename would; not every file system has links.
func publish(from, to string) error {
	if err := syncPath(from); err != nil {
		return err
	}
	err := os.Link(from, to)
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: %s", errBackupFile, to)
	case err == nil:
		err = os.Remove(from)
	default:
		if _, there := os.Lstat(to); there == nil {
			return fmt.Errorf("%w: %s", errBackupFile, to)
		}
		err = os.Rename(from, to)
	}
	if err != nil {
		return err
	}
	_ = syncPath(filepath.Dir(to)) // not every system can sync a folder
	return nil
}

func syncPath(name string) error {
	f, err := os.Open(name) //nolint:gosec // the operator's own path
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
