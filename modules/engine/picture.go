package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/purser-pay/purser/modules/payment"
)

// picture is a payment as it was before a question; the zero value is of none.
type picture struct {
	payment []byte
	psp     time.Duration
}

// picture takes one where the job is a question: most of them bring no news.
func (e *Engine) picture(j *job, p *payment.Payment, a *payment.Attempt) (picture, error) {
	if j.by != byQuery {
		return picture{}, nil
	}
	b, err := json.Marshal(p)
	if err != nil {
		return picture{}, fmt.Errorf("picture of %s: %w", p.ID, err)
	}
	return picture{b, a.PSP}, nil
}

// still tells whether the question has changed nothing, and left nothing to tell:
// then nothing is written, and its time is not counted.
func (b picture) still(p *payment.Payment, a *payment.Attempt) (bool, error) {
	if b.payment == nil || untold(p, a) {
		return false, nil
	}
	took := a.PSP
	a.PSP = b.psp
	now, err := json.Marshal(p)
	if err != nil {
		return false, fmt.Errorf("picture of %s: %w", p.ID, err)
	}
	if bytes.Equal(b.payment, now) {
		return true, nil
	}
	a.PSP = took
	return false, nil
}
