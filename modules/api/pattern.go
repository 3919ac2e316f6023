package api

import "strings"

// Unrouted is the pattern of every path that the door does not serve.
const Unrouted = "other"

// Pattern returns the pattern of the route that a path, escaped as it came,
// leads to, such as "/v1/payments/{id}". There are as many patterns as routes,
// whatever callers make up: it is fit for the label of a metric.
func Pattern(path string) string {
	if strings.HasPrefix(path, proxyPath) {
		return proxyRoute
	}
	for i := range routes {
		if _, ok := routes[i].match(path); ok {
			return routes[i].pattern
		}
	}
	return Unrouted
}
