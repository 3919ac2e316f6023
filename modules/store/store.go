// Package store is the contract for durable state. Drivers live in its
// subfolders and share no code with each other, only the conformance suite in
// storetest: SQLite and PostgreSQL agree in behavior, not in means.
package store

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
)

// The errors of every driver. A driver wraps them; callers use errors.Is.
var (
	ErrNotFound = errors.New("not found")
	// ErrConflict: somebody else wrote first, or the thing is there already.
	ErrConflict = errors.New("conflict")
	// ErrUnavailable: the store cannot be reached or cannot write (disk full,
	// locked, closed). Nothing was written.
	ErrUnavailable = errors.New("store unavailable")
	// ErrUncertain: the commit itself failed in a way that leaves open whether
	// the transaction is durable. The caller reads before it believes.
	ErrUncertain = errors.New("commit uncertain")
	// ErrCursor: the cursor of a list was not made by this store.
	ErrCursor = errors.New("bad cursor")
)

// Store keeps everything that must survive. All methods are safe for
// concurrent use. Times outside a payment's own record (of queue items, of
// idempotency keys, of bounds) are kept to the millisecond, rounded down.
type Store interface {
	// View runs fn over one consistent snapshot. fn holds a connection: it must
	// not call a method of the store itself. The same goes for Update.
	View(ctx context.Context, fn func(Reader) error) error

	// Update runs fn in one serializable transaction and commits if fn returns
	// nil; when Update returns nil, the change is on disk. fn may be run more
	// than once, so it must have no effect outside the transaction; above all
	// it must not call a PSP. The error of fn is returned as it is. A caller
	// whose ctx ends before fn starts gets ctx's error, and nothing was written.
	Update(ctx context.Context, fn func(Tx) error) error

	// Lease hands out up to limit items of q that are due at now, oldest first,
	// and hides them from every other caller, in this process or another, until
	// now + hold. An item that is not deleted or put again by then is due
	// again: delivery is at least once. Each hand-out raises Tries.
	Lease(ctx context.Context, q Queue, now time.Time, limit int, hold time.Duration) ([]Item, error)

	// Due returns when the earliest item of q is due; ok is false for an empty
	// queue.
	Due(ctx context.Context, q Queue) (due time.Time, ok bool, err error)

	// SpendNonce is [Tx.PutNonce] in a transaction of its own. When it returns nil,
	// the caller is the one who may use the nonce. After an error other than
	// [ErrConflict] nobody may, and the nonce may be spent.
	SpendNonce(ctx context.Context, n Nonce, now time.Time) error

	// Ping tells whether the store can be read and written.
	Ping(ctx context.Context) error

	// Close waits for what is under way. What comes later is [ErrUnavailable]; a
	// second Close is no error.
	Close() error
}

// Reader reads. Each method for one record returns [ErrNotFound] where there
// is none. Returned values belong to the caller.
type Reader interface {
	Payment(id string) (payment.Payment, error)
	// Payments returns a page, newest first.
	Payments(q PaymentQuery) (Page[payment.Payment], error)
	// RefundPayment returns the payment that a refund belongs to.
	RefundPayment(refund string) (payment.Payment, error)
	// Refunds returns a page, newest first.
	Refunds(q RefundQuery) (Page[RefundRow], error)
	// Ref resolves a reference at a PSP account, ours or the PSP's.
	Ref(account, reference string) (Ref, error)
	// Key returns a key whether or not it has expired: a reader has no clock.
	Key(k KeyScope) (IdempotencyKey, error)
	Event(id string) (payment.Event, error)
	// Events returns a page, newest first.
	Events(q EventQuery) (Page[payment.Event], error)

	Endpoint(id string) (payment.Endpoint, error)
	// Endpoints returns the webhook endpoints of a merchant in a mode, oldest
	// first. "" = of all merchants, or in both modes.
	Endpoints(merchant string, mode payment.Mode) ([]payment.Endpoint, error)
	// Deliveries returns a page, newest first.
	Deliveries(q DeliveryQuery) (Page[payment.Delivery], error)

	Merchant(id string) (access.Merchant, error)
	// Merchants returns all merchants, oldest first.
	Merchants() ([]access.Merchant, error)
	// MerchantsByID returns those of the merchants that are there, each once, in any
	// order.
	MerchantsByID(ids []string) ([]access.Merchant, error)
	// APIKey returns a key with its hash and all that is secret about it.
	APIKey(id string) (access.Key, error)
	// APIKeys returns all keys of a merchant, or of all for "", oldest first.
	APIKeys(merchant string) ([]access.Key, error)
	// APIKeysByID returns those of the keys that are there, each once, in any order.
	APIKeysByID(ids []string) ([]access.Key, error)

	// TokenRevocation returns the one of a selector.
	TokenRevocation(s access.TokenSelector) (access.TokenRevocation, error)
	// TokenRevocations returns all of them, oldest first.
	TokenRevocations() ([]access.TokenRevocation, error)

	// Setting returns a small value that operators or the gateway keep.
	Setting(name string) (string, error)

	// Unresolved counts, by account, the payments whose outcome is not known,
	// and tells the creation time of the oldest.
	Unresolved() ([]Unresolved, error)
	// Active tells whether an account still has payments that are not terminal,
	// unresolved or refundable.
	Active(account string) (bool, error)
}

