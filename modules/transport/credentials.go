package transport

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/purser-pay/purser/modules/connector"
)

// Probed is what came of asking a PSP whether it takes an account's credentials.
type Probed struct {
	// Probe is valid where Err is nil; its words are redacted.
	connector.Probe
	Status int           // of the HTTP answer; 0 = none came
	Took   time.Duration // from the first byte to the answer, or to the failure
	// Err says why nothing is known of the credentials. It is redacted.
	Err error
}

// Probe asks the account's PSP, once and without a repeat, whether it takes the
// credentials: by the request of [connector.Prober], which moves nothing, over
// the account's own client and within its timeout. It takes no part in metrics
// of exchanges. ok is false where the connector is no Prober.
func (t *Transport) Probe(ctx context.Context, a *connector.Account, nonce [16]byte) (p Probed, ok bool) {
	codec, ok := a.Connector.(connector.Prober)
	if !ok {
		return Probed{}, false
	}
	r := &run{t: t, account: a, call: connector.Call{
		BaseURL: a.Base(), Livemode: a.Mode.Live(), Now: t.cfg.Now(), Nonce: nonce,
	}}
	ctx, cancel := context.WithTimeout(ctx, a.Exchange())
	defer cancel()
	err := r.probe(ctx, codec, &p)
	p.Err = r.redact(err)
	p.Detail = cleanText(p.Detail, r.secrets())
	return p, true
}

func (r *run) probe(ctx context.Context, codec connector.Prober, p *Probed) error {
	var err error
	if r.room, err = r.t.room(r.account); err != nil {
		return err
	}
	if err := r.room.enter(ctx); err != nil {
		return err
	}
	defer r.room.leave()
	if source, ok := r.account.Connector.(connector.TokenSource); ok {
		// A token that is kept would prove credentials of an hour ago.
		if r.call.Token, _, err = fetchToken(ctx, r.t, r.room, source, r.call); err != nil {
			return fmt.Errorf("%w: %w", errToken, err)
		}
	}
	req, err := encodeProbe(codec, r.call)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if r.req, err = r.t.prepare(r.room, req); err != nil {
		return err
	}
	began := r.t.cfg.Now()
	arrived := r.room.roundTrip(ctx, r.req, r.t.cfg.Now)
	p.Took = r.t.cfg.Now().Sub(began)
	if !arrived.connected.IsZero() {
		p.Took -= arrived.connected.Sub(began)
	}
	p.Status = arrived.response.StatusCode
	if arrived.err != nil {
		return fmt.Errorf("no answer: %w", arrived.err)
	}
	p.Probe, err = decodeProbe(codec, r.call, arrived.response)
	return err
}

func encodeProbe(codec connector.Prober, c connector.Call) (req *http.Request, err error) {
	defer guard(&err)
	return codec.EncodeProbe(c)
}

func decodeProbe(codec connector.Prober, c connector.Call, r connector.Response) (p connector.Probe, err error) {
	defer guard(&err)
	return codec.DecodeProbe(c, r)
}
