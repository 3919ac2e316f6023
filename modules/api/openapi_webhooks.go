package api

import (
	"bytes"
	"net/http"
	"time"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/webhook"
)

// What the document says of webhooks to merchants.

const endpointsText = "The gateway tells an endpoint of events by POST, as Standard Webhooks (standardwebhooks.com) has it: the body is the event as " +
	"`GET /v1/events/{id}` shows it, under `webhook-id`, `webhook-timestamp` and `webhook-signature`, which holds `v1` (HMAC-SHA256, by `secret`) and `v1a` " +
	"(Ed25519, by `public_key`), each twice while a secret is rotated out. Any 2xx is success. Delivery is at least once, in no certain order: " +
	"drop what came before by its `id`, and order a payment's events by `sequence`. What fails is tried again for 3 days; 410 disables the endpoint."

// describeWebhookCalls has the rows of [describeCalls] for webhooks out.
func describeWebhookCalls() map[string]call {
	const tag = "webhooks"
	deleted := jsontext.Value(`{"id":"` + sampleIDs[payment.PrefixEndpoint] + `","object":"webhook_endpoint","deleted":true}`)
	resent := jsontext.Value(`{"object":"event_resend","event":"` + sampleIDs[payment.PrefixEvent] + `","endpoints":["` + sampleIDs[payment.PrefixEndpoint] + `"]}`)
	return map[string]call{
		"POST /v1/webhook_endpoints": {
			id: "createWebhookEndpoint", tag: tag, summary: "Create a webhook endpoint",
			text: endpointsText + "\n\n`secret` is told in this answer only, and in replays of it for ten minutes; after that they say null.",
			body: "CreateWebhookEndpoint", welcome: true, success: http.StatusCreated, says: "The endpoint exists, and hears of what happens from now on.",
			returns: ref("NewWebhookEndpoint"), shows: sampleNewEndpoint(),
			examples: members[example]{
				{"all", example{Summary: "All events", Value: jsontext.Value(`{"url":"https://shop.example/webhooks"}`)}},
				{"some", example{Summary: "Some events", Value: jsontext.Value(`{"url":"https://shop.example/webhooks","events":["payment.succeeded","payment.failed"],"description":"the till"}`)}},
			},
			codes: []payment.Code{payment.CodeTooManyEndpoints},
		},
		"GET /v1/webhook_endpoints": listCall(tag, "listWebhookEndpoints", "List webhook endpoints", "WebhookEndpointList", sampleEndpoint(),
			[]*parameter{queryParameter("status", ref("WebhookEndpointStatus"), "")}),
		"GET /v1/webhook_endpoints/{id}": getCall(tag, "getWebhookEndpoint", "Read a webhook endpoint", "WebhookEndpoint", sampleEndpoint()),
		"PATCH /v1/webhook_endpoints/{id}": {
			id: "updateWebhookEndpoint", tag: tag, summary: "Change a webhook endpoint",
			text: "A field that is absent stays as it is. `\"status\":\"enabled\"` takes up an endpoint again that was paused or disabled; " +
				"what happened meanwhile is sent by `POST /v1/events/{id}/resend`. Two callers at once each change their own fields.",
			body: "UpdateWebhookEndpoint", success: http.StatusOK, says: "The endpoint as it now stands.", returns: ref("WebhookEndpoint"), shows: sampleEndpoint(),
			examples: members[example]{
				{"enable", example{Summary: "Take it up again", Value: jsontext.Value(`{"status":"enabled"}`)}},
				{"events", example{Summary: "Other events", Value: jsontext.Value(`{"events":["refund.succeeded"],"metadata":{"team":null}}`)}},
			},
		},
		"DELETE /v1/webhook_endpoints/{id}": {
			id: "deleteWebhookEndpoint", tag: tag, summary: "Delete a webhook endpoint", success: http.StatusOK, says: "It is gone, and hears of nothing more.",
			returns: ref("DeletedWebhookEndpoint"), shows: deleted,
		},
		"POST /v1/webhook_endpoints/{id}/rotate": {
			id: "rotateWebhookEndpoint", tag: tag, summary: "Rotate a webhook endpoint's secret",
			text: "Makes a new secret, told as at creation. Until the overlap ends each delivery is signed by both, so that no receiver need change at one certain moment. " +
				"There are at most two: a secret that was on its way out before ends at once.",
			body: "RotateWebhookEndpoint", optional: true, welcome: true, success: http.StatusOK, says: "The endpoint with its new secret.",
			returns: ref("NewWebhookEndpoint"), shows: sampleNewEndpoint(),
			examples: members[example]{{"hour", example{Summary: "The old one goes on for an hour", Value: jsontext.Value(`{"overlap_seconds":3600}`)}}},
		},
		"POST /v1/webhook_endpoints/{id}/test": {
			id: "testWebhookEndpoint", tag: tag, summary: "Try a webhook endpoint",
			text: "Sends a made-up event at once, whatever the endpoint's status, and answers with how it went. It is tried once. 200 however it went: look at `delivered`.",
			body: "TestWebhookEndpoint", optional: true, welcome: true, success: http.StatusOK, says: "It was tried.",
			returns: ref("WebhookDelivery"), shows: sampleDelivery(), codes: []payment.Code{payment.CodeNotSupported},
		},
		"GET /v1/webhook_endpoints/{id}/deliveries": listCall(tag, "listWebhookDeliveries", "List what was sent to a webhook endpoint", "WebhookDeliveryList", sampleDelivery(),
			[]*parameter{queryParameter("event", identifier(payment.PrefixEvent), "Those of one event.")}),
		"POST /v1/events/{id}/resend": {
			id: "resendEvent", tag: "events", summary: "Send an event again",
			text: "Queues the event for every enabled endpoint that wants its type, or for one of your choice. It tells nothing of the event itself, so `events:read` is not asked for.",
			body: "ResendEvent", optional: true, welcome: true, success: http.StatusOK, says: "It is queued, for these endpoints.",
			returns: ref("EventResend"), shows: resent,
			examples: members[example]{
				{"all", example{Value: jsontext.Value(`{}`)}},
				{"one", example{Summary: "One endpoint", Value: jsontext.Value(`{"endpoint":"` + sampleIDs[payment.PrefixEndpoint] + `"}`)}},
			},
			codes: []payment.Code{payment.CodeInvalidState},
		},
	}
}

