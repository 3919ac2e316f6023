package pursercmd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/mail"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// The files of a folder of certificates; the development gateway's folder has the
// first two as well.
const (
	fileCACert     = "ca.crt"
	fileCAKey      = "ca.key"
	fileCAList     = "ca.crl"
	fileServerCert = "server.crt"
	fileServerKey  = "server.key"
	fileClientCert = "client.crt"
	fileClientKey  = "client.key"
)

// maxDays bounds how long a certificate or a list lasts.
const maxDays = 3650

// certsCommand needs no gateway: it works on folders alone.
func certsCommand(parent *cobra.Command) {
	parent.Long = `Makes certificates for development, with keys on the curve P-256: an authority,
certificates of servers and of clients, and the authority's revocation list. The
authority's key lies unencrypted beside its certificate; for production use an
authority that guards its key.`
	parent.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usageError("%s has no command %q", cmd.Name(), args[0])
		}
		return cmd.Help()
	}
	strict(parent)
	for _, build := range []func(*certsOptions) *cobra.Command{certsCA, certsServer, certsClient, certsRevoke, certsCRL} {
		o := new(certsOptions)
		cmd := build(o)
		cmd.Flags().StringVar(&o.out, "out", "", "the folder to write to; needed")
		strict(cmd)
		parent.AddCommand(cmd)
	}
}

// certsOptions are what the commands have in common.
type certsOptions struct {
	out, ca string
	days    int
	force   bool
}

// fresh adds the flags of commands that make a new pair of files.
func (o *certsOptions) fresh(cmd *cobra.Command, days int) {
	cmd.Flags().IntVar(&o.days, "days", days, "how long it is valid")
	cmd.Flags().BoolVar(&o.force, "force", false, "replace what is there")
}

// signed adds the flag of commands that need an authority.
func (o *certsOptions) signed(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.ca, "ca", "", "the authority's folder, such as purser-data of purser dev; the folder of --out if it is not given")
}

// check makes sense of the options.
func (o *certsOptions) check() error {
	if o.out == "" {
		return usageError("--out is needed")
	}
	if o.days < 1 || o.days > maxDays {
		return usageError("--days is 1 … %d", maxDays)
	}
	if o.ca == "" {
		o.ca = o.out
	}
	return os.MkdirAll(o.out, 0o700)
}

// places returns the two files of a pair, unless one is there already.
func (o *certsOptions) places(certFile, keyFile string) (cert, key string, err error) {
	cert, key = filepath.Join(o.out, certFile), filepath.Join(o.out, keyFile)
	for _, file := range []string{cert, key} {
		_, err := os.Lstat(file)
		switch {
		case err == nil && !o.force:
			return "", "", fmt.Errorf("%s is there already; --force replaces it", file)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return "", "", err
		}
	}
	return cert, key, nil
}

func certsCA(o *certsOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use: "ca --out DIR [--name NAME] [--days N] [--force]", Short: "Makes an authority: ca.crt and ca.key", Args: cobra.NoArgs,
	}
	name := cmd.Flags().String("name", "Purser development CA", "its common name")
	o.fresh(cmd, maxDays)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := o.check(); err != nil {
			return err
		}
		now := time.Now()
		template := &x509.Certificate{
			Subject: pkix.Name{CommonName: *name}, NotBefore: now.Add(-backdating), NotAfter: now.AddDate(0, 0, o.days),
			IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		}
		_, err := o.make(cmd, fileCACert, fileCAKey, template, nil)
		return err
	}
	return cmd
}

