package api

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dunglas/httpsfv"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

const maxIdempotencyKey = 255 // characters

// parseKey reads the Idempotency-Key: 1 … 255 visible ASCII characters, bare as
// everybody sends it, or as the quoted string of
// draft-ietf-httpapi-idempotency-key-header. Both name the same key.
func parseKey(fields []string) (string, error) {
	if len(fields) == 0 {
		return "", payment.Errorf(payment.CodeKeyRequired, "Send an Idempotency-Key of your own choice, and the same one when you repeat the call.")
	}
	malformed := &payment.Error{
		Code: payment.CodeKeyInvalid, Param: idempotencyKey,
		Detail: "The Idempotency-Key is one field of 1 to 255 visible ASCII characters, bare or as a quoted string.",
	}
	key := strings.Trim(fields[0], " \t")
	if len(fields) > 1 {
		return "", malformed
	}
	if strings.HasPrefix(key, `"`) {
		item, err := httpsfv.UnmarshalItem([]string{key})
		text, ok := item.Value.(string)
		if err != nil || !ok || len(item.Params.Names()) > 0 {
			return "", malformed
		}
		key = text
	}
	if len(key) < 1 || len(key) > maxIdempotencyKey || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", malformed
	}
	return key, nil
}

// fingerprint is what makes two requests the same: a keyed hash of method, path
// and body, in which neither the order of members nor white space counts, and
// the card's verification code is left out: it must not be stored, nor may a
// guess at it be checked against what is. Beyond that no meaning is read into a
// body: a payment method in its flat form and the same in its nested form make
// two different requests.
func fingerprint(pepper []byte, method, path string, body []byte, sc scanned) ([sha256.Size]byte, error) {
	canonical := jsontext.Value(slices.Clone(body))
	for _, cvc := range slices.Backward(sc.cvcs) { // from the end, where a cut moves none of the others
		canonical = cutMember(canonical, cvc.start, cvc.end)
	}
	defer clear(canonical)
	if err := canonical.Canonicalize(); err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("canonical form: %w", errors.New("body is not JSON"))
	}
	mac := hmac.New(sha256.New, pepper)
	mac.Write([]byte(method + "\n" + path + "\n"))
	mac.Write(canonical)
	var sum [sha256.Size]byte
	mac.Sum(sum[:0])
	return sum, nil
}

// cutMember removes the member of an object that lies between start and end,
// with the comma after it or before it. It changes body.
func cutMember(body []byte, start, end int) []byte {
	const space = " \t\r\n"
	next := end
	for next < len(body) && strings.IndexByte(space, body[next]) >= 0 {
		next++
	}
	if next < len(body) && body[next] == ',' {
		return slices.Delete(body, start, next+1)
	}
	before := start
	for before > 0 && strings.IndexByte(space, body[before-1]) >= 0 {
		before--
	}
	if before > 0 && body[before-1] == ',' {
		start = before - 1
	}
	return slices.Delete(body, start, end)
}

// take reads a request that has a body and no query: the body into a T, of which
// check makes an input. late is what is wrong with it by the passing of time
// alone.
func take[T, In any](rq *request, optional bool, check func(*checker, *T) In) (in In, sc scanned, late *payment.Error, err error) {
	if _, err := rq.query(); err != nil {
		return in, sc, nil, err
	}
	var body T
	if sc, err = rq.decode(&body, optional); err != nil {
		return in, sc, nil, err
	}
	c := rq.checker()
	if in = check(c, &body); c.err != nil {
		return in, sc, nil, c.err
	}
	return in, sc, c.late, nil
}

// keyed serves a call that bears an Idempotency-Key: it reads the body into a
// T, lets check make an input of it, and hands that to the engine.
func keyed[T, In any](
	a *API, rq *request, optional bool,
	check func(*checker, *T) In, call func(context.Context, engine.Claim, In) (engine.Answer, error),
) (response, error) {
	in, sc, late, err := take(rq, optional, check)
	if err != nil {
		return response{}, err
	}
	claim, err := a.claim(rq, sc)
	if err != nil {
		return response{}, err
	}
	if late != nil {
		if held, err := a.held(rq, claim); err != nil || !held {
			return response{}, cmp.Or[error](err, late)
		}
	}
	answer, err := call(rq.http.Context(), claim, in)
	if err != nil {
		return response{}, err
	}
	return response{
		status: answer.Status, contentType: answer.ContentType, body: answer.Body,
		replayed: answer.Replayed, psp: answer.PSP,
	}, nil
}

// claim puts together what the engine needs to tell a repeat.
func (a *API) claim(rq *request, sc scanned) (engine.Claim, error) {
	key, err := parseKey(rq.http.Header.Values(idempotencyKey))
	if err != nil {
		return engine.Claim{}, err
	}
	sum, err := fingerprint(a.cfg.Pepper, rq.http.Method, rq.http.URL.Path, rq.body, sc)
	if err != nil {
		return engine.Claim{}, err
	}
	return engine.Claim{
		Scope: rq.scope(), Key: key, Fingerprint: sum, Origin: a.cfg.Origin(rq.http), Quotas: a.quotas(rq),
	}, nil
}

// held tells whether this very request was taken before. A body that was valid
// then and is not any more, because its time has passed, must still find its
// first answer.
func (a *API) held(rq *request, c engine.Claim) (bool, error) {
	var k store.IdempotencyKey
	err := a.cfg.Store.View(rq.http.Context(), func(r store.Reader) (err error) {
		k, err = r.Key(store.KeyScope{Merchant: c.Merchant, Mode: c.Mode, Key: c.Key})
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil && k.Fingerprint == c.Fingerprint && rq.start.Before(k.Expires), err
}
