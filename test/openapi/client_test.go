package openapi

import (
	"bytes"
	"context"
	"flag"
	"net/http"
	"os"
	"os/exec"
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
