package postgres

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/purser-pay/purser/modules/store"
)

// unsent is an error of pgconn of a statement that it did not send, or did.
type unsent struct {
	cause error
	safe  bool
}

func (u unsent) Error() string     { return "timeout: " + u.cause.Error() }
func (u unsent) Unwrap() error     { return u.cause }
func (u unsent) SafeToRetry() bool { return u.safe }

// A statement for which there was no time left is a store that is away, and a node
// that starts meanwhile waits for it. Where it may have left, or the caller has
// gone, nothing of the kind is said.
func TestLate(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want bool
	}{
		{"no time left, not sent", unsent{context.DeadlineExceeded, true}, true},
		{"and wrapped", fmt.Errorf("begin: %w", unsent{context.DeadlineExceeded, true}), true},
		{"no time left, and sent", unsent{context.DeadlineExceeded, false}, false},
		{"the caller has gone", unsent{context.Canceled, true}, false},
		{"something else", errors.New("else"), false},
	} {
		got := fault("look", tt.err)
		if errors.Is(got, store.ErrUnavailable) != tt.want || !errors.Is(got, tt.err) {
			t.Errorf("%s: got %v, want ErrUnavailable %t and the cause in it", tt.name, got, tt.want)
		}
	}
}

// An update whose connection broke runs again; one that has waited for an answer as
// long as anybody may does not, whichever of its two deadlines is seen first: its
// caller would hear after twice the patience that the store is away.
func TestSilenceIsNotRunAgain(t *testing.T) {
	s := open(t, Config{DSN: schema(t)})
	l, done, err := s.link(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	defer l.release()
	if err := l.conn.Conn().Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("read: i/o timeout")
	for silent, want := range map[bool]bool{true: false, false: true} {
		got := l.fault(cause, silent)
		if !errors.Is(got, store.ErrUnavailable) || !errors.Is(got, cause) || again(got) != want {
			t.Errorf("silent %t: got %v, run again %t, want ErrUnavailable, its cause, and %t", silent, got, again(got), want)
		}
	}
}