// describeWebhookBodies is what those calls read.
func describeWebhookBodies() members[*schema] {
	fields := func(url property, values *schema) []property {
		return []property{
			url,
			may("events", wantedEvents()),
			may("description", prose("For your records.")),
			may("metadata", metadataSchema(values, "Yours.")),
		}
	}
	address := func() *schema {
		return text("https, to a public address at port 443 or 8443, without user name and fragment; the operator may allow more.").
			long(1, payment.MaxEndpointURL).like("^https?://[!-~]+$").as("uri")
	}
	return members[*schema]{
		{"CreateWebhookEndpoint", asked("", fields(must("url", address()), metadataValue())...)},
		{"UpdateWebhookEndpoint", asked("", append(fields(may("url", address()), orNull(metadataValue())),
			may("status", oneOfStrings("Takes it up, or stops it.", settableStatuses)))...)},
		{"RotateWebhookEndpoint", asked("", may("overlap_seconds", integer("How long the secret before it goes on; 0 ends it at once.", 0, maxOverlap).unless(defaultOverlap)))},
		{"TestWebhookEndpoint", asked("Nothing.")},
		{"ResendEvent", asked("", may("endpoint", identifier(payment.PrefixEndpoint)))},
	}
}

// wantedEvents is the list of types that an endpoint asks for.
func wantedEvents() *schema {
	s := listOf(oneOfStrings("", append([]payment.EventType{allEvents}, eventTypes...)), "The types to be told of, or `*` alone for all, those that are yet to come among them.")
	s.MinItems, s.UniqueItems = 1, true
	return s.unless([]string{allEvents})
}

