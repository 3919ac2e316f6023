// Package policy holds an operator's rules: who must prove what, what is
// limited, and what is allowed, as YAML with conditions in CEL. Rules are read,
// type-checked and compiled once; a decision over one request is a pure
// function of it, and fails closed.
package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Bounds of a folder of policies.
const (
	MaxFiles      = 64      // rule files, and as many test files
	MaxFileSize   = 1 << 20 // bytes
	MaxRules      = 500     // over all files
	MaxTests      = 5000    // over all files
	MaxFaults     = 100     // what is told of a folder at once
	MaxName       = 64      // bytes of a rule's or a test's name
	MaxExpression = 2048    // characters of a condition
	MaxList       = 256     // entries of one list or table of a rule
)

const (
	extension  = ".yaml"
	testSuffix = "_test.yaml"
)

// Set is a folder's rules, compiled. It does not change and is safe for
// concurrent use. The zero value and nil are the set without rules, by which the
// built-in rules alone hold.
type Set struct {
	rules  []rule
	uses   [factCount]bool
	cost   uint64 // of all conditions at worst
	files  int
	digest [sha256.Size]byte
}

// Load reads every *.yaml of a folder that is not *_test.yaml, in the order of
// their names. Names that begin with a dot and subfolders are passed over. An
// empty folder is the set without rules. Where something is wrong, the error is
// an [*Error] with all faults that were found, and there is no set.
func Load(dir string) (*Set, error) { return load(os.DirFS(dir), dir) }

func load(fsys fs.FS, dir string) (*Set, error) {
	files, err := readFolder(fsys, dir)
	if err != nil {
		return nil, err
	}
	return compile(files.rules)
}

// Digest hashes the rule files of a folder without compiling them, so that a
// watcher sees a change. It is that of [Set.Digest] for the same files.
func Digest(dir string) ([sha256.Size]byte, error) {
	files, err := readFolder(os.DirFS(dir), dir)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	return digest(files.rules), nil
}

// Digest is the SHA-256 of the set's files: of their names and all their bytes.
func (s *Set) Digest() [sha256.Size]byte {
	if s == nil {
		return digest(nil)
	}
	return s.digest
}

// Len is the number of rules.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.rules)
}

// Files is the number of files that the rules came from.
func (s *Set) Files() int {
	if s == nil {
		return 0
	}
	return s.files
}

// Uses tells whether any rule looks at something that a request may have, in
// its condition or in what it demands: the name of a variable, "card_number" or
// "proxy". Where it is false, a caller need not find it out.
func (s *Set) Uses(name string) bool {
	if s == nil {
		return false
	}
	f, ok := factOf[name]
	return ok && s.uses[f]
}

// source is one file as it was read.
type source struct {
	name string // in the folder
	path string // as faults tell it
	data []byte
}

// folder is what was found, each sorted by name.
type folder struct{ rules, tests []source }

// readFolder reads a folder whole, once: digest and rules are of the same bytes.
func readFolder(fsys fs.FS, dir string) (folder, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return folder{}, fmt.Errorf("policies: %w", plain(err, dir))
	}
	var f folder
	var faults faultList
	for _, e := range entries {
		name := e.Name()
		shown := filepath.Join(dir, filepath.FromSlash(name))
		if strings.HasPrefix(name, ".") || e.IsDir() {
			continue
		}
		if ext := path.Ext(name); ext != extension {
			if strings.EqualFold(ext, extension) || strings.EqualFold(ext, ".yml") {
				faults.add(shown, 0, "the name does not end in .yaml, so its rules would not hold")
			}
			continue
		}
		data, err := readFile(fsys, name)
		if err != nil {
			faults.add(shown, 0, "%v", plain(err, ""))
			continue
		}
		if strings.HasSuffix(name, testSuffix) {
			f.tests = append(f.tests, source{name, shown, data})
		} else {
			f.rules = append(f.rules, source{name, shown, data})
		}
		if len(f.rules) > MaxFiles || len(f.tests) > MaxFiles {
			faults.add(dir, 0, "there are more than %d files of one kind", MaxFiles)
			break
		}
	}
	return f, faults.err()
}

var (
	errNoFile  = errors.New("it is no regular file")
	errTooLong = fmt.Errorf("it has more than %d bytes", MaxFileSize)
)

// readFile follows symbolic links, as a mounted ConfigMap has them, and opens
// regular files alone: a pipe would hang.
func readFile(fsys fs.FS, name string) (_ []byte, err error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNoFile
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	if err == nil && len(data) > MaxFileSize {
		err = errTooLong
	}
	return data, err
}

// plain is an error of the file system that names what the operator named.
func plain(err error, name string) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		if name == "" {
			return p.Err
		}
		return fmt.Errorf("%s: %w", name, p.Err)
	}
	return err
}

// digest is over names and contents, each behind its length, so that nothing can
// move from one to the other.
func digest(files []source) (sum [sha256.Size]byte) {
	h := sha256.New()
	var size [8]byte
	for _, f := range files {
		for _, part := range [][]byte{[]byte(f.name), f.data} {
			binary.BigEndian.PutUint64(size[:], uint64(len(part)))
			h.Write(size[:])
			h.Write(part)
		}
	}
	h.Sum(sum[:0])
	return sum
}

// compile makes a set of files, which are sorted.
func compile(files []source) (*Set, error) {
	s := &Set{files: len(files), digest: digest(files)}
	var faults faultList
	names := map[string]*rule{}
	for _, f := range files {
		root, ok := parse(f, &faults)
		if !ok {
			continue
		}
		r := reader{source: f, faults: &faults, set: s, names: names}
		r.rules(root)
	}
	if err := faults.err(); err != nil {
		return nil, err
	}
	s.rules = slices.Clip(s.rules)
	return s, nil
}
