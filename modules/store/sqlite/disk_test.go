package sqlite

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
)

// disk is a file system that knows what would be left if the power went: what
// was written and not synced is not. Killing the process cannot show that, since
// the kernel keeps what a dead process wrote.
type disk struct {
	real vfs.VFSFilename

	mu        sync.Mutex
	durable   map[string][]byte
	unsynced  map[string][]write
	syncs     int  // of the log
	full      bool // every write fails
	failSyncs int  // so many next syncs of the log fail
	// keep lets the first sync that fails reach the disk all the same.
	keep bool
}

// write is one call of WriteAt, or of Truncate where data is nil.
type write struct {
	at   int64
	data []byte
}

// newDisk registers a disk under the test's name.
func newDisk(t *testing.T) (*disk, string) {
	t.Helper()
	d := &disk{
		real:    vfs.Find("os").(vfs.VFSFilename),
		durable: map[string][]byte{}, unsynced: map[string][]write{},
	}
	name := strings.ReplaceAll(t.Name(), "/", "-")
	vfs.Register(name, d)
	t.Cleanup(func() { vfs.Unregister(name) })
	return d, name
}

// cut returns the path of the store as it would be found after a power cut.
func (d *disk) cut(t *testing.T, path string) string {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	dir := t.TempDir()
	for name, data := range d.durable {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, filepath.Base(path))
}

func (d *disk) set(change func(*disk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

func (d *disk) flush(name string) {
	data := d.durable[name]
	for _, w := range d.unsynced[name] {
		end := w.at + int64(len(w.data))
		if w.data == nil {
			data = data[:min(w.at, int64(len(data)))]
		}
		if grow := end - int64(len(data)); grow > 0 {
			data = append(data, make([]byte, grow)...)
		}
		copy(data[w.at:], w.data)
	}
	d.durable[name], d.unsynced[name] = data, nil
}

func (d *disk) Open(name string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	return d.real.Open(name, flags)
}

func (d *disk) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, flags, err := d.real.OpenFilename(name, flags)
	if err != nil || name == nil {
		return f, flags, err
	}
	return &diskFile{f, d, name.String()}, flags, nil
}

func (d *disk) Delete(name string, syncDir bool) error {
	d.set(func(d *disk) {
		delete(d.durable, name)
		delete(d.unsynced, name)
	})
	return d.real.Delete(name, syncDir)
}

func (d *disk) Access(name string, flags vfs.AccessFlag) (bool, error) {
	return d.real.Access(name, flags)
}
func (d *disk) FullPathname(name string) (string, error) { return d.real.FullPathname(name) }

type diskFile struct {
	vfs.File
	d    *disk
	name string
}

func (f *diskFile) SharedMemory() vfs.SharedMemory {
	return f.File.(vfs.FileSharedMemory).SharedMemory()
}

func (f *diskFile) WriteAt(p []byte, at int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.full {
		return 0, vfs.SystemError(syscall.ENOSPC, sqlite3.FULL)
	}
	f.d.unsynced[f.name] = append(f.d.unsynced[f.name], write{at, append([]byte{}, p...)})
	return f.File.WriteAt(p, at)
}

func (f *diskFile) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.unsynced[f.name] = append(f.d.unsynced[f.name], write{at: size})
	return f.File.Truncate(size)
}

func (f *diskFile) Sync(vfs.SyncFlag) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if strings.HasSuffix(f.name, "-wal") {
		f.d.syncs++
		if f.d.failSyncs > 0 {
			f.d.failSyncs--
			if f.d.keep {
				f.d.flush(f.name)
				f.d.keep = false
			}
			return vfs.SystemError(syscall.EIO, sqlite3.IOERR_FSYNC)
		}
	}
	f.d.flush(f.name)
	return nil
}