// describeWebhooks is what those calls tell.
func describeWebhooks() members[*schema] {
	secret := orNull(text("The key of `v1`: what follows `whsec_` is base64. Null in replays after ten minutes.").like("^whsec_"))
	return members[*schema]{
		{"WebhookEndpointStatus", oneOfStrings("`paused`: it failed for so long that the gateway stopped. `disabled`: you stopped it, or it answered 410.", payment.EndpointStatuses)},
		{"WebhookEndpoint", told("A URL of yours that is told of events.", endpointProperties()...)},
		{"NewWebhookEndpoint", told("A webhook endpoint with its newest secret.", append(endpointProperties(), must("secret", secret))...)},
		{"DeletedWebhookEndpoint", told("", must("id", identifier(payment.PrefixEndpoint)), must("object", oneOfStrings("", []string{objectEndpoint})), must("deleted", boolean("")))},
		{"WebhookDelivery", told("One try to tell an endpoint of an event. The log is kept for 30 days.",
			must("id", identifier(payment.PrefixDelivery)),
			must("object", oneOfStrings("", []string{objectDelivery})),
			must("livemode", boolean("Real money.")),
			must("endpoint", identifier(payment.PrefixEndpoint)),
			must("event", orNull(text("The event's ID, which is also `webhook-id`."))),
			must("type", text("The event's.")),
			must("try", integer("From 1.", 0, 1<<31)),
			must("delivered", boolean("The endpoint answered 2xx.")),
			must("http_status", orNull(&schema{Type: "integer", Description: "Of the answer; null = there was none."})),
			must("error", orNull(text("Why there was no good answer."))),
			must("took_ms", integer("", 0, 1<<31)),
			must("next_try_at", orNull(instantOf("When it is tried again; null = it is not."))),
			must("created_at", orNull(instantOf(""))))},
		{"WebhookEndpointList", pageOf("WebhookEndpoint")},
		{"WebhookDeliveryList", pageOf("WebhookDelivery")},
		{"EventResend", told("",
			must("object", oneOfStrings("", []string{"event_resend"})),
			must("event", identifier(payment.PrefixEvent)),
			must("endpoints", listOf(identifier(payment.PrefixEndpoint), "Those that it is queued for; none where none wants it.")))},
	}
}

func endpointProperties() []property {
	return []property{
		must("id", identifier(payment.PrefixEndpoint)),
		must("object", oneOfStrings("", []string{objectEndpoint})),
		must("livemode", boolean("Told of real money.")),
		must("url", text("").as("uri")),
		must("events", listOf(text(""), "The types that it is told of; `*` = all.")),
		must("description", orNull(text(""))),
		must("metadata", mapOf(text(""), "Yours.")),
		must("status", ref("WebhookEndpointStatus")),
		must("status_reason", orNull(text("Why it is not enabled."))),
		must("failing_since", orNull(instantOf("When the first of an unbroken row of failures was."))),
		must("secrets", listOf(told("",
			must("created_at", orNull(instantOf(""))),
			must("expires_at", orNull(instantOf("When it stops to sign; null = never."))),
			must("public_key", text("The key of `v1a`: what follows `whpk_` is base64. It is no secret.").like("^whpk_"))), "Those that sign, the newest first.")),
		must("created_at", orNull(instantOf(""))),
		must("updated_at", orNull(instantOf(""))),
	}
}

func sampleEndpointView() *endpointJSON {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return &endpointJSON{
		ID: sampleIDs[payment.PrefixEndpoint], Object: objectEndpoint, URL: "https://shop.example/webhooks", Events: []string{allEvents},
		Description: present("the till"), Metadata: map[string]string{"team": "till"}, Status: payment.EndpointEnabled,
		Secrets: []secretJSON{{CreatedAt: &at, PublicKey: sampleSecret().Public()}}, CreatedAt: &at, UpdatedAt: &at,
	}
}

// sampleSecret signs nothing.
func sampleSecret() webhook.Secret {
	s, err := webhook.ParseSecret(bytes.Repeat([]byte("sample.."), webhook.SecretSize/8))
	written(nil, err)
	return s
}

func sampleEndpoint() jsontext.Value { return written(json.Marshal(sampleEndpointView())) }

func sampleNewEndpoint() jsontext.Value {
	body, err := json.Marshal(&onceJSON{endpointJSON: *sampleEndpointView()})
	return done{body: written(body, err), secret: sampleSecret().Symmetric()}.whole()
}

func sampleDelivery() jsontext.Value {
	return written(deliveryObject(&payment.Delivery{
		ID: sampleIDs[payment.PrefixDelivery], Mode: payment.Test, Endpoint: sampleIDs[payment.PrefixEndpoint], Event: sampleIDs[payment.PrefixEvent],
		Type: payment.EventPaymentSucceeded, Try: 1, Status: http.StatusServiceUnavailable, Error: "the endpoint answered 503",
		CreatedAt: time.Date(2026, 3, 1, 12, 0, 1, 0, time.UTC), Took: 80 * time.Millisecond, Next: time.Date(2026, 3, 1, 12, 0, 6, 0, time.UTC),
	}))
}
