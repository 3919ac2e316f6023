package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Fault is one thing that is wrong with a folder of policies.
type Fault struct {
	File    string `json:"file"`
	Line    int    `json:"line"` // from 1; 0 = the file as a whole
	Message string `json:"message"`
}

// String writes "FILE:LINE: message", as editors and compilers have it.
func (f *Fault) String() string {
	if f.Line == 0 {
		return f.File + ": " + f.Message
	}
	return f.File + ":" + strconv.Itoa(f.Line) + ": " + f.Message
}

// Error is why a folder of policies is refused.
type Error struct {
	// Faults are at least one and at most [MaxFaults], by file and line.
	Faults []*Fault
}

// Error writes every fault on a line of its own.
func (e *Error) Error() string {
	lines := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// faultList collects faults; what is over the bound is dropped.
type faultList struct{ all []*Fault }

func (l *faultList) add(file string, line int, format string, args ...any) {
	if !l.full() {
		l.all = append(l.all, &Fault{file, line, fmt.Sprintf(format, args...)})
	}
}

func (l *faultList) full() bool { return len(l.all) >= MaxFaults }

func (l *faultList) err() error {
	if len(l.all) == 0 {
		return nil
	}
	slices.SortStableFunc(l.all, func(a, b *Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return &Error{l.all}
}
