package gateway

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/engine"
)

// traced continues the trace of a request, which Caddy's handler "tracing"
// begins, to the exchanges with PSPs. The PSP hears nothing of it: no header is
// added. Exchanges of recovery belong to no request, and to no trace.
type traced struct{ engine.Exchanger }

// tracerName says to a trace's reader whose spans these are.
const tracerName = "github.com/purser-pay/purser"

// Exchange carries one step of an operation, in a span of its own.
func (t traced) Exchange(ctx context.Context, a *connector.Account, c connector.Call) connector.Exchange {
	parent := trace.SpanFromContext(ctx)
	if !parent.SpanContext().IsValid() {
		return t.Exchanger.Exchange(ctx, a, c)
	}
	ctx, span := parent.TracerProvider().Tracer(tracerName).Start(ctx, "psp "+string(c.Op.Kind()),
		trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(
			attribute.String("purser.account", a.Name), attribute.String("purser.connector", a.Connector.Spec().Name),
			attribute.String("purser.operation", string(c.Op.Kind())), attribute.String("purser.step", c.Step),
		))
	defer span.End()
	x := t.Exchanger.Exchange(ctx, a, c)
	span.SetAttributes(attribute.String("purser.outcome", x.Outcome.String()), attribute.Int("purser.sends", x.Sends))
	if x.Outcome != connector.Answered {
		span.SetStatus(codes.Error, x.Outcome.String()) // the error's text stays in the log
	}
	return x
}
