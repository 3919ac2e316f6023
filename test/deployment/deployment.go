// Package deployment runs the real binary on loopback for the tests and
// measurements that want the thing itself: a gateway with a SQLite store in a
// folder, or several with a PostgreSQL store behind a balancer, and the PSP
// simulator as a process of its own, whose books therefore survive the gateways'
// death. It is for test mode alone.
package deployment

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
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

// adyenMerchant is the merchant account at the simulated Adyen.
const adyenMerchant = "PurserTestECOM"

// Config says what is to be run.
type Config struct {
	// Binary is the path of a built purser.
	Binary string
	// Dir is an empty folder that holds everything: data, secrets, logs.
	Dir string
	// Seed makes the simulator repeatable.
	Seed uint64
	// Timeout and NotFoundAfter are those of all accounts; at least 1 s.
	Timeout, NotFoundAfter time.Duration
	// Nodes is how many gateways there are; 0 = 1. More than one need a Database,
	// and have a balancer before them.
	Nodes int
	// Database is the DSN of a PostgreSQL store; "" = SQLite.
	Database string
	// Redis is the URL of the counters that nodes share; "" = there are no limits.
	// The limit itself is one that nobody reaches.
	Redis string
	// Profiling has every gateway serve profiles at its admin endpoint.
	Profiling bool
}

