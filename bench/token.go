package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	issuer   = "https://idp.example"
	audience = "bench"
)

// newToken makes an issuer with one key, whose key set goes into a file, and a token
// of it (ES256) that may pass calls through for a merchant.
func newToken(keySet, merchant string) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return "", err
	}
	half := (len(point) - 1) / 2 // of 4, x, y (SEC 1 §2.3.3)
	b64 := base64.RawURLEncoding.EncodeToString
	public, err := json.Marshal(map[string]any{"keys": []map[string]string{{
		"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "bench", "x": b64(point[1 : 1+half]), "y": b64(point[1+half:]),
	}}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(keySet, public, 0o600); err != nil {
		return "", err
	}
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": issuer, "aud": audience, "sub": "bench", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"merchant": merchant, "mode": "test", "scope": "proxy:use",
	})
	token.Header["kid"] = "bench"
	return token.SignedString(key)
}
