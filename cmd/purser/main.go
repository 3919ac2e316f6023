// Command purser is Caddy with the payment modules plugged in.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func main() { caddycmd.Main() }
