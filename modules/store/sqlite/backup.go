package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"
)

// Backup writes a compact copy of the store, as it stands at one moment, to a
// file that must not exist. Updates go on meanwhile. When it returns nil the
// copy is on disk; otherwise no file is left.
func (s *Store) Backup(ctx context.Context, file string) (err error) {
	s.closing.RLock()
	defer s.closing.RUnlock()
	if s.closed {
		return errClosed
	}
	// SQLite takes an empty file as good as none, and O_EXCL keeps ours from
	// landing on somebody else's.
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the operator's own path
	if err != nil {
		return fmt.Errorf("sqlite: backup: %w", err)
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			err = errors.Join(fmt.Errorf("sqlite: backup: %w", err), os.Remove(file))
		}
	}()
	if err := s.copyTo(ctx, file); err != nil {
		return fault("copy", err)
	}
	if err := f.Sync(); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	_ = dir.Sync() // not every system can sync a folder
	return dir.Close()
}

// copyTo uses a connection of its own: a backup may take minutes, and readers
// are few.
func (s *Store) copyTo(ctx context.Context, file string) (err error) {
	db, err := sqlite3.Open(s.uri(readerCache, false))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetInterrupt(ctx)
	defer db.SetInterrupt(context.WithoutCancel(ctx))
	err = db.Exec("VACUUM INTO " + sqlite3.Quote(file))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
