// Command purser is the payment gateway with the connectors of this repository.
package main

import (
	pursercmd "github.com/purser-pay/purser/cmd"
)

// version is set by the linker in a release.
var version = "dev"

func main() { pursercmd.Main("purser", version) }
