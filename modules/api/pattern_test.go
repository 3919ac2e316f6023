package api_test

import (
	"testing"

	"github.com/purser-pay/purser/modules/api"
)

func TestPattern(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/v1/payments":            "/v1/payments",
		"/v1/payments/x":          "/v1/payments/{id}",
		"/v1/payments/%2e/cancel": "/v1/payments/{id}/cancel",
		"/readyz":                 "/readyz",
		"/v1/payments/":           api.Unrouted,
		"/v1/payments/a/b/c":      api.Unrouted,
		"":                        api.Unrouted,
		"/../etc/passwd":          api.Unrouted,
	} {
		if got := api.Pattern(path); got != want {
			t.Errorf("Pattern(%q) = %q, want %q", path, got, want)
		}
	}
}
