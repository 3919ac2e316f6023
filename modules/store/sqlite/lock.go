package sqlite

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/purser-pay/purser/modules/store"
)

// LockedError tells that another process, or another store of this one, has the
// file open. It is a [store.ErrUnavailable].
type LockedError struct {
	Path string
	PID  int // of the holder; 0 where it could not be read
}

// Error names the holder.
func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s is in use by another process", e.Path)
	}
	return fmt.Sprintf("%s is in use by process %d", e.Path, e.PID)
}

// Unwrap returns [store.ErrUnavailable].
func (*LockedError) Unwrap() error { return store.ErrUnavailable }

// maxPID is more than the digits of any process ID.
const maxPID = 20

// lock takes the exclusive lock that stands for the database: a side file,
// because SQLite's own locks on the database come and go with transactions. The
// kernel drops the lock with the process, so that none is ever left behind; the
// side file itself stays, since removing it would race with the next holder.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator's own path
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	taken, err := tryLock(f)
	if err == nil && !taken {
		pid, _ := io.ReadAll(io.LimitReader(f, maxPID)) // the number only makes the message better
		n, _ := strconv.Atoi(strings.TrimSpace(string(pid)))
		err = &LockedError{Path: path, PID: n}
	}
	if err == nil {
		err = writePID(f)
	}
	if err != nil {
		_ = f.Close() // nothing was written through it
		return nil, fmt.Errorf("lock: %w", err)
	}
	return f, nil
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}
