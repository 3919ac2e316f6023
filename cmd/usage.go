package pursercmd

import (
	"fmt"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// exitUsage is the exit code of a command line that makes no sense. What the
// gateway refuses, and what fails, is 1.
const exitUsage = 2

// lineError is an error of which Caddy's main knows the exit code.
type lineError struct {
	text string
	code error
}

// Error tells what is wrong with the command line.
func (e *lineError) Error() string { return e.text }

// Unwrap returns what bears the exit code.
func (e *lineError) Unwrap() error { return e.code }

// usageError refuses a command line.
func usageError(format string, args ...any) error {
	code := caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return exitUsage, nil })
	return &lineError{fmt.Sprintf(format, args...), code(new(cobra.Command), nil)}
}

// strict makes a command end with exitUsage where its flags or arguments are
// wrong.
func strict(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError("%v", err) })
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError("%v", err)
			}
			return nil
		}
	}
}
