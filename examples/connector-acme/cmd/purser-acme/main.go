// Command purser-acme is the payment gateway with one connector more.
package main

import (
	pursercmd "github.com/purser-pay/purser/cmd"

	_ "example.com/purser-acme" // payments.connectors.acme
)

// version is set by the linker in a release.
var version = "dev"

func main() { pursercmd.Main("purser-acme", version) }
