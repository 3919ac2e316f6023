package gateway

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/store"
)

func listTokenRevocations(c call) error {
	all, err := allRevoked(c.ground.store)(c.r.Context())
	if err != nil {
		return err
	}
	return c.list(append([]access.TokenRevocation{}, all...), "")
}

// revokeTokens ends tokens of an issuer that is configured: a revocation under a
// mistyped name would end nothing, and nobody would notice.
func revokeTokens(c call) error {
	var in access.TokenSelector
	if err := c.read(&in); err != nil {
		return err
	}
	if err := in.Check(); err != nil {
		return fmt.Errorf("%w: %w", errRequest, err)
	}
	if _, known := c.TokenIssuers[in.Issuer]; !known {
		return fmt.Errorf("%w: no jwt %.255q is configured", errRequest, in.Issuer)
	}
	if c.ground.revoked.Len() >= access.MaxTokenRevocations {
		return fmt.Errorf("%w: there are %d revocations already; revoke by sub, client_id or iss", errRequest, access.MaxTokenRevocations)
	}
	revocation := access.TokenRevocation{TokenSelector: in, RevokedAt: now()}
	err := c.ground.store.Update(c.r.Context(), func(tx store.Tx) error { return tx.PutTokenRevocation(revocation) })
	if err == nil {
		err = c.ground.revoked.Refresh(c.r.Context())
	}
	c.audit(actRevokeTokens, in.Issuer, err, slog.String("claim", string(in.Claim)), slog.String("value", in.Value))
	if err != nil {
		return err
	}
	return c.write(http.StatusCreated, revocation)
}
