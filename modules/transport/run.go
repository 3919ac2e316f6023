package transport

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// run is one exchange under way.
type run struct {
	t       *Transport
	room    *room
	account *connector.Account
	call    connector.Call
	req     *encoded

	sent   time.Time // when the step's first byte may first have left; zero = never
	doubt  bool      // some send may have been executed, and we do not know
	silent bool      // the PSP could not be reached, or some answer of it cannot be trusted
	sends  int
	begun  time.Time // first byte of this exchange
	ended  time.Time // last answer, or the end of the last send
	waited time.Duration
	// rejected is what the exchange ends with if no further send can be made,
	// and nothing is in doubt.
	rejected *connector.Result
}

// exchange runs the whole exchange and states its outcome.
func (r *run) exchange(ctx context.Context) connector.Exchange {
	if x, done := r.offline(); done {
		return x
	}
	ctx, cancel := context.WithTimeout(ctx, r.account.Exchange())
	defer cancel()
	room, err := r.t.room(r.account)
	if err != nil {
		return r.end(fmt.Errorf("account %s: %w", r.account.Name, err))
	}
	r.room = room
	came := r.t.cfg.Now()
	err = room.enter(ctx)
	r.waited = r.t.cfg.Now().Sub(came)
	if err != nil {
		return r.end(err)
	}
	defer room.leave()
	return r.guarded(ctx)
}

// offline lets the connector answer without a call where it can.
func (r *run) offline() (connector.Exchange, bool) {
	o, ok := r.account.Connector.(connector.Offline)
	if !ok {
		return connector.Exchange{}, false
	}
	result, ok, err := offline(o, r.call)
	if err == nil && !ok {
		return connector.Exchange{}, false
	}
	if err == nil {
		err = integrity(r.call, result)
	}
	if err != nil {
		return r.end(fmt.Errorf("answer offline: %w", err)), true
	}
	return connector.Exchange{Outcome: connector.Answered, Result: result}, true
}

func offline(o connector.Offline, c connector.Call) (result connector.Result, ok bool, err error) {
	defer guard(&err)
	return o.Offline(c)
}

// loop sends until there is an outcome, at most [MaxSends] times.
func (r *run) loop(ctx context.Context) connector.Exchange {
	var last error
	for try := 1; ; try++ {
		if r.doubt && !r.repeatable(r.sent) {
			return r.end(errors.Join(last, ErrNotRepeatable))
		}
		o := r.send(ctx, try)
		if o.verdict() {
			return r.answered(o.result)
		}
		last = o.err
		if o.answered {
			r.rejected = &o.result
		}
		r.doubt = r.doubt || o.unknown
		if o.final || try == MaxSends || ctx.Err() != nil {
			return r.end(last)
		}
		if o.reused {
			r.room.dropIdle() // its like may be dead as well
		}
		pause := r.pause(try, o.retryAfter)
		left, bounded := r.left(ctx)
		if bounded && left-pause < minSend {
			return r.end(last)
		}
		if r.doubt && !r.repeatable(r.sent) { // no use waiting
			return r.end(errors.Join(last, ErrNotRepeatable))
		}
		if err := r.t.cfg.Sleep(ctx, pause); err != nil {
			return r.end(last)
		}
	}
}

func (r *run) answered(result connector.Result) connector.Exchange {
	return connector.Exchange{Outcome: connector.Answered, Result: result, Sends: r.sends, Took: r.took()}
}

// end states the outcome of an exchange without a verdict.
func (r *run) end(err error) connector.Exchange {
	if r.rejected != nil && !r.doubt {
		return r.answered(*r.rejected)
	}
	x := connector.Exchange{Outcome: connector.NotSent, Err: r.redact(err), Sends: r.sends, Took: r.took()}
	if r.doubt {
		x.Outcome = connector.Unknown
	}
	return x
}

func (r *run) took() time.Duration {
	if r.begun.IsZero() {
		return 0
	}
	return r.ended.Sub(r.begun)
}

// repeatable tells whether the request may be made again although a send begun
// at sent may have been executed.
func (r *run) repeatable(sent time.Time) bool {
	kind := r.call.Op.Kind()
	if kind == payment.KindSync {
		return true
	}
	promise := r.room.spec.Idempotency
	if promise.By == connector.ByKey && r.call.Key == "" {
		return false
	}
	if promise.Repeatable(kind, sent, r.t.cfg.Now()) {
		return true
	}
	return promise.By == connector.ByKey && !r.movesMoney()
}