func certsServer(o *certsOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "server --out DIR [--ca DIR] [--hosts HOST,...] [--days N] [--force]",
		Short: "Makes a server's certificate: server.crt and server.key", Args: cobra.NoArgs,
	}
	hosts := cmd.Flags().StringSlice("hosts", []string{"localhost", "127.0.0.1", "::1"}, "its names and addresses")
	o.fresh(cmd, int(serverLife/(24*time.Hour)))
	o.signed(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if len(*hosts) == 0 {
			return usageError("--hosts names no host")
		}
		if err := o.check(); err != nil {
			return err
		}
		template := &x509.Certificate{
			Subject: pkix.Name{CommonName: (*hosts)[0]}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		if len(template.Subject.CommonName) > maxCommonName {
			template.Subject.CommonName = ""
		}
		for _, h := range *hosts {
			if ip := net.ParseIP(h); ip != nil {
				template.IPAddresses = append(template.IPAddresses, ip)
			} else {
				template.DNSNames = append(template.DNSNames, h)
			}
		}
		_, err := o.leaf(cmd, fileServerCert, fileServerKey, template)
		return err
	}
	return cmd
}

// maxCommonName is the bound of RFC 5280's appendix A.
const maxCommonName = 64

func certsClient(o *certsOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "client --out DIR [--ca DIR] [--name NAME] [--uri URI]... [--dns NAME]... [--email ADDRESS]... [--days N] [--force]",
		Short: "Makes a client's certificate: client.crt and client.key", Args: cobra.NoArgs,
	}
	name := cmd.Flags().String("name", "client", "its common name")
	uris := cmd.Flags().StringArray("uri", nil, "a URI among its names, such as spiffe://shop/till; may be given again")
	dns := cmd.Flags().StringArray("dns", nil, "a DNS name among its names; may be given again")
	emails := cmd.Flags().StringArray("email", nil, "an address among its names; may be given again")
	o.fresh(cmd, 90)
	o.signed(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *name == "" || len(*name) > maxCommonName {
			return usageError("--name has 1 to %d characters", maxCommonName)
		}
		template := &x509.Certificate{
			Subject: pkix.Name{CommonName: *name}, DNSNames: *dns, EmailAddresses: *emails,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		for _, text := range *uris {
			u, err := url.Parse(text)
			if err != nil || u.Scheme == "" || u.String() != text {
				return usageError("--uri %q is no URI with a scheme", text)
			}
			template.URIs = append(template.URIs, u)
		}
		for _, text := range *emails {
			if a, err := mail.ParseAddress(text); err != nil || a.Address != text {
				return usageError("--email %q is no address", text)
			}
		}
		if err := o.check(); err != nil {
			return err
		}
		cert, err := o.leaf(cmd, fileClientCert, fileClientKey, template)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "\nIn client_certificates, one of these lines makes it a merchant's:\n%s", mapLines(cert))
		return err
	}
	return cmd
}

// mapLines are what a configuration may know a certificate by.
func mapLines(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	matches := []string{"sha256:" + hex.EncodeToString(sum[:])}
	for _, u := range cert.URIs {
		matches = append(matches, "uri:"+u.String())
	}
	for _, d := range cert.DNSNames {
		matches = append(matches, "dns:"+d)
	}
	for _, e := range cert.EmailAddresses {
		matches = append(matches, "email:"+e)
	}
	var b strings.Builder
	for _, m := range matches {
		fmt.Fprintf(&b, "\tmap %s MERCHANT test\n", m)
	}
	return b.String()
}

