// Package pursercmd is the command line of the payment gateway: Caddy with the
// modules it needs, the payment modules plugged in, and the operators' commands.
// A binary with connectors of its own imports them beside this package:
//
//	import (
//		pursercmd "github.com/purser-pay/purser/cmd"
//
//		_ "example.com/purser-acme" // payments.connectors.acme
//	)
//
//	func main() { pursercmd.Main("purser-acme", "1.0.0") }
package pursercmd

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/purser-pay/purser/modules/gateway"
)

// refused lists the commands of Caddy that would replace this binary by one
// without the payment modules.
var refused = []string{"upgrade", "add-package", "remove-package"}

// Main runs the command line of this process, and exits where that fails. name and
// version are the binary's own, for people to read: the one in help and errors, the
// other in what the command version prints.
func Main(name, version string) {
	caddy.CustomBinaryName = name
	caddy.CustomVersion = version
	caddy.CustomLongDescription = description
	command := commandOf(os.Args[1:])
	if slices.Contains(refused, command) {
		fmt.Fprintf(os.Stderr, "Error: %s %s is refused: it would replace this binary by one without the payment modules; install a release instead\n", name, command)
		os.Exit(1)
	}
	if command == "validate" || command == "adapt" {
		// A configuration is looked at while the gateway that runs it holds the
		// store.
		gateway.CheckOnly()
	}
	var folder string
	os.Args, folder = enterFolder(os.Args)
	gateway.SetDefaultRoot(folder)
	caddycmd.Main()
}

// commandOf returns the first argument that is no flag: none of the root
// command's flags takes a value.
func commandOf(args []string) string {
	for _, a := range args {
		if !strings.HasPrefix(a, "-") {
			return a
		}
	}
	return ""
}

const description = `Purser is a payment gateway: one API for merchants, many payment service
providers behind it. It is a build of Caddy, whose commands work here too.

To try it, with nothing installed and nothing configured:

	$ purser dev

To run it:

	$ purser run --config Caddyfile
`