// movesMoney is true for a step that the connector does not list.
func (r *run) movesMoney() bool {
	for _, s := range connector.StepsOf(r.account.Connector, r.call.Op) {
		if s.Name == r.call.Step {
			return s.MovesMoney
		}
	}
	return true
}

func (r *run) left(ctx context.Context) (left time.Duration, bounded bool) {
	d, ok := ctx.Deadline()
	return d.Sub(r.t.cfg.Now()), ok
}

// share is how long send number try may take: half of what is left where a
// repeat could follow, so that a silent PSP does not eat the repeat's time.
func (r *run) share(ctx context.Context, try int) time.Duration {
	left, _ := r.left(ctx)
	sent := r.sent
	if sent.IsZero() {
		sent = r.t.cfg.Now()
	}
	if try == MaxSends || !r.repeatable(sent) {
		return left
	}
	return min(left, max(left/2, minShare))
}

// pause is the wait before the repeat that follows send number try: growing,
// jittered by half to and fro, and never shorter than the PSP asked for.
func (r *run) pause(try int, retryAfter time.Duration) time.Duration {
	p := firstPause << (try - 1)
	p = p/2 + time.Duration(r.t.cfg.Random()*float64(p))
	return max(p, retryAfter)
}

// outcome is what came of one send.
type outcome struct {
	result   connector.Result
	answered bool // result is valid
	unknown  bool // a byte may have left, and no answer is to be trusted
	final    bool // a repeat would yield the same
	reused   bool // it failed on a kept-alive connection
	err      error

	retryAfter time.Duration
}

// verdict tells whether o ends the exchange.
func (o outcome) verdict() bool { return o.answered && o.err == nil }

// send encodes the request where that is still to be done, sends it once and
// decodes the answer.
func (r *run) send(ctx context.Context, try int) outcome {
	refreshed, err := r.encode(ctx)
	if err != nil {
		r.silent = r.silent || errors.Is(err, errToken)
		return outcome{err: err, final: r.req == nil && !errors.Is(err, errToken)}
	}
	start := r.t.cfg.Now()
	ctx, cancel := context.WithTimeout(ctx, r.share(ctx, try))
	defer cancel()
	a := r.room.roundTrip(ctx, r.req, r.t.cfg.Now)
	r.silent = r.silent || a.err != nil
	if !a.left {
		return outcome{err: fmt.Errorf("not sent: %w", a.err), reused: a.reused}
	}
	r.sends++
	r.ended = r.t.cfg.Now()
	if r.sent.IsZero() {
		r.sent = start
	}
	if r.begun.IsZero() {
		r.begun = start
		if !a.connected.IsZero() {
			r.begun = a.connected
		}
	}
	if a.err != nil {
		return outcome{err: a.err, unknown: true, reused: a.reused, retryAfter: r.retryAfter(a.response)}
	}
	return r.decode(a.response, try, refreshed)
}

// decode reads the answer and holds it against what was asked.
func (r *run) decode(resp connector.Response, try int, fresh bool) outcome {
	o := outcome{retryAfter: r.retryAfter(resp)}
	result, err := decode(r.account.Connector, r.call, resp)
	if err != nil {
		r.silent = true
		o.unknown, o.err = true, fmt.Errorf("decode answer %d: %w", resp.StatusCode, err)
		return o
	}
	if err := integrity(r.call, result); err != nil {
		r.silent = true
		o.unknown, o.final, o.err = true, true, err
		return o
	}
	o.result, o.answered = result, true
	if result.State != connector.Rejected {
		return o
	}
	if resp.StatusCode == http.StatusUnauthorized && r.forgetToken() && !fresh && try < MaxSends {
		o.err = errors.New("the PSP refused the token")
		return o
	}
	if r.doubt { // it speaks of its own send alone, and says nothing of those before
		o.err = ErrRejected
		o.final = resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable
	}
	return o
}

// retryAfter is how long the PSP asks us to wait (RFC 9110, 10.2.3), with 429
// and 503 alone; 0 where it does not say.
func (r *run) retryAfter(resp connector.Response) time.Duration {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	v := resp.Header.Get("Retry-After")
	if v == "" {
		return 0
	}
	if s, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(s) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, at.Sub(r.t.cfg.Now()))
	}
	return 0
}
