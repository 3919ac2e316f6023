package proxy

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/purser-pay/purser/modules/connector"
)

// header is one field that comes back from the PSP, and what it is called then.
type header struct{ theirs, ours string }

// own are the fields of every answer of the gateway. What the PSP says under
// such a name comes back as Psp-….
var own = []string{"Cache-Control", "Date", "Ratelimit", "Ratelimit-Policy", "Request-Id", "Server-Timing"}

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
	if f.call.RequestID != "" {
		h["Request-Id"] = []string{f.call.RequestID}
	}
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	h["Server-Timing"] = []string{timing(now.Sub(f.call.Began), f.psp)}
}

var noStore, noSniff = []string{"no-store"}, []string{"nosniff"}

// timing is the Server-Timing of an answer whose header has just come, in
// milliseconds.
func timing(total, psp time.Duration) string {
	b := make([]byte, 0, 48)
	b = append(b, "total;dur="...)
	b = strconv.AppendFloat(b, float64(total.Microseconds())/1000, 'f', 2, 64)
	b = append(b, ", psp;dur="...)
	b = strconv.AppendFloat(b, float64(psp.Microseconds())/1000, 'f', 2, 64)
	return string(b)
}

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
