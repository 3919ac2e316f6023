package connector

import (
	"time"
)

// Exchange is how one step of an operation ended: what package transport tells
// package engine.
type Exchange struct {
	// Outcome is that of the worst send: once one was unknown, the exchange is
	// answered by the PSP's verdict or stays unknown, never "not sent". A
	// Rejected after an unknown send is no verdict on that send.
	Outcome Outcome
	// Result is valid where Outcome is Answered.
	Result Result
	// Err says what went wrong where Outcome is not Answered. It holds no
	// secret and no card data.
	Err error
	// Sends is how often the request may have reached the PSP.
	Sends int
	// Took is the time from the first byte to the last answer.
	Took time.Duration
}
