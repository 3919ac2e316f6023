package gateway

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// A reload ends the servers of the old configuration. They answer what they have
// begun; but they close connections that are idle, net/http drops what it reads after
// that, and a client that sends at that very moment cannot know whether its request
// was read. It is a matter of milliseconds, in which a busy gateway has some requests.
// So between the start of the new servers and the end of the old ones there is a
// handover. It begins with the sockets, which belong to the new servers from then on:
// an old one has read by its end whatever was sent on the connections that it took.
// And with each answer the old ones tell clients that the connection ends there.
const (
	// handover is how long that takes: a busy client has had an answer by then on each
	// of its connections.
	handover = 400 * time.Millisecond
	// handoverMost is how long the old servers go on like that where the new
	// configuration does not follow after all.
	handoverMost = 3 * time.Second
)

// Handover is the way of a configuration's clients to the one that follows.
type Handover struct {
	leaving atomic.Int64 // Unix nanoseconds: until then clients are told to come again
	servers func() *caddyhttp.App
}

// handovers are those of the configurations that are there, one each: by Caddy's
// events app, of which each has one as well.
var handovers = caddy.NewUsagePool()

// serving is that of the configuration that started last; nil = there is none.
var serving atomic.Pointer[Handover]

// JoinHandover returns the handover of the configuration that is being provisioned,
// and has the server that is, if any, listen on sockets that outlive reloads. The
// handover takes place once everything of the configuration has started, while the
// one before it still serves. It ends with ctx.
func JoinHandover(ctx caddy.Context) (*Handover, error) {
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && server != nil {
		keepSockets(server)
	}
	v, err := ctx.App("events")
	if err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	events, ok := v.(*caddyevents.App)
	if !ok {
		return nil, fmt.Errorf("the events app is a %T", v)
	}
	h, err := pooled(handovers, events, func() (*Handover, error) {
		h := &Handover{servers: func() *caddyhttp.App { return serversOf(ctx) }}
		return h, events.On("started", startedHandler{h.relieve})
	})
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = drop(handovers, events) }) // it destructs without an error
	return h, nil
}

// serversOf are the servers of a configuration that has been provisioned; nil = it has
// none.
func serversOf(ctx caddy.Context) *caddyhttp.App {
	v, err := ctx.AppIfConfigured("http")
	servers, ok := v.(*caddyhttp.App)
	if err != nil || !ok {
		return nil
	}
	return servers
}

// Destruct ends the handover with its configuration.
func (h *Handover) Destruct() error {
	serving.CompareAndSwap(h, nil)
	return nil
}

// startedHandler hears that a configuration has started.
type startedHandler struct{ then func() }

// Handle implements [caddyevents.Handler].
func (h startedHandler) Handle(context.Context, caddy.Event) error {
	h.then()
	return nil
}

// relieve takes over from the configuration that runs, has it send its clients away,
// and gives it the time to.
func (h *Handover) relieve() {
	passSockets()
	old := serving.Swap(h)
	if old == nil || old == h {
		return
	}
	old.leaving.Store(time.Now().Add(handoverMost).UnixNano())
	spareDelay(old.servers())
	timer := time.NewTimer(handover)
	defer timer.Stop()
	<-timer.C
}

// Leaving tells that another configuration is about to take over, so that an answer
// should end its connection.
func (h *Handover) Leaving() bool {
	until := h.leaving.Load()
	return until != 0 && time.Now().UnixNano() < until
}

// spareDelay takes Caddy's shutdown_delay off servers that end because of a reload,
// and whose addresses all go on: the delay is for balancers, which have nothing to
// learn then. Caddy does so by itself, but it does not know of our sockets.
func spareDelay(old *caddyhttp.App) {
	if old == nil {
		return
	}
	for _, server := range old.Servers {
		for _, text := range server.Listen {
			address, err := caddy.ParseNetworkAddress(text)
			if err != nil {
				return
			}
			if slices.ContainsFunc(address.Expand(), func(one caddy.NetworkAddress) bool { return !stays(one) }) {
				return
			}
		}
	}
	old.ShutdownDelay = 0
}
