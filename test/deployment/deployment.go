// Package deployment runs the real binary on loopback for the tests and
// measurements that want the thing itself: a gateway with a SQLite store in a
// folder, and the PSP simulator as a process of its own, whose books therefore
// survive the gateway's death. It is for test mode alone.
package deployment

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Patience bounds the start of a process.
const Patience = 60 * time.Second

// alipayApp is the application's number at the simulated Alipay.
const alipayApp = "2021000000000001"

const alipayKeyBits = 2048

// Config says what is to be run.
type Config struct {
	// Binary is the path of a built purser.
	Binary string
	// Dir is an empty folder that holds everything: data, secrets, logs.
	Dir string
	// Seed makes the simulator repeatable.
	Seed uint64
	// Timeout and NotFoundAfter are those of both accounts; at least 1 s.
	Timeout, NotFoundAfter time.Duration
}

// Deployment is a gateway, which may be dead at the moment, and its simulator.
// Its methods are for one goroutine, but for what is read of its fields.
type Deployment struct {
	cfg Config
	// URL is the merchants' address, Admin the operators' host:port.
	URL, Admin string
	Simulator  *Simulator
	// Secrets must never turn up in what the gateway writes, by name.
	Secrets map[string]string
	gateway *Process
	port    string
}

// Build builds cmd/purser into dir once, unless PURSER_BINARY names a binary
// that is built already. A release is built as `make build` does; for a test, the
// same flags as the test's own save the minutes of a second build of Caddy. The
// working directory must lie in the module.
func Build(ctx context.Context, dir string, release bool) (string, error) {
	if binary := os.Getenv("PURSER_BINARY"); binary != "" {
		return filepath.Abs(binary)
	}
	binary := filepath.Join(dir, "purser")
	args := []string{"build", "-o", binary}
	env := os.Environ()
	if release {
		args, env = append(args, "-trimpath", "-ldflags", "-s"), append(env, "CGO_ENABLED=0")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "github.com/purser-pay/purser/cmd/purser")...) //nolint:gosec // G204: our own words
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build purser: %w\n%s", err, out)
	}
	return binary, nil
}

// Open starts the simulator and writes what a gateway needs. The gateway itself
// waits for [Deployment.Start].
func Open(ctx context.Context, cfg Config) (*Deployment, error) {
	d := &Deployment{cfg: cfg, Secrets: map[string]string{}}
	for _, folder := range []string{"data", "logs", "home", "config"} {
		if err := os.MkdirAll(d.Path(folder), 0o700); err != nil {
			return nil, fmt.Errorf("deployment: %w", err)
		}
	}
	var err error
	if d.port, err = FreePort(ctx); err != nil {
		return nil, err
	}
	adminPort, err := FreePort(ctx)
	if err != nil {
		return nil, err
	}
	d.URL, d.Admin = "http://127.0.0.1:"+d.port, "127.0.0.1:"+adminPort
	if err := d.makeSecrets(); err != nil {
		return nil, err
	}
	if d.Simulator, err = startSimulator(ctx, d); err != nil {
		return nil, err
	}
	if err := errors.Join(d.introduce(ctx), os.WriteFile(d.Path("config", "Caddyfile"), []byte(d.caddyfile()), 0o600)); err != nil {
		return nil, errors.Join(err, d.Simulator.process.Kill())
	}
	return d, nil
}

// Path is a file of the deployment's folder.
func (d *Deployment) Path(parts ...string) string {
	return filepath.Join(append([]string{d.cfg.Dir}, parts...)...)
}

