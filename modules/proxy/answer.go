package proxy

import (
	"net/http"
	"net/url"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// header is one field that comes back from the PSP, and what it is called then.
type header struct{ theirs, ours string }

// own are the fields of every answer of the gateway. What the PSP says under
// such a name comes back as Psp-….
var own = []string{"Cache-Control", "Date", "Ratelimit", "Ratelimit-Policy", "Request-Id", payment.HeaderTiming}

// answered lists what comes back by a connector's pass.
func answered(pass connector.Pass) []header {
	var list []header
	for _, name := range pass.Response() {
		h := header{name, name}
		for _, o := range own {
			if name == o {
				h.ours = "Psp-" + name
			}
		}
		list = append(list, h)
	}
	return list
}

// answer writes the answer's header, up to its status.
func (f *flight) answer(resp *http.Response, now time.Time) {
	h := f.Header()
	for _, name := range f.way.headers {
		v := resp.Header[name.theirs]
		if len(v) == 0 {
			continue
		}
		if name.theirs == "Location" {
			f.location(h, v[0])
			continue
		}
		h[name.ours] = v
	}
	if id := f.call.RequestID; id != "" && (len(h["Request-Id"]) != 1 || h["Request-Id"][0] != id) {
		h["Request-Id"] = []string{id}
	}
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	// The answer's header has just come; its body may take longer.
	h[payment.HeaderTiming] = []string{payment.ServerTiming(now.Sub(f.call.Began), f.psp)}
}

var noStore, noSniff = []string{"no-store"}, []string{"nosniff"}

// location keeps a Location that leads to the PSP. A relative one is written
// out: the caller would take it for an address of the gateway. One that leads
// elsewhere is left out.
func (f *flight) location(h http.Header, where string) {
	ref, err := url.Parse(where)
	if err != nil {
		return
	}
	asked, err := url.PathUnescape(f.call.Path)
	if err != nil {
		return
	}
	base := f.way.Base()
	base.Path, base.RawPath = base.Path+asked, base.EscapedPath()+f.call.Path
	to := base.ResolveReference(ref)
	if !f.way.Theirs(to) {
		return
	}
	if !ref.IsAbs() {
		where = to.String()
	}
	h["Location"] = []string{where}
}