// Tx reads and writes.
type Tx interface {
	Reader

	// PutPayment writes p if the stored version is p.Version − 1; Version 1
	// inserts. Otherwise it returns [ErrConflict]. It keeps the rows by which
	// refunds are found, and lists and filters, in step.
	PutPayment(p *payment.Payment) error
	// PutRef lets [Reader.Ref] find an attempt. The same reference twice for the
	// same attempt is fine; for another it is [ErrConflict].
	PutRef(r Ref) error

	// ClaimKey inserts k and returns it with claimed true, or returns the one
	// that is there with claimed false. An expired one counts as absent.
	ClaimKey(k IdempotencyKey, now time.Time) (held IdempotencyKey, claimed bool, err error)
	// PutKey writes the answer of a claimed key, or renews its lease. A key that
	// nobody holds is [ErrNotFound], and one that has its answer [ErrConflict]: its
	// lease had ended, and somebody else was quicker.
	PutKey(k IdempotencyKey) error
	// DeleteKey gives a key back that was claimed with k's lease. One that has its
	// answer, or that somebody else has taken over, stays; that is no error, nor is an
	// absent one.
	DeleteKey(k IdempotencyKey) error

	// PutEvent adds an event; an ID that is taken is [ErrConflict]. For each
	// enabled endpoint of its merchant and mode that wants its type, it puts an
	// item into [Outbound] that is due at once.
	PutEvent(e payment.Event) error

	// PutEndpoint writes e if the stored version is e.Version − 1; Version 1
	// inserts. Otherwise it returns [ErrConflict].
	PutEndpoint(e *payment.Endpoint) error
	// DeleteEndpoint removes an endpoint; an absent one is [ErrNotFound]. What is
	// queued for it and its deliveries stay.
	DeleteEndpoint(id string) error
	// PutDelivery adds a line to the delivery log; an ID that is taken is
	// [ErrConflict].
	PutDelivery(d payment.Delivery) error

	// Enqueue makes an item due at a time, or moves it there if an item of that
	// ID is in the queue; Tries is kept as given. It is part of the
	// transaction: an item exists if and only if the change that it serves does.
	Enqueue(q Queue, i Item) error
	// Dequeue removes an item; an absent one is no error.
	Dequeue(q Queue, id string) error
	// Return ends a lease: i is an item as [Store.Lease] handed it out. Where nobody has
	// put it or been handed it since, it is removed, or moved where next is not nil.
	// Otherwise nothing happens: what was put meanwhile is news, and not done.
	Return(q Queue, i Item, next *Item) error

	// PutNonce spends a nonce. One that is there, and has not expired at now, is
	// [ErrConflict]; so is one whose own expiry is not after now, which would
	// protect nothing. Of any number who spend the same one, a single one succeeds.
	PutNonce(n Nonce, now time.Time) error
	// AddToCounter adds to a counter and returns what it then stands at, in this
	// transaction. What does not fit is a [*LimitError], and changes nothing. A
	// counter that has expired at now begins anew. An update that adds to several
	// counters does so in the order of their names: others wait for it until it has
	// committed.
	AddToCounter(a Addition, now time.Time) (total int64, err error)

	PutMerchant(m access.Merchant) error
	// PutAPIKey writes everything of a key but its LastUsedAt.
	PutAPIKey(k access.Key) error
	// UseAPIKey notes that a key was used. A time before the one that is noted
	// changes nothing; a key that is not there is no error.
	UseAPIKey(id string, at time.Time) error
	// PutTokenRevocation writes a revocation. An earlier time than the one that is
	// there changes nothing.
	PutTokenRevocation(r access.TokenRevocation) error
	PutSetting(name, value string) error
}

