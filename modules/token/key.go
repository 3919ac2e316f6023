package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
)

const (
	minModulus = 2048 // bits of an RSA key (RFC 7518 §3.3)
	// maxModulus keeps a verification under a millisecond.
	maxModulus = 8192 // bits

	rsaKey = "RSA"
	ecKey  = "EC"
	okpKey = "OKP"
)

var (
	// errSecretKey refuses a key that whoever verifies may not have: with it one
	// could sign.
	errSecretKey = errors.New("a private or symmetric key")
	errForeign   = errors.New("a key for something else than our algorithms")
	errKey       = errors.New("a malformed or weak key")
)

// key is a public key of a JWK (RFC 7517) that can verify one of our algorithms.
type key struct {
	id     string // "" = none
	kind   string // kty
	alg    string // the only algorithm that it is for; "" = any that its kind fits
	public any    // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey, as kind says
	// thumbprint is that of RFC 7638 with SHA-256, in base64url.
	thumbprint string
}

// kinds is which keys an algorithm takes. There is one curve for each kind that
// has curves, so that the kind says all.
var kinds = map[string]string{"RS256": rsaKey, "PS256": rsaKey, "ES256": ecKey, "EdDSA": okpKey}

// fits tells whether the key may verify an algorithm.
func (k *key) fits(alg string) bool {
	return k.kind == kinds[alg] && (k.alg == "" || k.alg == alg)
}

// parseKey reads a JWK. It fails with errSecretKey on one that is not public,
// with errForeign on a sound one that is not for us, and with errKey (wrapped).
func parseKey(jwk object) (*key, error) {
	k := &key{}
	var err error
	if k.kind, _, err = jwk.text("kty"); err != nil {
		return nil, fmt.Errorf("%w: %w", errKey, err)
	}
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} {
		if _, there := jwk[name]; there {
			return nil, errSecretKey
		}
	}
	if k.kind == "oct" {
		return nil, errSecretKey
	}
	if k.id, err = jwk.label("kid", maxKeyID); err != nil {
		return nil, fmt.Errorf("%w: %w", errKey, err)
	}
	if err := k.purpose(jwk); err != nil {
		return nil, err
	}
	switch k.kind {
	case rsaKey:
		err = k.readRSA(jwk)
	case ecKey:
		err = k.readEC(jwk)
	case okpKey:
		err = k.readOKP(jwk)
	default:
		err = errForeign
	}
	if err != nil {
		return nil, err
	}
	return k, nil
}

// purpose reads use, key_ops and alg (RFC 7517 §4.2 to §4.4).
func (k *key) purpose(jwk object) error {
	use, there, err := jwk.text("use")
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errKey, err)
	case there && use != "sig":
		return errForeign
	}
	if _, there := jwk["key_ops"]; there {
		ops, err := jwk.texts("key_ops")
		if err != nil {
			return fmt.Errorf("%w: %w", errKey, err)
		}
		if !slices.Contains(ops, "verify") {
			return errForeign
		}
	}
	k.alg, there, err = jwk.text("alg")
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errKey, err)
	case there && methods[k.alg] == nil, there && kinds[k.alg] != k.kind:
		return errForeign
	}
	return nil
}

// readRSA reads n and e (RFC 7518 §6.3.1): 2048 to 8192 bits, an odd exponent
// from 3, both without leading zeros, and no key of ROCA's.
func (k *key) readRSA(jwk object) error {
	n, err := jwk.octets("n")
	if err != nil {
		return err
	}
	e, err := jwk.octets("e")
	if err != nil {
		return err
	}
	if len(n) == 0 || len(e) == 0 || len(e) > 4 || n[0] == 0 || e[0] == 0 {
		return fmt.Errorf("%w: n or e is empty, too long, or begins with zeros", errKey)
	}
	modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e).Int64()
	switch bits := modulus.BitLen(); {
	case bits < minModulus || bits > maxModulus:
		return fmt.Errorf("%w: RSA of %d bits, not %d to %d", errKey, bits, minModulus, maxModulus)
	case modulus.Bit(0) == 0 || exponent < 3 || exponent%2 == 0 || exponent > math.MaxInt32:
		return fmt.Errorf("%w: n or e is not that of RSA", errKey)
	case isROCA(modulus):
		return fmt.Errorf("%w: its factors can be computed (CVE-2017-15361)", errKey)
	}
	k.public = &rsa.PublicKey{N: modulus, E: int(exponent)}
	k.setThumbprint(`{"e":"` + base64URL.EncodeToString(e) + `","kty":"RSA","n":"` + base64URL.EncodeToString(n) + `"}`)
	return nil
}

// readEC reads a point of P-256 (RFC 7518 §6.2.1), and finds out whether it is
// one.
func (k *key) readEC(jwk object) error {
	if err := jwk.curve("P-256"); err != nil {
		return err
	}
	x, err := jwk.octets("x")
	if err != nil {
		return err
	}
	y, err := jwk.octets("y")
	if err != nil {
		return err
	}
	if len(x) != 32 || len(y) != 32 {
		return fmt.Errorf("%w: a coordinate is not of 32 bytes", errKey)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		return fmt.Errorf("%w: not a point of the curve", errKey)
	}
	k.public = public
	k.setThumbprint(`{"crv":"P-256","kty":"EC","x":"` + base64URL.EncodeToString(x) + `","y":"` + base64URL.EncodeToString(y) + `"}`)
	return nil
}

// readOKP reads a key of Ed25519 (RFC 8037 §2).
func (k *key) readOKP(jwk object) error {
	if err := jwk.curve("Ed25519"); err != nil {
		return err
	}
	x, err := jwk.octets("x")
	if err != nil {
		return err
	}
	if len(x) != ed25519.PublicKeySize {
		return fmt.Errorf("%w: x is not of 32 bytes", errKey)
	}
	k.public = ed25519.PublicKey(x)
	k.setThumbprint(`{"crv":"Ed25519","kty":"OKP","x":"` + base64URL.EncodeToString(x) + `"}`)
	return nil
}

func (k *key) setThumbprint(members string) {
	sum := sha256.Sum256([]byte(members))
	k.thumbprint = base64.RawURLEncoding.EncodeToString(sum[:])
}

// curve checks crv.
func (o object) curve(want string) error {
	got, _, err := o.text("crv")
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errKey, err)
	case got != want:
		return errForeign
	}
	return nil
}

// octets returns a member of a JWK that is bytes in base64url.
func (o object) octets(name string) ([]byte, error) {
	s, there, err := o.text(name)
	if err != nil || !there {
		return nil, fmt.Errorf("%w: %s is missing or not a string", errKey, name)
	}
	b, err := decode64(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %s is not canonical base64url", errKey, name)
	}
	return b, nil
}

// rocaPrimes are small odd primes. The library of CVE-2017-15361 made primes of
// the form k·M + 65537^a mod M, where M is the product of the first primes; so
// a modulus of its making is a power of 65537 modulo each of them. Any other
// modulus is with a chance of less than 2^-27.
var rocaPrimes = []uint64{
	3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83,
	89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
}

// isROCA tells whether a modulus comes from the library of CVE-2017-15361.
func isROCA(n *big.Int) bool {
	var prime, rest big.Int
	for _, p := range rocaPrimes {
		want := rest.Mod(n, prime.SetUint64(p)).Uint64()
		power, found := uint64(1), false
		for range p { // the powers repeat after p-1 of them at most
			found = found || power == want
			power = power * 65537 % p
		}
		if !found {
			return false
		}
	}
	return true
}
