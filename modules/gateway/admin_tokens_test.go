package gateway

import (
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/access"
)

// TestRevokeTokens revokes by each claim, lists, and refuses what would end nothing.
func TestRevokeTokens(t *testing.T) {
	t.Parallel()
	const idp = "https://idp.example"
	o := newOffice(t)
	o.TokenIssuers = map[string]*TokenIssuerConfig{idp: {}}
	if err := o.ground.knowRevoked(t.Context(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	list := func() []access.TokenRevocation {
		t.Helper()
		answer, err := o.do(t, listTokenRevocations, "", nil)
		var out struct{ Data []access.TokenRevocation }
		if err := errors.Join(err, json.Unmarshal(answer, &out)); err != nil || out.Data == nil {
			t.Fatalf("list: %s, %v", answer, err)
		}
		return out.Data
	}
	if got := list(); len(got) != 0 {
		t.Errorf("at first: got %v, want none", got)
	}
	wanted := []access.TokenSelector{
		{Issuer: idp, Claim: access.ByTokenID, Value: "a"},
		{Issuer: idp, Claim: access.BySubject, Value: "a"},
		{Issuer: idp, Claim: access.ByClientID, Value: "a"},
		{Issuer: idp, Claim: access.ByIssuer},
	}
	token := access.TokenNames{Issuer: idp, ID: "a", IssuedAt: time.Now()}
	if err := o.ground.revoked.Check(t.Context(), token); err != nil {
		t.Errorf("before: %v", err)
	}
	for _, s := range wanted {
		answer, err := o.do(t, revokeTokens, "", s)
		var got access.TokenRevocation
		if err := errors.Join(err, json.Unmarshal(answer, &got)); err != nil || got.TokenSelector != s || time.Since(got.RevokedAt).Abs() > time.Minute {
			t.Errorf("revoke %+v: got %s, %v", s, answer, err)
		}
		if err := o.ground.revoked.Check(t.Context(), token); !errors.Is(err, access.ErrTokenRevoked) {
			t.Errorf("after %+v: got %v, want %v", s, err, access.ErrTokenRevoked)
		}
	}
	if got := list(); len(got) != len(wanted) {
		t.Errorf("in the end: got %v, want %d", got, len(wanted))
	}
	if n := strings.Count(o.audited.String(), `"act":"tokens.revoke"`); n != len(wanted) || !strings.Contains(o.audited.String(), `"claim":"client_id","value":"a"`) {
		t.Errorf("audit: got %d acts, want %d, in %s", n, len(wanted), &o.audited)
	}
	for name, s := range map[string]access.TokenSelector{
		"an issuer that is not configured": {Issuer: "https://idp.example/", Claim: access.ByTokenID, Value: "a"},
		"no value":                         {Issuer: idp, Claim: access.BySubject},
		"no claim":                         {Issuer: idp, Value: "a"},
	} {
		if answer, err := o.do(t, revokeTokens, "", s); !errors.Is(err, errRequest) {
			t.Errorf("%s: got %s, %v; want %v", name, answer, err, errRequest)
		}
	}
	if got := list(); len(got) != len(wanted) {
		t.Errorf("after what was refused: got %v, want %d", got, len(wanted))
	}
}
