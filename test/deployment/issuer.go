package deployment

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// issuerName is whose access tokens the nodes take.
const issuerName = "https://idp.example"

// tokenAudience is what its tokens call the gateway.
const tokenAudience = "payments-api"

// makeIssuer makes the key of an issuer of access tokens, and its key set.
func (d *Deployment) makeIssuer() (err error) {
	if d.issuer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return fmt.Errorf("make issuer: %w", err)
	}
	point, err := d.issuer.PublicKey.Bytes() // 4, x and y
	if err != nil {
		return fmt.Errorf("make issuer: %w", err)
	}
	half := len(point) / 2
	b64 := base64.RawURLEncoding.EncodeToString
	set := fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","use":"sig","alg":"ES256","kid":"a","x":%q,"y":%q}]}`,
		b64(point[1:1+half]), b64(point[1+half:]))
	return os.WriteFile(d.keySet(), []byte(set), 0o600)
}

func (d *Deployment) keySet() string { return d.Path("config", "jwks.json") }

// NewToken makes an access token for the merchant of [Deployment.Key], good for ten
// minutes.
func (d *Deployment) NewToken(id string) (string, error) {
	now := time.Now()
	t := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": issuerName, "aud": tokenAudience, "sub": "till", "jti": id, "iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
		"merchant": d.merchant, "mode": "test", "scope": "account:read",
	})
	t.Header["kid"] = "a"
	return t.SignedString(d.issuer)
}

// RevokeToken ends the token of an ID, at the first node.
func (d *Deployment) RevokeToken(ctx context.Context, id string) error {
	var made struct{ Value string }
	err := d.command(ctx, &made, "tokens", "revoke", "--issuer", issuerName, "--jti", id)
	if err == nil && made.Value != id {
		err = fmt.Errorf("%q was revoked, not %q", made.Value, id)
	}
	return err
}
