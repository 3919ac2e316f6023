package oracles

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/purser-pay/purser/modules/webhook"
)

// The standard's own library takes what we sign, also while a secret is rotated
// out, and we take what it signs.
func TestStandardWebhooks(t *testing.T) {
	var secrets [3]webhook.Secret
	for i := range secrets {
		var err error
		if secrets[i], err = webhook.NewSecret(nil); err != nil {
			t.Fatal(err)
		}
	}
	fresh, old, stranger := secrets[0], secrets[1], secrets[2]
	now := time.Now()
	body := []byte(`{"id":"evt_1","object":"event"}`)
	signature, err := webhook.Sign("evt_1", now, body, fresh, old)
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	h.Set(webhook.HeaderID, "evt_1")
	h.Set(webhook.HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
	h.Set(webhook.HeaderSignature, signature)
	for _, row := range []struct {
		name   string
		secret webhook.Secret
		body   []byte
		good   bool
	}{
		{"the new secret", fresh, body, true},
		{"the old secret", old, body, true},
		{"another secret", stranger, body, false},
		{"another body", fresh, append(body, ' '), false},
	} {
		theirs, err := standardwebhooks.NewWebhook(row.secret.Symmetric())
		if err != nil {
			t.Fatal(err)
		}
		if err := theirs.Verify(row.body, h); (err == nil) != row.good {
			t.Errorf("%s: got %v, want it to pass %t", row.name, err, row.good)
		}
	}

	theirs, err := standardwebhooks.NewWebhook(fresh.Symmetric())
	if err != nil {
		t.Fatal(err)
	}
	signature, err = theirs.Sign("evt_1", now, body)
	if err != nil {
		t.Fatal(err)
	}
	h.Set(webhook.HeaderSignature, signature)
	ours, err := webhook.NewVerifier(fresh.Symmetric())
	if err != nil {
		t.Fatal(err)
	}
	if err := ours.Verify(h, body, now); err != nil {
		t.Errorf("what their library signs: got %v", err)
	}
}
