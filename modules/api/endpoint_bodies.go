package api

import (
	"slices"
	"strings"
	"time"

	"github.com/purser-pay/purser/modules/payment"
)

// Bounds of a rotation's overlap, in seconds.
const (
	defaultOverlap = 24 * 60 * 60
	maxOverlap     = 7 * 24 * 60 * 60
)

// allEvents stands for every type of event, those included that are yet to come.
const allEvents = "*"

// endpointBody is the body of POST /v1/webhook_endpoints.
type endpointBody struct {
	URL         *string            `json:"url"`
	Events      []string           `json:"events"`
	Description *string            `json:"description"`
	Metadata    map[string]*string `json:"metadata"`
}

// endpointPatchBody is the body of PATCH /v1/webhook_endpoints/{id}: null leaves
// a field as it is, "" empties it, and a metadata value of null or "" removes
// its key.
type endpointPatchBody struct {
	endpointBody
	Status *payment.EndpointStatus `json:"status"`
}

// rotateBody is the body of POST /v1/webhook_endpoints/{id}/rotate.
type rotateBody struct {
	OverlapSeconds *int64 `json:"overlap_seconds"`
}

// testBody is the body of POST /v1/webhook_endpoints/{id}/test: there is nothing
// to say.
type testBody struct{}

// resendBody is the body of POST /v1/events/{id}/resend.
type resendBody struct {
	Endpoint *string `json:"endpoint"`
}

// endpointInput is what a merchant asks of an endpoint. Nil and "" leave what is
// there.
type endpointInput struct {
	url         string
	types       []payment.EventType // empty = all
	typesGiven  bool
	description *string
	metadata    map[string]string
	status      payment.EndpointStatus
}

func (in *endpointInput) text() string {
	if in.description == nil {
		return ""
	}
	return *in.description
}

// settableStatuses are a merchant's to choose from; only the gateway pauses an
// endpoint.
var settableStatuses = []payment.EndpointStatus{payment.EndpointEnabled, payment.EndpointDisabled}

// endpoint takes a new endpoint. Where webhooks may go is the operator's to say,
// by allowed.
func (c *checker) endpoint(in *endpointBody, allowed func(string) error) endpointInput {
	if in.URL == nil {
		c.fail("url", "The URL is required.")
	}
	return c.endpointFields(in, allowed, false)
}

// endpointPatch takes a change of an endpoint.
func (c *checker) endpointPatch(in *endpointPatchBody, allowed func(string) error) endpointInput {
	out := c.endpointFields(&in.endpointBody, allowed, true)
	out.status = choice(c, "status", in.Status, settableStatuses, "")
	return out
}

func (c *checker) endpointFields(in *endpointBody, allowed func(string) error, mayRemove bool) endpointInput {
	out := endpointInput{
		types: c.eventTypes(in.Events), typesGiven: in.Events != nil,
		description: in.Description, metadata: c.metadata(in.Metadata, mayRemove),
	}
	if in.Description != nil {
		c.prose("description", *in.Description, maxDescription)
	}
	if in.URL != nil {
		out.url = *in.URL
		if err := allowed(out.url); err != nil {
			// What is refused now may have been fine when a first answer was given.
			c.failLate("url", "%s.", strings.ToUpper(err.Error()[:1])+err.Error()[1:])
		}
	}
	return out
}

// eventTypes takes names, or "*" alone for all; absent is all.
func (c *checker) eventTypes(names []string) []payment.EventType {
	if names == nil || len(names) == 1 && names[0] == allEvents {
		return nil
	}
	out := make([]payment.EventType, 0, min(len(names), len(payment.EventTypes)))
	for _, name := range names {
		t := payment.EventType(name)
		switch {
		case name == allEvents:
			c.fail("events", "%q stands alone.", allEvents)
		case !slices.Contains(payment.EventTypes, t):
			c.fail("events", "There is no event type %q.", shorten(name, maxEventType))
		case slices.Contains(out, t):
			c.fail("events", "%s is there twice.", t)
		}
		out = append(out, t)
	}
	if len(out) == 0 {
		c.fail("events", "Name at least one type of event, or %q for all.", allEvents)
	}
	return out
}

func (c *checker) rotate(in *rotateBody) time.Duration {
	seconds := int64(defaultOverlap)
	if in.OverlapSeconds != nil {
		seconds = *in.OverlapSeconds
	}
	if seconds < 0 || seconds > maxOverlap {
		c.fail("overlap_seconds", "The overlap is 0 to %d seconds.", maxOverlap)
	}
	return time.Duration(seconds) * time.Second
}

func (*checker) test(*testBody) struct{} { return struct{}{} }

// resend takes the one endpoint that an event is sent to again; "" = all that
// want it.
func (c *checker) resend(in *resendBody) string {
	if in.Endpoint == nil {
		return ""
	}
	if !payment.IsID(payment.PrefixEndpoint, *in.Endpoint) {
		c.fail("endpoint", "The field is a webhook endpoint's ID.")
	}
	return *in.Endpoint
}
