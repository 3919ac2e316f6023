package api

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// What this file does for the calls beside payments, the engine does for those
// on payments: only it writes payment state.

const (
	// keyLife is how long an answer is kept under its Idempotency-Key.
	keyLife = 30 * 24 * time.Hour
	// secretLife is how long a replay shows a secret: long enough for whoever did
	// not hear the first answer.
	secretLife = 10 * time.Minute
	// contentSealed marks the stored answers that hold a secret; it never leaves.
	contentSealed = "application/x-purser-sealed"
)

// done is the answer of a call that was carried out.
type done struct {
	body []byte
	// secret is what the answer shows once; "" = there is none. The body ends in
	// concealed, in its place.
	secret string
}

// concealed is how an object ends that shows its secret no more.
const concealed = `"secret":null}`

// whole is the answer with its secret in it.
func (t done) whole() []byte {
	head, ok := bytes.CutSuffix(t.body, []byte(concealed))
	if t.secret == "" || !ok {
		return t.body
	}
	// A secret is base64 behind a prefix: it needs no escape.
	return slices.Concat(head, []byte(`"secret":"`), []byte(t.secret), []byte(`"}`))
}

// sealedAnswer is what is stored of an answer that holds a secret.
type sealedAnswer struct {
	Body   jsontext.Value `json:"body"`
	Secret []byte         `json:"secret"` // sealed
	Until  time.Time      `json:"until"`  // from then on, the secret is not told again
}

// once carries out a call on which an Idempotency-Key is welcome. The key, what
// write writes, and the answer are one transaction: a repeat finds all of it or
// nothing, and a refusal consumes no key.
func (a *API) once(rq *request, sc scanned, status int, write func(store.Tx) (done, error)) (response, error) {
	key, keyed, err := a.welcome(rq, sc)
	if err != nil {
		return response{}, err
	}
	var res response
	err = a.cfg.Store.Update(rq.http.Context(), func(tx store.Tx) error {
		res = response{status: status}
		if keyed {
			held, claimed, err := tx.ClaimKey(key, rq.start)
			if err != nil {
				return fmt.Errorf("claim key: %w", err)
			}
			if !claimed {
				res, err = a.replay(rq, key, held)
				return err
			}
		}
		t, err := write(tx)
		res.body = t.whole()
		if err != nil || !keyed {
			return err
		}
		stored, err := a.answered(key, status, t)
		if err != nil {
			return err
		}
		return tx.PutKey(stored)
	})
	return res, err
}

// welcome reads the Idempotency-Key of a call that needs none.
func (a *API) welcome(rq *request, sc scanned) (key store.IdempotencyKey, keyed bool, err error) {
	if len(rq.http.Header.Values(idempotencyKey)) == 0 {
		return key, false, nil
	}
	c, err := a.claim(rq, sc)
	return store.IdempotencyKey{
		KeyScope:    store.KeyScope{Merchant: c.Merchant, Mode: c.Mode, Key: c.Key},
		Fingerprint: c.Fingerprint, Expires: rq.start.Add(keyLife),
	}, err == nil, err
}

// answered fills in the answer of a key.
func (a *API) answered(key store.IdempotencyKey, status int, t done) (store.IdempotencyKey, error) {
	key.Status, key.Success, key.Lease, key.ContentType, key.Body = status, status, time.Time{}, contentJSON, t.body
	if t.secret == "" {
		return key, nil
	}
	sealed, err := a.cfg.Box.Seal([]byte(t.secret), answerContext(key.KeyScope))
	if err != nil {
		return key, fmt.Errorf("seal an answer: %w", err)
	}
	key.ContentType = contentSealed
	key.Body, err = json.Marshal(&sealedAnswer{Body: t.body, Secret: sealed, Until: key.Expires.Add(secretLife - keyLife)})
	return key, err
}

// replay answers with what is held under the key of a request.
func (a *API) replay(rq *request, key, held store.IdempotencyKey) (response, error) {
	switch {
	case held.Fingerprint != key.Fingerprint:
		return response{}, payment.Errorf(payment.CodeKeyReused, "This Idempotency-Key was used for a request with another route or body.")
	case held.Status == 0:
		err := payment.Errorf(payment.CodeKeyInUse, "The first request with this Idempotency-Key is still running.")
		err.RetryAfter = retryAfter
		return response{}, err
	case held.ContentType != contentSealed:
		return response{status: held.Status, contentType: held.ContentType, body: held.Body, replayed: true}, nil
	}
	var s sealedAnswer
	if err := json.Unmarshal(held.Body, &s); err != nil {
		return response{}, errors.New("a stored answer cannot be read")
	}
	t := done{body: s.Body}
	if rq.start.Before(s.Until) {
		secret, err := a.cfg.Box.Open(s.Secret, answerContext(held.KeyScope))
		if err != nil {
			return response{}, fmt.Errorf("a stored answer: %w", err)
		}
		t.secret = string(secret)
	}
	return response{status: held.Status, body: t.whole(), replayed: true}, nil
}

// answerContext binds a sealed answer to its key.
func answerContext(k store.KeyScope) []byte {
	return []byte("answer/" + k.Merchant + "/" + string(k.Mode) + "/" + k.Key)
}
