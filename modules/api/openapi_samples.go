package api

import (
	"fmt"
	"time"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/ratelimit"
	"github.com/purser-pay/purser/modules/signature"
)

// The document's examples are made by the code that makes the answers, of a
// payment that never was.

var sampleIDs = func() map[string]string {
	m := map[string]string{}
	for _, prefix := range []string{
		payment.PrefixPayment, payment.PrefixRefund, payment.PrefixAttempt, payment.PrefixEvent,
		payment.PrefixKey, payment.PrefixMerchant, payment.PrefixRequest,
		payment.PrefixEndpoint, payment.PrefixDelivery,
	} {
		m[prefix] = prefix + "_01m2k8x4vqf7yb9c3n5t6r0h1w"
	}
	return m
}()

// sample is a payment of a test card, of which a part was refunded.
func sample() *payment.Payment {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	charge := payment.Attempt{
		ID: sampleIDs[payment.PrefixAttempt], Kind: payment.KindAuthorize, Amount: 1999, Account: "stripe_us", Connector: "stripe",
		Status: payment.AttemptSucceeded, Outcome: payment.Known, Origin: payment.OriginMerchant, PSPReference: "pi_3PXy1",
		Routing: &payment.Plan{Rule: "default", Candidates: []payment.Candidate{
			{Account: "stripe_us", Outcome: payment.CandidateChosen, Reason: "first by priority"},
		}},
		Authorized: 1999, Captured: 1999, StartedAt: at, Gateway: 900 * time.Microsecond, PSP: 412 * time.Millisecond,
	}
	return &payment.Payment{
		ID: sampleIDs[payment.PrefixPayment], Merchant: sampleIDs[payment.PrefixMerchant], Mode: payment.Test, Version: 3,
		Status: payment.Succeeded, Outcome: payment.Known, Amount: payment.Money{Minor: 1999, Currency: "EUR"},
		CaptureMethod: payment.CaptureAutomatic,
		Method: &payment.MethodSummary{
			Type: payment.MethodCard, Brand: "visa", Last4: "4242", BIN6: "424242", ExpMonth: 12, ExpYear: 2034,
		},
		Charge: charge.ID, Attempts: []payment.Attempt{charge},
		Refunds: []payment.Refund{{
			ID: sampleIDs[payment.PrefixRefund], Attempt: charge.ID, Amount: 500, Status: payment.RefundSucceeded,
			Outcome: payment.Known, Reason: "one item came back", PSPReference: "re_3PXy1", Origin: payment.OriginMerchant,
			CreatedAt: at.Add(time.Hour), UpdatedAt: at.Add(time.Hour),
		}},
		Reference: "order-1042", Channel: payment.ChannelEcommerce, Metadata: map[string]string{"invoice": "2026-17"},
		CreatedAt: at, UpdatedAt: at.Add(time.Hour),
	}
}

func samplePayment() jsontext.Value { return written(sample().Object()) }

func sampleRefund() jsontext.Value {
	p := sample()
	return written(p.RefundObject(&p.Refunds[0]))
}

func sampleEvent() jsontext.Value {
	e := payment.Event{
		ID: sampleIDs[payment.PrefixEvent], Type: payment.EventRefundSucceeded, Mode: payment.Test, Sequence: 4,
		CreatedAt: time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC), Object: sampleRefund(),
	}
	return written(e.Body())
}

func sampleAccount() jsontext.Value {
	return written(json.Marshal(&accountJSON{
		Object: "account", Merchant: sampleIDs[payment.PrefixMerchant], Name: "Shop", Mode: payment.Test,
		By: access.ByKey, Key: sampleIDs[payment.PrefixKey], Subject: "https://idp.example#till-7",
		Signing:     &signingJSON{sampleIDs[payment.PrefixKey], access.Ed25519},
		ResponseKey: &responseKeyJSON{"purser-1f0a6f2d83b14c55", signature.Ed25519, "-----BEGIN PUBLIC KEY-----\n…\n-----END PUBLIC KEY-----\n"},
		Scopes:      access.DefaultScopes(), Limits: []limitJSON{{Scope: ratelimit.Key, Limit: 1000, Window: 1, Remaining: 999}},
	}))
}

// written takes a sample's JSON. That it can be written is a property of this
// file, which the tests have seen.
func written(b []byte, err error) jsontext.Value {
	if err != nil {
		panic(fmt.Errorf("api: sample: %w", err))
	}
	return b
}
