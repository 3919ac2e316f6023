// Package oracles judges Purser by programs that its authors did not write:
// Stripe's own mock of its API judges what our Stripe connector sends, and
// Stripe's and an Alipay library judge what our simulator answers, the library of
// Standard Webhooks judges how we sign deliveries, and two libraries of HTTP Message
// Signatures judge how we sign and verify requests and responses.
//
// It is a Go module of its own, so that none of them becomes a dependency of
// Purser. "make oracles" runs it; everything stays on the loopback interface.
package oracles
