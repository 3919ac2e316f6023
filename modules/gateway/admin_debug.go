package gateway

import (
	"errors"
	"expvar"
	"net/http"
	"net/http/pprof" // it registers with http.DefaultServeMux, which no server of ours serves

	"github.com/caddyserver/caddy/v2"
)

// Caddy's admin endpoint serves pprof and expvar to whoever reaches it: the command
// line, stacks, and memory, in which there are keys and card numbers. There is no
// option against that. But what is more specific goes first in a ServeMux, so we
// stand before it, and serve the same only where the option profiling says so.

// debugMethods are those that HTTP and its servers know. (GET is HEAD as well.)
var debugMethods = []string{
	http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodTrace, http.MethodConnect,
}

// debugRoutes are all that is under /debug/.
func debugRoutes() []caddy.AdminRoute {
	routes := []caddy.AdminRoute{
		{Pattern: "/debug/pprof/{$}", Handler: profiling(pprof.Index)},
		{Pattern: "/debug/pprof/{profile}", Handler: profiling(pprof.Index)},
		{Pattern: "/debug/pprof/{profile}/{rest...}", Handler: profiling(http.NotFound)},
	}
	// Caddy has these very patterns, and a method makes one more specific.
	for path, serve := range map[string]http.HandlerFunc{
		"/debug/pprof/cmdline": pprof.Cmdline, "/debug/pprof/profile": pprof.Profile, "/debug/pprof/symbol": pprof.Symbol,
		"/debug/pprof/trace": pprof.Trace, "/debug/vars": expvar.Handler().ServeHTTP,
	} {
		for _, method := range debugMethods {
			routes = append(routes, caddy.AdminRoute{Pattern: method + " " + path, Handler: profiling(serve)})
		}
	}
	return routes
}

// profiling serves where the app that runs allows it.
func profiling(serve http.HandlerFunc) caddy.AdminHandler {
	return caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if app, err := Running(); err != nil || !app.Profiling {
			return apiError(http.StatusNotFound, errors.New("there is nothing under /debug/ without the option profiling"))
		}
		serve(w, r)
		return nil
	})
}
