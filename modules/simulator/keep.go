package simulator

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// saveEvery is how long a change may wait for its way into the file.
const saveEvery = time.Second

// keeper writes the books to a file whenever they have changed.
type keeper struct {
	mu    sync.Mutex
	file  string
	saved int64
	stop  func() bool
}

// Keep reads the books from file, if it exists, and writes them there from now
// on: a second after a change, and on Close. It is for `purser dev`: each save
// writes everything.
func (s *Simulator) Keep(file string, after func(time.Duration, func()) func() bool) error {
	f, err := os.Open(file) //nolint:gosec // G304: the operator names the file
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("open books: %w", err)
	default:
		err = s.books.Load(f)
		if e := f.Close(); err == nil {
			err = e
		}
		if err != nil {
			return fmt.Errorf("read books %s: %w", file, err)
		}
	}
	k := &s.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	k.file, k.saved = file, s.books.Changes()
	var tick func()
	tick = func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.file == "" {
			return
		}
		if err := k.save(s); err != nil {
			s.books.Log().Warn("simulator books not saved", slog.String("error", err.Error()))
		}
		k.stop = after(saveEvery, tick)
	}
	k.stop = after(saveEvery, tick)
	return nil
}

// save writes the books in one step; k.mu is held.
func (k *keeper) save(s *Simulator) error {
	at := s.books.Changes()
	if at == k.saved {
		return nil
	}
	tmp, err := os.CreateTemp(filepath.Dir(k.file), ".books-*") // 0600
	if err != nil {
		return fmt.Errorf("save books: %w", err)
	}
	err = s.books.Save(tmp)
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp.Name(), k.file)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("save books: %w", err)
	}
	k.saved = at
	return nil
}

func (k *keeper) close(s *Simulator) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.file == "" {
		return nil
	}
	k.stop()
	err := k.save(s)
	k.file = ""
	return err
}
