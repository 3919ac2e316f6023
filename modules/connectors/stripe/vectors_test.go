package stripe

import (
	"errors"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/connector"
)

// TestSignatureVectors plays Stripe's own vector and the cases of its Go
// library. On two of those we are stricter than the library, which takes a time
// in the future and hex in upper case.
func TestSignatureVectors(t *testing.T) {
	b, err := os.ReadFile("testdata/signatures.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Cases []struct {
			Name      string `json:"name"`
			Secret    string `json:"secret"`
			Signature string `json:"signature"`
			Body      string `json:"body"`
			VerifyAt  int64  `json:"verify_at"`
			Valid     bool   `json:"valid"`
		} `json:"cases"`
	}
	if err := json.Unmarshal(b, &vectors); err != nil {
		t.Fatal(err)
	}
	valid := 0
	for _, v := range vectors.Cases {
		t.Run(v.Name, func(t *testing.T) {
			s := &Connector{WebhookSecret: connector.NewSecret(v.Secret)}
			d := connector.Delivery{
				Header: http.Header{headerSignature: {v.Signature}}, Body: []byte(v.Body), Now: time.Unix(v.VerifyAt, 0),
			}
			err := s.VerifyWebhook(d)
			if v.Valid && err != nil {
				t.Errorf("got %v, want it to verify", err)
			}
			if !v.Valid && !errors.Is(err, connector.ErrSignature) {
				t.Errorf("got %v, want ErrSignature", err)
			}
		})
		if v.Valid {
			valid++
		}
	}
	if valid < 4 || len(vectors.Cases)-valid < 10 {
		t.Errorf("%d valid of %d vectors, want at least 4 valid and 10 invalid", valid, len(vectors.Cases))
	}
}
