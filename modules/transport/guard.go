package transport

import (
	"errors"
	"fmt"
	"runtime"
)

// errPanic tells that a connector broke down. It is a bug of the connector; the
// exchange ends as if it had returned an error, so that one bad answer of one
// PSP does not stop payments with the others.
var errPanic = errors.New("the connector panicked")

// guard turns a panic of a codec into an error. The panic's value is shown only
// where the runtime made it: any other could hold what was being decoded.
func guard(err *error) {
	switch v := recover().(type) {
	case nil:
	case runtime.Error:
		*err = fmt.Errorf("%w: %w", errPanic, v)
	default:
		*err = fmt.Errorf("%w: %T", errPanic, v)
	}
}
