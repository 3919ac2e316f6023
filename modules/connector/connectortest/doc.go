// Package connectortest checks connectors against transcripts: the exchanges
// with a PSP as its documentation tells them, one txtar file for each.
//
//	What the exchange shows, in a sentence.
//	Source: https://docs.acme.example/api#create (2026-08-01)
//	-- call.json --
//	{"authorize": {"amount": {"minor": 1050, "currency": "EUR"}, "method": {…}}}
//	-- request.http --
//	POST https://api.acme.example/v1/charges
//	…
//	-- request.txt --
//	body amount = 1050
//	-- response.http --
//	200
//	Content-Type: application/json
//
//	{"id": "ch_1", "status": "succeeded"}
//	-- result.json --
//	{"state": "succeeded", …}
//
// An author writes the comment, call.json and response.http out of the PSP's
// documentation; "go test -update" writes the rest, and the author reads the
// diff as a reviewer would: request.http holds the exact bytes, request.txt the
// same query and body decoded, one parameter a line. error.txt stands in place
// of result.json where Encode refuses the call ("encode: …") or Decode leaves
// its outcome unknown ("decode: …"). An operation that needs no call
// ([connector.Offline]) has neither request nor response.
//
// call.json names one operation by its kind (authorize, capture, void, refund,
// sync) with the fields of package payment, and beside it step, done, reference,
// key, base_url, livemode, token, sent, now and nonce (hex). What is left out
// has a default: [Reference], [Key], [Now], the connector's own address, and the
// one step of an operation that has but one. Card numbers are published test
// numbers, always.
//
// With the environment variable CONNECTORTEST_REQUESTS set to a directory, [Run]
// also writes every request to NAME.jsonl in it, and [RunProbe] to
// NAME.probe.jsonl, for a validator that knows the
// PSP's own machine-readable description: {"psp", "method", "url", "headers",
// "body"}, one object a line.
package connectortest

import "time"

// What a call has where call.json does not say.
const (
	Reference = "ref00000000000000000000000000001"
	Key       = "key00000000000000000000000000001"
)

// Now is the time of a call where call.json does not say.
func Now() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
