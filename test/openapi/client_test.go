package openapi

import (
	"bytes"
	"context"
	"flag"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/purser-pay/purser/test/openapi/client"
)

var update = flag.Bool("update", false, "write the generated client anew")

//go:generate go test . -run TestClientIsFresh -update

// TestGeneratedClient takes a payment through its life with a client that was
// generated from the document, and in no other way than the document says.
func TestGeneratedClient(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	c, err := client.NewClientWithResponses(w.url, client.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+w.keys["all"])
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	cvc, manual := "123", client.CreatePaymentCaptureMethod("manual")
	var method client.PaymentMethod
	if err := method.FromCard(client.Card{Type: "card", Number: "4242424242424242", ExpMonth: 12, ExpYear: 2034, Cvc: &cvc}); err != nil {
		t.Fatal(err)
	}
	created, err := c.CreatePaymentWithResponse(ctx, &client.CreatePaymentParams{IdempotencyKey: "create-1"},
		client.CreatePayment{Amount: 1999, Currency: "EUR", CaptureMethod: &manual, PaymentMethod: &method})
	if err != nil {
		t.Fatal(err)
	}
	p := created.JSON201
	if p == nil || p.Status != "requires_capture" || p.AmountCapturable != 1999 {
		t.Fatalf("create: %s %s, want 1999 to capture", created.Status(), created.Body)
	}
	got, err := c.GetPaymentWithResponse(ctx, p.Id, nil)
	if err != nil || got.JSON200 == nil || got.JSON200.PaymentMethod == nil || *got.JSON200.PaymentMethod.Last4 != "4242" {
		t.Fatalf("get: %v %s, want the card's last four digits", err, got.Body)
	}
	captured, err := c.CapturePaymentWithResponse(ctx, p.Id, &client.CapturePaymentParams{IdempotencyKey: "capture-1"}, client.CapturePayment{})
	if err != nil || captured.JSON200 == nil || captured.JSON200.Status != "succeeded" || captured.JSON200.AmountCaptured != 1999 {
		t.Fatalf("capture: %v %s, want 1999 captured", err, captured.Body)
	}
	part := int64(500)
	for _, replayed := range []bool{false, true} {
		refund, err := c.CreateRefundWithResponse(ctx, &client.CreateRefundParams{IdempotencyKey: "refund-1"},
			client.CreateRefund{Payment: p.Id, Amount: &part})
		if err != nil || refund.JSON201 == nil || refund.JSON201.Status != "succeeded" || refund.JSON201.Amount != part {
			t.Fatalf("refund: %v %s, want 500 refunded", err, refund.Body)
		}
		if got := refund.HTTPResponse.Header.Get("Idempotent-Replayed") == "true"; got != replayed {
			t.Errorf("refund is a replay %v, want %v", got, replayed)
		}
	}
	limit := int64(1)
	list, err := c.ListPaymentsWithResponse(ctx, &client.ListPaymentsParams{Limit: &limit})
	if err != nil || list.JSON200 == nil || len(list.JSON200.Data) != 1 || list.JSON200.Data[0].AmountRefunded != part {
		t.Fatalf("list: %v %s, want the payment with 500 refunded", err, list.Body)
	}
	refused, err := c.CreateRefundWithResponse(ctx, &client.CreateRefundParams{IdempotencyKey: "refund-2"},
		client.CreateRefund{Payment: p.Id, Amount: &p.Amount})
	if err != nil || refused.ApplicationproblemJSON422 == nil || refused.ApplicationproblemJSON422.Code != "amount_too_large" {
		t.Errorf("refund of too much: %v %s, want amount_too_large", err, refused.Body)
	}
}

// TestGeneratedWebhooks takes a webhook endpoint through its life with the same
// client.
func TestGeneratedWebhooks(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	c, err := client.NewClientWithResponses(w.url, client.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+w.keys["all"])
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	key, events := "create-1", []client.CreateWebhookEndpointEvents{"payment.succeeded"}
	created, err := c.CreateWebhookEndpointWithResponse(ctx, &client.CreateWebhookEndpointParams{IdempotencyKey: &key},
		client.CreateWebhookEndpoint{Url: "https://shop.example/hook", Events: &events})
	if err != nil {
		t.Fatal(err)
	}
	e := created.JSON201
	if e == nil || e.Secret == nil || !strings.HasPrefix(*e.Secret, "whsec_") || e.Status != "enabled" || len(e.Secrets) != 1 {
		t.Fatalf("create: %s %s, want an endpoint and its secret", created.Status(), created.Body)
	}
	tested, err := c.TestWebhookEndpointWithResponse(ctx, e.Id, nil, client.TestWebhookEndpoint{})
	if err != nil || tested.JSON200 == nil || tested.JSON200.Delivered || tested.JSON200.HttpStatus == nil || *tested.JSON200.HttpStatus != 503 {
		t.Fatalf("test: %v %s, want 503 and not delivered", err, tested.Body)
	}
	hour := int64(3600)
	rotated, err := c.RotateWebhookEndpointWithResponse(ctx, e.Id, nil, client.RotateWebhookEndpoint{OverlapSeconds: &hour})
	if err != nil || rotated.JSON200 == nil || rotated.JSON200.Secret == nil || *rotated.JSON200.Secret == *e.Secret || len(rotated.JSON200.Secrets) != 2 {
		t.Fatalf("rotate: %v %s, want another secret beside the first", err, rotated.Body)
	}
	list, err := c.ListWebhookEndpointsWithResponse(ctx, nil)
	if err != nil || list.JSON200 == nil || len(list.JSON200.Data) != 1 || list.JSON200.Data[0].Id != e.Id {
		t.Fatalf("list: %v %s, want the endpoint", err, list.Body)
	}
	deleted, err := c.DeleteWebhookEndpointWithResponse(ctx, e.Id)
	if err != nil || deleted.JSON200 == nil || !deleted.JSON200.Deleted {
		t.Fatalf("delete: %v %s", err, deleted.Body)
	}
	gone, err := c.GetWebhookEndpointWithResponse(ctx, e.Id)
	if err != nil || gone.ApplicationproblemJSON404 == nil {
		t.Errorf("get: %v %s, want 404", err, gone.Body)
	}
}

// TestClientIsFresh generates the client anew and compares; -update writes it.
func TestClientIsFresh(t *testing.T) {
	w := newWorld(t)
	_, doc := w.send(w.request(w.url, call{method: http.MethodGet, path: "/openapi.json", key: "-"}))
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/openapi.json", doc, 0o600); err != nil {
		t.Fatal(err)
	}
	const committed = "client/client.gen.go"
	fresh := dir + "/client.gen.go"
	generate := exec.CommandContext(t.Context(), "go", "tool", "oapi-codegen", "-config", "client/oapi-codegen.yaml", "-o", fresh, dir+"/openapi.json")
	if out, err := generate.CombinedOutput(); err != nil {
		t.Fatalf("oapi-codegen: %v\n%s", err, out)
	}
	got, err := os.ReadFile(fresh)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(committed, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(committed)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the document yields; go generate ./... writes it anew", committed)
	}
}
