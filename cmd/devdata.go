package pursercmd

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// devData is the folder in which a development gateway keeps everything: keys,
// certificates, the database, the simulator's books. It can be deleted as a
// whole.
type devData struct {
	dir       string
	authority *authority
}

// The files of the folder.
const (
	fileDevInfo       = "dev.json"
	fileDevEnv        = "dev.env"
	fileDatabase      = "purser.db"
	fileBooks         = "simulator.json"
	filePepper        = "pepper"
	fileSealKey       = "seal_key"
	fileStripeKey     = "stripe_secret_key"
	fileStripeWebhook = "stripe_webhook_secret"
	fileAdyenKey      = "adyen_api_key"
	fileAdyenHMAC     = "adyen_hmac_key"
	fileAlipayOwn     = "alipay_private_key.pem"    // the gateway signs with it
	fileAlipayOwnPub  = "alipay_own_public_key.pem" // the simulator verifies with it
	fileAlipayPSP     = "alipaysim_private_key.pem" // the simulator signs with it
	fileAlipayPSPPub  = "alipaysim_public_key.pem"  // the gateway verifies with it
	folderCaddy       = "caddy"
	devAlipayApp      = "2021000000000001"
	devAdyenAccount   = "PurserDevECOM"
	devKeyBits        = 2048
)

// openDevData makes what is missing in dir and keeps what is there.
func openDevData(dir string, hosts []string, now time.Time) (*devData, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a folder needs its x bit
		return nil, err
	}
	d := &devData{dir: dir}
	var g errgroup.Group // RSA keys take a while to find
	g.Go(func() error { return d.rsaPair(fileAlipayOwn, fileAlipayOwnPub) })
	g.Go(func() error { return d.rsaPair(fileAlipayPSP, fileAlipayPSPPub) })
	g.Go(func() error { return d.secrets() })
	g.Go(func() (err error) {
		if d.authority, err = openAuthority(dir, now); err != nil {
			return err
		}
		return d.authority.server(dir, hosts, now)
	})
	return d, g.Wait()
}

func (d *devData) path(name string) string { return filepath.Join(d.dir, name) }

// secrets makes the random ones.
func (d *devData) secrets() error {
	for name, form := range map[string]func([]byte) string{
		filePepper:        base64.StdEncoding.EncodeToString,
		fileSealKey:       base64.StdEncoding.EncodeToString,
		fileStripeKey:     func(b []byte) string { return "sk_test_" + hex.EncodeToString(b) },
		fileStripeWebhook: func(b []byte) string { return "whsec_" + hex.EncodeToString(b) },
		fileAdyenKey:      func(b []byte) string { return "AQE" + hex.EncodeToString(b) },
		fileAdyenHMAC:     hex.EncodeToString,
	} {
		if err := d.once(name, func() ([]byte, error) {
			b := make([]byte, 32)
			if _, err := rand.Read(b); err != nil {
				return nil, err
			}
			return []byte(form(b) + "\n"), nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// once writes a file that is not there yet.
func (d *devData) once(name string, content func() ([]byte, error)) error {
	_, err := os.Stat(d.path(name))
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	b, err := content()
	if err != nil {
		return fmt.Errorf("make %s: %w", name, err)
	}
	return writeFile(d.path(name), b, 0o600)
}

// rsaPair makes a key pair: the public half is written first, so that a private
// one is never without it.
func (d *devData) rsaPair(private, public string) error {
	return d.once(private, func() ([]byte, error) {
		key, err := rsa.GenerateKey(rand.Reader, devKeyBits)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			return nil, err
		}
		if err := writeFile(d.path(public), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
			return nil, err
		}
		der, err = x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
	})
}

// read returns a secret without the newline at its end.
func (d *devData) read(name string) (string, error) {
	b, err := os.ReadFile(d.path(name))
	return strings.TrimSpace(string(b)), err
}

// devInfo is DIR/dev.json: what a script needs to use the gateway.
type devInfo struct {
	URL       string `json:"url"`
	CA        string `json:"ca"` // file
	Key       string `json:"key"`
	Merchant  string `json:"merchant"`
	Simulator string `json:"simulator"`
	Console   string `json:"console"` // "" = there is none in this build
	Admin     string `json:"admin"`
}

// env is what a POSIX shell reads with ". DIR/dev.env".
func (i *devInfo) env() []byte {
	var b strings.Builder
	for _, v := range [][2]string{
		{"PURSER_URL", i.URL},
		{"PURSER_KEY", i.Key},
		{"PURSER_SIMULATOR", i.Simulator},
		{"PURSER_ADMIN", i.Admin},
		{"CURL_CA_BUNDLE", i.CA}, // what curl trusts
	} {
		fmt.Fprintf(&b, "export %s=%s\n", v[0], shellQuote(v[1]))
	}
	return []byte(b.String())
}

// lastInfo reads what the start before left; the zero value where there was none.
func (d *devData) lastInfo() devInfo {
	var info devInfo
	b, err := os.ReadFile(d.path(fileDevInfo))
	if err != nil || json.Unmarshal(b, &info) != nil {
		return devInfo{}
	}
	return info
}

// saveInfo writes it twice: for programs, and for a shell.
func (d *devData) saveInfo(info devInfo) error {
	if err := writeFile(d.path(fileDevEnv), info.env(), 0o600); err != nil {
		return err
	}
	b, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(d.path(fileDevInfo), append(b, '\n'), 0o600)
}
