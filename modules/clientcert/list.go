package clientcert

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"
)

// maxListBytes bounds a file or an answer with revocation lists: some 200,000
// certificates.
const maxListBytes = 8 << 20

// maxSigners bounds for how many authorities of one name a list remembers whether
// they signed it.
const maxSigners = 64

// list is one revocation list of an authority (RFC 5280 §5).
type list struct {
	crl     *x509.RevocationList
	revoked map[string]struct{} // serial numbers, as serial writes them

	mu      sync.Mutex
	signers map[[sha256.Size]byte]bool // by certificate: whether it signed the list
}

func serial(n *big.Int) string { return n.Text(62) }

// parseLists reads one list in DER, or any number of them in PEM.
func parseLists(data []byte) ([]*list, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN ")) {
		l, err := parseList(data)
		if err != nil {
			return nil, err
		}
		return []*list{l}, nil
	}
	var lists []*list
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if len(bytes.TrimSpace(rest)) > 0 {
				return nil, errors.New("there is something beside PEM blocks")
			}
			break
		}
		if block.Type != "X509 CRL" {
			return nil, fmt.Errorf("a PEM block is %.40q, not X509 CRL", block.Type)
		}
		l, err := parseList(block.Bytes)
		if err != nil {
			return nil, err
		}
		lists = append(lists, l)
	}
	if len(lists) == 0 {
		return nil, errors.New("there is no revocation list")
	}
	return lists, nil
}

// parseList reads a list, and refuses one that speaks of only a part of what its
// authority has issued, or for other authorities: such lists say so by critical
// extensions (RFC 5280 §5.2.4, §5.2.5, §5.3.3).
func parseList(der []byte) (*list, error) {
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("not a revocation list: %w", err)
	}
	if weak(crl.SignatureAlgorithm) {
		return nil, fmt.Errorf("the list of %s is signed by %s", crl.Issuer, crl.SignatureAlgorithm)
	}
	if crl.NextUpdate.IsZero() {
		return nil, fmt.Errorf("the list of %s does not say until when it is good", crl.Issuer)
	}
	for _, e := range crl.Extensions {
		if e.Critical {
			return nil, fmt.Errorf("the list of %s is a partial, indirect or delta list: extension %s", crl.Issuer, e.Id)
		}
	}
	l := &list{crl: crl, revoked: make(map[string]struct{}, len(crl.RevokedCertificateEntries)), signers: map[[sha256.Size]byte]bool{}}
	for _, entry := range crl.RevokedCertificateEntries {
		for _, e := range entry.Extensions {
			if e.Critical {
				return nil, fmt.Errorf("the list of %s has an entry with the critical extension %s", crl.Issuer, e.Id)
			}
		}
		l.revoked[serial(entry.SerialNumber)] = struct{}{}
	}
	crl.RevokedCertificateEntries = nil // they are large, and read
	return l, nil
}

// weak tells of signatures that anybody could make by now.
func weak(a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.UnknownSignatureAlgorithm, x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1,
		x509.DSAWithSHA1, x509.DSAWithSHA256:
		return true
	default:
		return false
	}
}

// of tells whether the list is that of an authority: its name and its signature.
func (l *list) of(issuer *x509.Certificate) bool {
	if !bytes.Equal(l.crl.RawIssuer, issuer.RawSubject) {
		return false
	}
	key := sha256.Sum256(issuer.Raw)
	l.mu.Lock()
	defer l.mu.Unlock()
	signed, known := l.signers[key]
	if !known {
		if len(l.signers) >= maxSigners {
			clear(l.signers)
		}
		signed = l.crl.CheckSignatureFrom(issuer) == nil
		l.signers[key] = signed
	}
	return signed
}

// current tells whether the list may be relied upon.
func (l *list) current(now time.Time) bool {
	return !now.Add(skew).Before(l.crl.ThisUpdate) && !now.After(l.crl.NextUpdate)
}

// older tells whether l was made before another list of the same authority.
func (l *list) older(than *list) bool {
	switch {
	case !bytes.Equal(l.crl.RawIssuer, than.crl.RawIssuer) || !bytes.Equal(l.crl.AuthorityKeyId, than.crl.AuthorityKeyId):
		return false
	case l.crl.Number != nil && than.crl.Number != nil:
		return l.crl.Number.Cmp(than.crl.Number) < 0
	default:
		return l.crl.ThisUpdate.Before(than.crl.ThisUpdate)
	}
}

// listed looks a certificate up in the lists of its issuer. Without sources
// nothing is asked.
func (c *Checker) listed(cert, issuer *x509.Certificate, now time.Time) error {
	if len(c.sources) == 0 {
		return nil
	}
	var lapsed *list
	good := false
	for _, s := range c.sources {
		for _, l := range s.lists() {
			if !l.of(issuer) {
				continue
			}
			// A list that has lapsed is no longer believed when it is silent, and is
			// when it speaks.
			if _, found := l.revoked[serial(cert.SerialNumber)]; found {
				return fmt.Errorf("%w: %s, serial %s, is on the list of %s", ErrRevoked, cert.Subject, cert.SerialNumber.Text(16), issuer.Subject)
			}
			if l.current(now) {
				good = true
			} else {
				lapsed = l
			}
		}
	}
	switch {
	case good:
		return nil
	case lapsed != nil:
		return fmt.Errorf("%w: %w", ErrUnsure, lapsed.lapse())
	default:
		return fmt.Errorf("%w: there is no revocation list of %s", ErrUnsure, issuer.Subject)
	}
}

// lapse says when the list is good.
func (l *list) lapse() error {
	return fmt.Errorf("the revocation list of %s is good from %s to %s", l.crl.Issuer,
		l.crl.ThisUpdate.UTC().Format(time.RFC3339), l.crl.NextUpdate.UTC().Format(time.RFC3339))
}