// FreePort tells a port of loopback that nobody listens on now.
func FreePort(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("free port: %w", err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// makeSecrets writes the gateway's own, and the keys of its accounts.
func (d *Deployment) makeSecrets() error {
	for name, form := range map[string]func([]byte) string{
		"pepper":                base64.StdEncoding.EncodeToString,
		"seal_key":              base64.StdEncoding.EncodeToString,
		"stripe_secret_key":     func(b []byte) string { return "sk_test_" + hex.EncodeToString(b) },
		"stripe_webhook_secret": func(b []byte) string { return "whsec_" + hex.EncodeToString(b) },
	} {
		b := make([]byte, 32)
		if _, err := rand.Read(b); err != nil {
			return fmt.Errorf("make %s: %w", name, err)
		}
		if err := d.secret(name, form(b)); err != nil {
			return err
		}
	}
	key, err := rsa.GenerateKey(rand.Reader, alipayKeyBits)
	if err != nil {
		return fmt.Errorf("make alipay key: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("make alipay key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("make alipay key: %w", err)
	}
	err = os.WriteFile(d.Path("config", "alipay_own_public_key"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600)
	return errors.Join(err, d.secret("alipay_private_key", base64.StdEncoding.EncodeToString(private)))
}

func (d *Deployment) secret(name, value string) error {
	d.Secrets[name] = value
	return os.WriteFile(d.Path("config", name), []byte(value+"\n"), 0o600)
}

// introduce makes the gateway and the simulator known to each other, as an
// operator does on a PSP's website.
func (d *Deployment) introduce(ctx context.Context) error {
	var keys struct {
		Public string `json:"alipay_public_key"`
	}
	if err := d.Simulator.Get(ctx, "/keys", &keys); err != nil {
		return err
	}
	own, err := os.ReadFile(d.Path("config", "alipay_own_public_key"))
	if err != nil {
		return fmt.Errorf("deployment: %w", err)
	}
	return errors.Join(
		os.WriteFile(d.Path("config", "alipay_public_key"), []byte(keys.Public), 0o600),
		d.Simulator.Post(ctx, "/keys", map[string]any{"app_id": alipayApp, "public_key": string(own)}),
		d.Webhooks(ctx),
	)
}

// Webhooks has the simulated Stripe send its events to the gateway, as it does
// from the start.
func (d *Deployment) Webhooks(ctx context.Context) error {
	return d.Simulator.Post(ctx, "/webhooks", map[string]any{
		"connector": "stripe", "url": d.URL + "/webhooks/stripe", "secret": d.Secrets["stripe_webhook_secret"],
	})
}

// caddyfile is the gateway's configuration. Plain HTTP is for loopback.
//
//nolint:dupword // an account may bear its connector's name
func (d *Deployment) caddyfile() string {
	return strings.NewReplacer(
		"ADMIN", d.Admin, "URL", d.URL, "SIM", d.Simulator.URL, "APP", alipayApp,
		"TIMEOUT", d.cfg.Timeout.String(), "NOTFOUND", d.cfg.NotFoundAfter.String(),
	).Replace(`{
	admin ADMIN
	auto_https off
	payments {
		store sqlite ../data/purser.db
		pepper {file.pepper}
		seal_key {file.seal_key}
		account stripe stripe {
			mode test
			merchants *
			base_url SIM/stripe
			timeout TIMEOUT
			not_found_after NOTFOUND
			secret_key {file.stripe_secret_key}
			webhook_secret {file.stripe_webhook_secret}
		}
		account alipay alipay {
			mode test
			merchants *
			base_url SIM/alipay
			timeout TIMEOUT
			not_found_after NOTFOUND
			app_id APP
			private_key {file.alipay_private_key}
			alipay_public_key {file.alipay_public_key}
		}
	}
}
URL {
	bind 127.0.0.1
	payments_gateway
}
`)
}

// Start starts the gateway. It may be called again after [Deployment.Kill].
func (d *Deployment) Start() (err error) {
	d.gateway, err = d.Run("gateway", "run", "--config", d.Path("config", "Caddyfile"), "--adapter", "caddyfile")
	return err
}

// Kill ends the gateway with SIGKILL, and returns once it is gone.
func (d *Deployment) Kill() error { return d.gateway.Kill() }

// PID is the process of the gateway.
func (d *Deployment) PID() int { return d.gateway.PID() }

// Ended is closed when the gateway that was started last has ended.
func (d *Deployment) Ended() <-chan struct{} { return d.gateway.ended }

// Close ends both processes.
func (d *Deployment) Close() error {
	var err error
	if d.gateway != nil {
		err = d.gateway.Kill()
	}
	return errors.Join(err, d.Simulator.process.Kill())
}

// Ready waits until the gateway serves.
func (d *Deployment) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	pause := time.NewTicker(2 * time.Millisecond)
	defer pause.Stop()
	for {
		err := get(ctx, d.URL+"/readyz", nil)
		if err == nil {
			return nil
		}
		select {
		case <-pause.C:
		case <-d.Ended():
			return fmt.Errorf("the gateway ended; see %s", d.Path("logs", "gateway.log"))
		case <-ctx.Done():
			return fmt.Errorf("the gateway is not ready: %w", errors.Join(ctx.Err(), err))
		}
	}
}

// Key makes a merchant with a key for mode test, by the operator's commands.
func (d *Deployment) Key(ctx context.Context) (string, error) {
	var merchant struct{ ID string }
	if err := d.command(ctx, &merchant, "merchants", "create", "--name", "Shop"); err != nil {
		return "", err
	}
	var key struct{ Key string }
	if err := d.command(ctx, &key, "keys", "create", "--merchant", merchant.ID, "--mode", "test"); err != nil {
		return "", err
	}
	d.Secrets["api_key"] = key.Key
	return key.Key, nil
}

// logSize is how much of a log is worth showing, in bytes.
const logSize = 8 << 10

// LogTail is the end of a process's log: "gateway" or "simulator".
func (d *Deployment) LogTail(name string) string {
	b, err := os.ReadFile(d.Path("logs", name+".log"))
	if err != nil {
		return err.Error()
	}
	return strconv.Itoa(len(b)) + " bytes, the last of which are\n" + string(b[max(0, len(b)-logSize):])
}
