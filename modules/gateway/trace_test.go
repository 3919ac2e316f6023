package gateway

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connectors/stripe"
	"github.com/purser-pay/purser/modules/payment"
)

// exchanged is an exchanger whose every exchange ends in the same way.
type exchanged struct{ x connector.Exchange }

func (e exchanged) Exchange(context.Context, *connector.Account, connector.Call) connector.Exchange {
	return e.x
}

// TestTraced holds that a PSP call is a span of the request's trace, with
// nothing of the payer in it, and that there is none without a trace.
func TestTraced(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	account := &connector.Account{Name: "stripe_us", Connector: new(stripe.Connector), Mode: payment.Test}
	lost := traced{exchanged{connector.Exchange{Outcome: connector.Unknown, Sends: 2, Err: errors.New("canary")}}}
	ask := connector.Call{Op: payment.Sync{}, Step: "intent"}

	lost.Exchange(t.Context(), account, ask)
	if n := len(spans.Ended()); n != 0 {
		t.Fatalf("%d spans without a trace, want none", n)
	}
	ctx, request := provider.Tracer("test").Start(t.Context(), "request")
	if x := lost.Exchange(ctx, account, ask); x.Sends != 2 {
		t.Errorf("the exchange came back as %+v", x)
	}
	ended := spans.Ended()
	if len(ended) != 1 {
		t.Fatalf("%d spans, want 1", len(ended))
	}
	s := ended[0]
	if s.Parent().SpanID() != request.SpanContext().SpanID() || s.Name() != "psp sync" || s.Status().Description != "unknown" {
		t.Errorf("got span %q of parent %s, status %+v", s.Name(), s.Parent().SpanID(), s.Status())
	}
	got := map[string]string{}
	for _, a := range s.Attributes() {
		got[string(a.Key)] = a.Value.String()
	}
	want := map[string]string{
		"purser.account": "stripe_us", "purser.connector": "stripe", "purser.operation": "sync", "purser.step": "intent",
		"purser.outcome": "unknown", "purser.sends": "2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
}