// KeyScope is where an Idempotency-Key means one request.
type KeyScope struct {
	Merchant string
	Mode     payment.Mode
	Key      string // 1 … 255 visible ASCII characters
}

// IdempotencyKey binds a caller's key to one request and its one answer.
type IdempotencyKey struct {
	KeyScope
	Fingerprint [32]byte // keyed hash of method, route and body
	Payment     string   // what the request made or acts on; set in the claiming transaction
	Object      string   // what the answer shows: the payment's ID, or a refund's
	// Lease is until when the claimer may still be at work.
	Lease time.Time
	// Status is the HTTP status of the stored answer; 0 = still running. While
	// running, Success is the status that the answer will have.
	Status, Success int
	ContentType     string
	Body            []byte
	Expires         time.Time // after that the key is as good as new
}

// Ref points from a reference at a PSP account to an attempt.
type Ref struct {
	Account, Reference string
	Payment, Attempt   string
}

// Queue names a kind of deferred work.
type Queue string

// The queues.
const (
	Recover Queue = "recover" // attempts whose end is not known yet; ID is the attempt's
	Expire  Queue = "expire"  // payments whose payer's time ends; ID is the payment's
	Inbound Queue = "inbound" // webhooks of PSPs that are stored and not applied yet
	// Outbound holds events that endpoints are to be told of; [OutboundID] makes
	// the ID. There is no payload before the first try; from then on it is the
	// outbox's own.
	Outbound Queue = "outbound"
)

// OutboundID names the telling of an event to an endpoint.
func OutboundID(event, endpoint string) string { return event + "/" + endpoint }

// CutOutboundID takes apart what [OutboundID] made; ok is false for anything
// else.
func CutOutboundID(id string) (event, endpoint string, ok bool) { return strings.Cut(id, "/") }

// Item is one piece of deferred work.
type Item struct {
	ID      string
	Payload []byte // JSON; at most 64 KiB
	Due     time.Time
	Tries   int // hand-outs so far, this one included
}

// Page is one page of a list. Cursor continues it; "" at the end.
type Page[T any] struct {
	Data   []T
	Cursor string
}

// MaxPage bounds a page.
const MaxPage = 100

// Paging is what all lists share.
type Paging struct {
	Merchant string       // "" = all; operators only
	Mode     payment.Mode // "" = both; operators only
	Limit    int          // 1 … MaxPage
	Cursor   string
	// CreatedAfter and CreatedBefore bound the creation time, exclusive; zero =
	// unbounded.
	CreatedAfter, CreatedBefore time.Time
}

// PaymentQuery selects payments. Empty fields select all.
type PaymentQuery struct {
	Paging
	Status    payment.Status
	Outcome   payment.Outcome
	Reference string
}

// RefundQuery selects refunds. Empty fields select all.
type RefundQuery struct {
	Paging
	Payment string
	Status  payment.RefundStatus
	Outcome payment.Outcome
}

// RefundRow is a refund and the payment that it belongs to.
type RefundRow struct {
	Refund  string
	Payment payment.Payment
}

// EventQuery selects events. Empty fields select all.
type EventQuery struct {
	Paging
	Payment string
	Type    payment.EventType
}

// DeliveryQuery selects lines of the delivery log. Empty fields select all.
type DeliveryQuery struct {
	Paging
	Endpoint string
	Event    string
}

// Unresolved is how much is in doubt at one account.
type Unresolved struct {
	Account string
	Count   int
	Oldest  time.Time
}