// Deployment is a gateway, or several, and their simulator. Its methods are for
// one goroutine, but for what is read of its fields.
type Deployment struct {
	cfg Config
	// URL is the merchants' address.
	URL       string
	Nodes     []*Node
	Simulator *Simulator
	// Secrets must never turn up in what the gateway writes, by name.
	Secrets  map[string]string
	balancer *Process
	// balancerAdmin is its operators' host:port.
	balancerAdmin string
	merchant      string // its ID
	issuer        *ecdsa.PrivateKey
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
	if cfg.Nodes <= 1 {
		if err := d.addNode(ctx, "gateway"); err != nil {
			return nil, err
		}
		d.URL = d.Nodes[0].URL
	}
	for i := range cfg.Nodes {
		if cfg.Nodes == 1 {
			break
		}
		if err := d.addNode(ctx, "node"+strconv.Itoa(i+1)); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(d.makeSecrets(), d.makeIssuer()); err != nil {
		return nil, err
	}
	if cfg.Nodes > 1 {
		port, err := FreePort(ctx)
		if err != nil {
			return nil, err
		}
		d.URL = "http://127.0.0.1:" + port
	}
	var err error
	if d.Simulator, err = startSimulator(ctx, d); err != nil {
		return nil, err
	}
	if err := errors.Join(d.introduce(ctx), d.writeConfigs()); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if cfg.Nodes > 1 {
		if err := d.balance(ctx); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	return d, nil
}

func (d *Deployment) writeConfigs() error {
	var errs []error
	for _, n := range d.Nodes {
		errs = append(errs, os.WriteFile(n.config(), []byte(d.caddyfile(n)), 0o600))
	}
	return errors.Join(errs...)
}

// Path is a file of the deployment's folder.
func (d *Deployment) Path(parts ...string) string {
	return filepath.Join(append([]string{d.cfg.Dir}, parts...)...)
}

// makeSecrets writes the gateway's own, and the keys of its accounts.
func (d *Deployment) makeSecrets() error {
	for name, form := range map[string]func([]byte) string{
		"pepper":                base64.StdEncoding.EncodeToString,
		"seal_key":              base64.StdEncoding.EncodeToString,
		"stripe_secret_key":     func(b []byte) string { return "sk_test_" + hex.EncodeToString(b) },
		"stripe_webhook_secret": func(b []byte) string { return "whsec_" + hex.EncodeToString(b) },
		"adyen_api_key":         func(b []byte) string { return "AQE" + hex.EncodeToString(b) },
		"adyen_hmac_key":        hex.EncodeToString,
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
	for name, where := range map[string]string{"database": d.cfg.Database, "redis": d.cfg.Redis} {
		if where == "" {
			continue
		}
		if err := os.WriteFile(d.Path("config", name), []byte(where), 0o600); err != nil {
			return fmt.Errorf("deployment: %w", err)
		}
	}
	err = os.WriteFile(d.Path("config", "alipay_own_public_key"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600)
	return errors.Join(err, d.secret("alipay_private_key", base64.StdEncoding.EncodeToString(private)))
}

// secret writes a secret's file.
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

// Webhooks has the simulated Stripe and Adyen send their events to the gateway, as
// they do from the start. (Alipay is told with each payment.)
func (d *Deployment) Webhooks(ctx context.Context) error {
	return errors.Join(
		d.Simulator.Post(ctx, "/webhooks", map[string]any{
			"connector": "stripe", "url": d.URL + "/webhooks/stripe", "secret": d.Secrets["stripe_webhook_secret"],
		}),
		d.Simulator.Post(ctx, "/webhooks", map[string]any{
			"connector": "adyen", "account": adyenMerchant, "url": d.URL + "/webhooks/adyen", "secret": d.Secrets["adyen_hmac_key"],
		}),
	)
}

// store is the line of the configuration that says where payments are kept.
func (d *Deployment) store() string {
	if d.cfg.Database != "" {
		return "postgres {file.database}"
	}
	return "sqlite ../data/purser.db"
}

// limits are the lines of the configuration that have calls counted.
func (d *Deployment) limits() string {
	if d.cfg.Redis == "" {
		return ""
	}
	return fmt.Sprintf("shared redis {file.redis} {\n\t\t\tnodes %d\n\t\t}\n\t\trate_limit key 1000000/1s", len(d.Nodes))
}

// caddyfile is a node's configuration. Plain HTTP is for loopback. A node that
// stops serves on for as long as a balancer needs to notice.
//
//nolint:dupword // an account may bear its connector's name
func (d *Deployment) caddyfile(n *Node) string {
	delay := ""
	if len(d.Nodes) > 1 {
		delay = "shutdown_delay 1s"
	}
	profiling := ""
	if d.cfg.Profiling {
		profiling = "profiling"
	}
	return strings.NewReplacer(
		"ADMIN", n.Admin, "URL", n.URL, "SIM", d.Simulator.URL, "APP", alipayApp, "STORE", d.store(), "MERCHANT", adyenMerchant,
		"TIMEOUT", d.cfg.Timeout.String(), "NOTFOUND", d.cfg.NotFoundAfter.String(), "DELAY", delay, "LIMITS", d.limits(),
		"ISSUER", issuerName, "AUDIENCE", tokenAudience, "JWKS", d.keySet(),
		"PROFILING", profiling,
	).Replace(`{
	admin ADMIN
	auto_https off
	persist_config off
	grace_period 10s
	DELAY
	payments {
		store STORE
		LIMITS
		pepper {file.pepper}
		seal_key {file.seal_key}
		PROFILING
		jwt ISSUER {
			audience AUDIENCE
			jwks JWKS
			merchants *
		}
		webhooks {
			allow 127.0.0.1/32
			allow_http
		}
		account stripe stripe {
			mode test
			merchants *
			base_url SIM/stripe
			timeout TIMEOUT
			not_found_after NOTFOUND
			secret_key {file.stripe_secret_key}
			webhook_secret {file.stripe_webhook_secret}
		}
		account adyen adyen {
			mode test
			merchants *
			pinned_only
			base_url SIM/adyen
			timeout TIMEOUT
			not_found_after NOTFOUND
			api_key {file.adyen_api_key}
			merchant_account MERCHANT
			hmac_key {file.adyen_hmac_key}
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

// Start starts every gateway.
func (d *Deployment) Start() error {
	var errs []error
	for _, n := range d.Nodes {
		errs = append(errs, n.Start())
	}
	return errors.Join(errs...)
}

// PID is the process of the first gateway.
func (d *Deployment) PID() int { return d.Nodes[0].PID() }

// Close ends all processes.
func (d *Deployment) Close() error {
	var errs []error
	for _, n := range d.Nodes {
		if n.process != nil {
			errs = append(errs, n.process.Kill())
		}
	}
	for _, p := range []*Process{d.balancer, d.Simulator.process} {
		if p != nil {
			errs = append(errs, p.Kill())
		}
	}
	return errors.Join(errs...)
}

// Ready waits until every gateway serves, and the balancer knows.
func (d *Deployment) Ready(ctx context.Context) error {
	for _, n := range d.Nodes {
		if err := n.Ready(ctx); err != nil {
			return err
		}
	}
	if d.balancer != nil {
		return d.balanced(ctx)
	}
	return nil
}

// Key makes a merchant with a key for mode test, by the operator's commands.
func (d *Deployment) Key(ctx context.Context) (string, error) {
	var merchant struct{ ID string }
	if err := d.command(ctx, &merchant, "merchants", "create", "--name", "Shop"); err != nil {
		return "", err
	}
	d.merchant = merchant.ID
	_, key, err := d.NewKey(ctx)
	d.Secrets["api_key"] = key
	return key, err
}

// NewKey makes one more key for the merchant.
func (d *Deployment) NewKey(ctx context.Context) (id, text string, err error) {
	var key struct{ ID, Key string }
	err = d.command(ctx, &key, "keys", "create", "--merchant", d.merchant, "--mode", "test")
	return key.ID, key.Key, err
}

// NewSigningKey makes an API key that signs its requests by HMAC, through the
// command line.
func (d *Deployment) NewSigningKey(ctx context.Context) (id, text, secret string, err error) {
	var made struct {
		ID, Key string
		Signing struct{ Secret string }
	}
	err = d.command(ctx, &made, "keys", "create", "--merchant", d.merchant, "--mode", "test", "--signing", "hmac-sha256")
	return made.ID, made.Key, made.Signing.Secret, err
}

// RevokeKey revokes a key, at the first node.
func (d *Deployment) RevokeKey(ctx context.Context, id string) error {
	var key struct{ ID string }
	return d.command(ctx, &key, "keys", "revoke", id)
}

// logSize is how much of a log is worth showing, in bytes.
const logSize = 8 << 10

// LogTail is the end of a process's log: "simulator", "balancer", "gateway", or of
// several "node1" and so on.
func (d *Deployment) LogTail(name string) string {
	b, err := os.ReadFile(d.Path("logs", name+".log"))
	if err != nil {
		return err.Error()
	}
	return strconv.Itoa(len(b)) + " bytes, the last of which are\n" + string(b[max(0, len(b)-logSize):])
}
