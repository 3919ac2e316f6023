package token

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
)

// skew is how far an issuer's clock may be off: a token is taken that much
// before its nbf and iat and after its exp.
const skew = access.ClockSkew

// Identity is who a token proved to be, and what for. Its Scopes belong to all
// who hold it: they are not to be changed.
type Identity struct {
	Issuer   string
	Subject  string // sub; "" = none, as for the next two
	ClientID string // client_id
	ID       string // jti
	// Merchant is one that the issuer may speak for. Whether there is such a
	// merchant is for others to say.
	Merchant string
	Mode     payment.Mode
	// Scopes are those that we know, in their order in [access.Scopes], each once.
	// A token may have those of other services, which are passed over. A token
	// without any may do nothing.
	Scopes   []access.Scope
	IssuedAt time.Time // iat; zero = it does not say
	Expires  time.Time // exp
	// CertificateThumbprint, where not "", binds the token to the client
	// certificate whose DER has this SHA-256, in base64url (RFC 8705 §3.1).
	CertificateThumbprint string
	// ProofKey, where not "", binds the token to the key of this thumbprint, which
	// a DPoP proof must be signed with (RFC 9449 §6.1). See [Verifier.VerifyProof].
	ProofKey string
}

// span is when a verified token is good.
type span struct{ from, until time.Time }

// identify checks the claims of a token whose signature is right.
func (is *Issuer) identify(c *compact, claims object, now time.Time) (Identity, span, error) {
	id := Identity{Issuer: is.Name}
	if err := is.checkType(c.header); err != nil {
		return id, span{}, err
	}
	if err := is.checkAudience(claims); err != nil {
		return id, span{}, err
	}
	good, err := is.readDates(claims, &id, now)
	if err != nil {
		return id, span{}, err
	}
	for _, label := range []struct {
		name string
		to   *string
	}{{"sub", &id.Subject}, {"client_id", &id.ClientID}, {"jti", &id.ID}} {
		if *label.to, err = claims.label(label.name, maxText); err != nil {
			return id, span{}, err
		}
	}
	if err := is.readRights(claims, &id); err != nil {
		return id, span{}, err
	}
	return id, good, id.readConfirmation(claims)
}

func (is *Issuer) checkType(header object) error {
	typ, there, err := header.text("typ")
	if err != nil {
		return err
	}
	if there && typ == "" || !slices.ContainsFunc(is.Types, func(t string) bool { return strings.EqualFold(t, typ) }) {
		return errors.New("typ is none of the issuer's types")
	}
	return nil
}

// checkAudience wants one of ours in aud, which is a string or an array of them
// (RFC 7519 §4.1.3).
func (is *Issuer) checkAudience(claims object) error {
	var (
		list []string
		err  error
	)
	switch v := claims["aud"]; v.Kind() {
	case jsontext.KindBeginArray:
		list, err = claims.texts("aud")
	default: // and where there is none, an empty string
		list = make([]string, 1)
		list[0], _, err = claims.text("aud")
	}
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(a string) bool { return slices.Contains(is.Audiences, a) }) {
		return errors.New("aud has none of the audiences")
	}
	return nil
}

// readDates checks exp, nbf and iat. A token without iat has lived since its nbf,
// or else since now.
func (is *Issuer) readDates(claims object, id *Identity, now time.Time) (span, error) {
	dates := map[string]time.Time{}
	for _, name := range []string{"exp", "nbf", "iat"} {
		at, err := claims.date(name)
		if err != nil {
			return span{}, err
		}
		dates[name] = at
	}
	exp, nbf, iat := dates["exp"], dates["nbf"], dates["iat"]
	if exp.IsZero() {
		return span{}, errors.New("exp is missing")
	}
	good := span{until: exp.Add(skew)}
	for _, at := range []time.Time{nbf, iat} {
		if from := at.Add(-skew); !at.IsZero() && from.After(good.from) {
			good.from = from
		}
	}
	born := iat
	if born.IsZero() {
		born = nbf
	}
	backwards := !born.IsZero() && !exp.After(born)
	if born.IsZero() {
		born = now
	}
	switch {
	case !now.Before(good.until):
		return span{}, errors.New("it has expired")
	case now.Before(good.from):
		return span{}, errors.New("nbf or iat lies ahead")
	case backwards:
		return span{}, errors.New("it expires before it begins")
	case exp.Sub(born) > is.MaxLifetime:
		return span{}, fmt.Errorf("it lives longer than the %v that max_lifetime allows", is.MaxLifetime)
	}
	id.IssuedAt, id.Expires = iat, exp
	return good, nil
}

// readRights reads merchant, mode and scopes.
func (is *Issuer) readRights(claims object, id *Identity) error {
	merchant, _, err := claims.text(is.MerchantClaim)
	switch {
	case err != nil:
		return err
	case !payment.IsID(payment.PrefixMerchant, merchant):
		return fmt.Errorf("%s is not the ID of a merchant", is.MerchantClaim)
	case !slices.Contains(is.Merchants, "*") && !slices.Contains(is.Merchants, merchant):
		return fmt.Errorf("%s is none of the issuer's merchants", is.MerchantClaim)
	}
	mode, _, err := claims.text(is.ModeClaim)
	switch {
	case err != nil:
		return err
	case !slices.Contains(is.Modes, payment.Mode(mode)):
		return fmt.Errorf("%s is none of the issuer's modes", is.ModeClaim)
	}
	id.Merchant, id.Mode = merchant, payment.Mode(mode)

	var granted []string
	switch v := claims[is.ScopesClaim]; v.Kind() {
	case jsontext.KindBeginArray:
		granted, err = claims.texts(is.ScopesClaim)
	default: // RFC 6749 §3.3
		var list string
		list, _, err = claims.text(is.ScopesClaim)
		granted = strings.Split(list, " ")
	}
	if err != nil {
		return err
	}
	for _, s := range access.Scopes {
		if slices.Contains(granted, string(s)) {
			id.Scopes = append(id.Scopes, s)
		}
	}
	return nil
}

// readConfirmation reads cnf (RFC 7800). One that we could not enforce would make
// a bound token one for whoever finds it, and is refused; so is an empty one.
func (id *Identity) readConfirmation(claims object) error {
	raw, there := claims["cnf"]
	if !there {
		return nil
	}
	cnf, err := parseObject(raw)
	if err != nil || len(cnf) == 0 {
		return errors.New("cnf is not an object with members")
	}
	for name := range cnf {
		thumbprint, _, err := cnf.text(name)
		if err != nil {
			return errors.New("cnf has a member that is not a string")
		}
		if b, err := decode64(thumbprint); err != nil || len(b) != 32 {
			return errors.New("cnf has a member that is not a SHA-256 in base64url")
		}
		switch name {
		case "x5t#S256":
			id.CertificateThumbprint = thumbprint
		case "jkt":
			id.ProofKey = thumbprint
		default:
			return errors.New("cnf has a member that we do not enforce")
		}
	}
	return nil
}