// leaf makes a certificate that the authority signs.
func (o *certsOptions) leaf(cmd *cobra.Command, certFile, keyFile string, template *x509.Certificate) (*x509.Certificate, error) {
	ca, err := loadAuthority(o.ca)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template.NotBefore, template.NotAfter = now.Add(-backdating), now.AddDate(0, 0, o.days)
	if end := ca.certificate.NotAfter; template.NotAfter.After(end) {
		template.NotAfter = end
	}
	if start := ca.certificate.NotBefore; template.NotBefore.Before(start) {
		template.NotBefore = start
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	return o.make(cmd, certFile, keyFile, template, ca)
}

// make makes a key and a certificate for it, signed by ca, or by itself where that
// is nil.
func (o *certsOptions) make(cmd *cobra.Command, certFile, keyFile string, template *x509.Certificate, ca *authority) (*x509.Certificate, error) {
	certPath, keyPath, err := o.places(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if template.SerialNumber, err = serialNumber(); err != nil {
		return nil, err
	}
	parent := &authority{template, key}
	if ca != nil {
		parent = ca
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.certificate, key.Public(), parent.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if err := writePair(certPath, keyPath, der, key); err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s and %s: %s, valid until %s\n", certPath, keyPath, cert.Subject, cert.NotAfter.UTC().Format(time.RFC3339))
	return cert, err
}

// loadAuthority reads the authority of a folder. It makes none: what is signed by
// an authority that nobody trusts yet is of no use.
func loadAuthority(dir string) (*authority, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, fileCACert), filepath.Join(dir, fileCAKey))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s has no authority: make one by purser certs ca --out %s", dir, dir)
	case err != nil:
		return nil, fmt.Errorf("authority of %s: %w", dir, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("authority of %s: it is not one with an ECDSA key", dir)
	}
	if time.Now().After(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("authority of %s: it has expired", dir)
	}
	return &authority{pair.Leaf, key}, nil
}

func certsRevoke(o *certsOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke --out DIR [--days N] CERTIFICATE...", Short: "Adds certificates to the authority's revocation list: ca.crl",
		Args: cobra.MinimumNArgs(1),
	}
	cmd.Flags().IntVar(&o.days, "days", 7, "how long the list is good")
	cmd.RunE = func(cmd *cobra.Command, files []string) error {
		return o.list(cmd, files)
	}
	return cmd
}

func certsCRL(o *certsOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use: "crl --out DIR [--days N]", Short: "Makes the authority's revocation list, or makes it last longer: ca.crl", Args: cobra.NoArgs,
	}
	cmd.Flags().IntVar(&o.days, "days", 7, "how long the list is good")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return o.list(cmd, nil) }
	return cmd
}

// list writes the authority's list anew, with these certificates on it beside
// those that are.
func (o *certsOptions) list(cmd *cobra.Command, files []string) error {
	if err := o.check(); err != nil {
		return err
	}
	ca, err := loadAuthority(o.out)
	if err != nil {
		return err
	}
	path, now := filepath.Join(o.out, fileCAList), time.Now()
	template := &x509.RevocationList{Number: big.NewInt(now.Unix()), ThisUpdate: now, NextUpdate: now.AddDate(0, 0, o.days)}
	before, err := ca.lastList(path)
	if err != nil {
		return err
	}
	if before != nil {
		template.RevokedCertificateEntries = before.RevokedCertificateEntries
		if next := new(big.Int).Add(before.Number, big.NewInt(1)); next.Cmp(template.Number) > 0 {
			template.Number = next
		}
	}
	for _, file := range files {
		cert, err := readCertificate(file)
		if err != nil {
			return err
		}
		if cert.CheckSignatureFrom(ca.certificate) != nil {
			return fmt.Errorf("%s is not signed by the authority of %s", file, o.out)
		}
		if !slices.ContainsFunc(template.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
			return e.SerialNumber.Cmp(cert.SerialNumber) == 0
		}) {
			template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
				x509.RevocationListEntry{SerialNumber: cert.SerialNumber, RevocationTime: now})
		}
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, ca.certificate, ca.key)
	if err != nil {
		return err
	}
	if err := writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d revoked, good until %s\n", path, len(template.RevokedCertificateEntries),
		template.NextUpdate.UTC().Format(time.RFC3339))
	return err
}

// lastList reads the list that is there; nil where there is none. One of another
// authority is an error: who knows what it is there for.
func (a *authority) lastList(path string) (*x509.RevocationList, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the folder that was named
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "X509 CRL" {
		return nil, fmt.Errorf("%s is no revocation list", path)
	}
	list, err := x509.ParseRevocationList(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if list.Number == nil || list.CheckSignatureFrom(a.certificate) != nil {
		return nil, fmt.Errorf("%s is another authority's; remove it to begin a new list", path)
	}
	return list, nil
}

// readCertificate reads the first certificate of a PEM file.
func readCertificate(file string) (*x509.Certificate, error) {
	text, err := os.ReadFile(file) //nolint:gosec // the file that was named
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s is no certificate in PEM", file)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return cert, nil
}
