// Package gateway is the Caddy app "payments": it reads the configuration,
// opens the store, wires the rooms of the core to each other, and carries them
// over reloads. Doors such as the API stand on what it exports.
package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/outbox"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/routing"
	"github.com/purser-pay/purser/modules/seal"
	"github.com/purser-pay/purser/modules/signature"
	"github.com/purser-pay/purser/modules/store"
	"github.com/purser-pay/purser/modules/token"
	"github.com/purser-pay/purser/modules/transport"
	"github.com/purser-pay/purser/modules/webhook"
)

const (
	appName            = "payments"
	connectorNamespace = "payments.connectors"
)

// stopTimeout bounds how long a stop waits for the background work: longer than
// the outbox gives the webhooks that are on their way. What is not done then is
// durable: the next start goes on with it.
const stopTimeout = 7 * time.Second

func init() { caddy.RegisterModule(new(App)) }

// App is the payment gateway. It holds the store, the connector accounts and
// the engine that moves payments; HTTP handlers such as payments_gateway serve
// it to merchants and PSPs.
type App struct {
	// Root is the folder where relative paths start. A Caddyfile sets it to its
	// own; in JSON, empty is the folder of the file that purser was run with.
	Root string `json:"root,omitempty"`
	// StoreConfig says where payments are kept.
	StoreConfig StoreConfig `json:"store"`
	// PepperSecret keys the hashes of API keys, the fingerprints of requests and the
	// references toward PSPs: 32 random bytes in base64. A store is of no use without
	// the pepper that it was made with, and so it never changes; see KeyPepperSecrets.
	PepperSecret connector.Secret `json:"pepper"`
	// KeyPepperSecrets key the hashes of API keys in the pepper's place, so that these
	// can be rotated: the first is for new keys, and the hash of a key that was made
	// under another of them, or under the pepper, is made anew at its next use. The
	// pepper itself stays for good: references toward PSPs derive from it.
	KeyPepperSecrets []connector.Secret `json:"key_peppers,omitempty"`
	// SealKeySecret encrypts the secrets that the store must be able to read again:
	// 32 random bytes in base64.
	SealKeySecret connector.Secret `json:"seal_key"`
	// AccountConfigs are the connector accounts, by the name that merchants see:
	// a lower-case letter, then at most 62 of a-z, 0-9, "_" and "-".
	AccountConfigs map[string]*AccountConfig `json:"accounts,omitempty"`
	// WebhooksConfig says where webhooks to merchants may go beyond https at public
	// addresses.
	WebhooksConfig *WebhooksConfig `json:"webhooks,omitempty"`
	// RateLimits bound how many calls merchants may make, by what is counted: "ip"
	// (an IPv4 address, or a /64 network of IPv6), "key" (one API key; a key with
	// rates of its own has those instead), "merchant" (all its keys of one mode),
	// "route" (a merchant's calls in one mode of one method and path), "account" (what
	// merchants have sent to one account, each account by itself).
	RateLimits map[string]RateLimitConfig `json:"rate_limits,omitempty"`
	// RateCosts is what a call counts for in the limits of key, merchant and
	// route, by its method and path, such as "POST /v1/payments"; default 1.
	RateCosts map[string]int64 `json:"rate_costs,omitempty"`
	// LoadShedding turns the least important calls away while this node has too much
	// to do; by default none are.
	LoadShedding *LoadSheddingConfig `json:"load_shedding,omitempty"`
	// TokenIssuers are those whose access tokens (JWT) are taken as credentials, by
	// the issuer's name, as the claim iss says it.
	TokenIssuers map[string]*TokenIssuerConfig `json:"jwt,omitempty"`
	// ClientCertificates says whose client certificates count, and for whom.
	ClientCertificates *ClientCertificatesConfig `json:"client_certificates,omitempty"`
	// Policies is the folder of the operator's rules, relative to the app's root. Its
	// files are read again within two seconds of a change, and where the new rules are
	// wrong those that held go on to hold. Without it the built-in rules hold alone.
	Policies string `json:"policies,omitempty"`
	// Signatures is what is asked of request signatures: "standard" (the default), or
	// "fapi": asymmetric keys alone, 60 seconds, and the tag of FAPI 2.0.
	Signatures string `json:"signatures,omitempty"`
	// Shared lets several nodes count their rate limits together; by default each
	// counts for itself.
	Shared *SharedConfig `json:"shared,omitempty"`
	// Profiling serves /debug/pprof/ and /debug/vars on the admin endpoint. By default
	// they are off: profiles tell what is in memory.
	Profiling bool `json:"profiling,omitempty"`

	log      *slog.Logger
	auditLog *slog.Logger
	// passedLog is the audit as well, without slog before it: calls that pass through
	// are many.
	passedLog *zap.Logger

	pepper   []byte
	peppers  [][]byte // of API keys, the one for new keys first; the pepper is among them
	box      *seal.Box
	accounts map[string]*connector.Account

	ground    *ground
	directory *access.Directory
	router    *routing.Router
	engine    *engine.Engine
	outbox    *outbox.Outbox
	exchange  *transport.Transport
	circuits  map[string]*circuit // by account; those without are not here
	limiter   *Limiter
	tokens    *token.Verifier // nil = no issuer is configured
	rules     *policies       // nil = there is no folder
	// certificates decides over those of clients; nil = none count.
	certificates *Certificates
	signer       signature.SigningKey
	vigilance    *vigilance
	renewing     sync.Mutex // one reading of the secrets' files at a time
	switches     sync.Mutex // two operators at one switch take turns

	lifetime lifetime
	release  []func() error // what the end of the lifetime gives back, last first
	stop     context.CancelFunc
	stopped  chan struct{}
	unhook   func() // ends the waking of the outbox
}

var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: appName, New: func() caddy.Module { return new(App) }}
}

// checkOnly is set in a process that looks at configurations and runs none.
var checkOnly bool

// CheckOnly makes every App of this process check its configuration and open
// nothing. It is called before the first configuration is loaded, if at all.
func CheckOnly() { checkOnly = true }

// defaultRoot is where relative paths start in JSON that names no root; "" = the
// working directory.
var defaultRoot string

// SetDefaultRoot says where relative paths start in JSON that names no root. It
// is called before the first configuration is loaded, if at all.
func SetDefaultRoot(dir string) { defaultRoot = dir }

// Provision checks the configuration, resolves the secrets, and opens the store
// or takes it over from the configuration that runs.
func (a *App) Provision(ctx caddy.Context) error {
	a.log = ctx.Slogger()
	if a.Root == "" {
		a.Root = defaultRoot
	}
	if err := a.StoreConfig.check(); err != nil {
		return err
	}
	resolver := lookup(a.Root)
	var err error
	if a.pepper, err = decodeKey("pepper", a.PepperSecret, resolver); err != nil {
		return err
	}
	if err := a.readKeyPeppers(resolver); err != nil {
		return err
	}
	sealKey, err := decodeKey("seal_key", a.SealKeySecret, resolver)
	if err != nil {
		return err
	}
	if a.box, err = seal.New(nil, sealKey); err != nil {
		return fmt.Errorf("seal_key: %w", err)
	}
	if a.signer, err = responseKey(sealKey); err != nil {
		return err
	}
	a.accounts = make(map[string]*connector.Account, len(a.AccountConfigs))
	for _, name := range sorted(a.AccountConfigs) {
		account, err := a.AccountConfigs[name].provision(ctx, name, resolver)
		if err != nil {
			return fmt.Errorf("account %s: %w", name, err)
		}
		a.accounts[name] = account
	}
	if err := a.WebhooksConfig.check(); err != nil {
		return err
	}
	if err := a.checkLimits(resolver); err != nil {
		return err
	}
	if _, known := signatureProfiles[a.Signatures]; !known {
		return fmt.Errorf("signatures is standard or fapi, not %.40q", a.Signatures)
	}
	if err := a.checkTokens(); err != nil {
		return err
	}
	if err := a.ClientCertificates.check(ctx, a.Root, checkOnly); err != nil {
		return err
	}
	if err := a.openPolicies(); err != nil {
		return err
	}
	if a.auditLog, a.passedLog, err = openAudit(ctx); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if checkOnly {
		return nil
	}
	if err := a.open(ctx); err != nil {
		return err
	}
	return counters.register(ctx.GetMetricsRegistry())
}

// provision loads the connector of an account and readies its credentials.
func (a *AccountConfig) provision(ctx caddy.Context, name string, resolver func(string) (string, error)) (*connector.Account, error) {
	if a == nil {
		return nil, errors.New("it is empty")
	}
	if err := a.check(name); err != nil {
		return nil, err
	}
	module, err := ctx.LoadModule(a, "ConnectorRaw")
	if err != nil {
		return nil, err
	}
	codec, ok := module.(connector.Connector)
	if !ok {
		return nil, fmt.Errorf("%T is no connector", module)
	}
	if err := requireFields(module); err != nil {
		return nil, err
	}
	if err := resolve(module, resolver); err != nil {
		return nil, err
	}
	if p, ok := module.(connector.Preparer); ok {
		if err := p.Prepare(); err != nil {
			return nil, err
		}
	}
	return a.account(name, codec), nil
}

// open takes the store and builds the engine on it.
func (a *App) open(ctx context.Context) error {
	of, opening, err := a.StoreConfig.opening(a.Root, lookup(a.Root))
	if err != nil {
		return err
	}
	if a.ground, err = openGround(ctx, of, opening, a.log); err != nil {
		return err
	}
	a.lifetime.begin(a.letGo)
	a.onCleanup(func() error { return drop(grounds, of) })
	if err := a.ground.patiently(ctx, a.log, func() error { return a.refuseOrphans(ctx) }); err != nil {
		return err
	}
	var (
		key  directoryKey
		keys *access.Directory
	)
	if err := a.ground.patiently(ctx, a.log, func() (err error) {
		key, keys, err = openDirectory(ctx, of, a.peppers, a.ground)
		return err
	}); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	a.directory = keys
	a.onCleanup(func() error { return drop(directories, key) })
	if err := a.openLimits(ctx, of); err != nil {
		return err
	}
	if err := a.openVigilance(of); err != nil {
		return err
	}
	if err := a.openTokens(ctx); err != nil {
		return err
	}
	if a.certificates, err = a.openCertificates(ctx, a.ClientCertificates); err != nil {
		return err
	}
	clients, err := a.openTrippers()
	if err != nil {
		return err
	}
	if err := a.openCircuits(); err != nil {
		return err
	}
	if err := a.ground.patiently(ctx, a.log, func() (err error) {
		a.router, err = a.route(ctx)
		return err
	}); err != nil {
		return err
	}
	forget := a.ground.relay.hear(settingsChanged, func(ctx context.Context) error { return a.readSwitches(ctx, a.router) })
	a.onCleanup(func() error { forget(); return nil })
	a.openOutbox()
	a.exchange = transport.New(transport.Config{
		Tripper:  func(x *connector.Account) (http.RoundTripper, error) { return clients[x.Name], nil },
		Version:  Version(),
		Observer: observer{counters},
		Breaker:  a.breaker,
	})
	a.engine = engine.New(engine.Config{
		Store: a.ground.store, Accounts: a.accounts, Exchange: traced{a.exchange}, Plan: a.router, Pepper: a.pepper,
		IDs: a.ground.ids, Now: time.Now, Random: rand.Reader, Log: a.log, Gate: a.limiter.Gate(),
		Again: storeAgain,
	})
	return nil
}

// openTrippers opens the clients of all accounts.
func (a *App) openTrippers() (map[string]http.RoundTripper, error) {
	clients := make(map[string]http.RoundTripper, len(a.accounts))
	for _, name := range sorted(a.accounts) {
		options, err := a.AccountConfigs[name].Transport.options(a.Root)
		if err != nil {
			return nil, fmt.Errorf("account %s: %w", name, err)
		}
		key, client, err := openTripper(a.accounts[name], options)
		if err != nil {
			return nil, fmt.Errorf("account %s: %w", name, err)
		}
		a.onCleanup(func() error { return drop(trippers, key) })
		clients[name] = client
	}
	return clients, nil
}

func (a *App) onCleanup(f func() error) { a.release = append(a.release, f) }

// Start begins recovery, expiry, the application of PSPs' webhooks and the sending
// of our own.
func (a *App) Start() error {
	if a.engine == nil {
		return errors.New("the payments app was only checked")
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := a.ground.patiently(ctx, a.log, func() error { return a.rememberAccounts(ctx) }); err != nil {
		cancel()
		return err
	}
	a.ground.started.Store(a.log)
	a.stop, a.stopped = cancel, make(chan struct{})
	go retain(ctx, a.ground, a.log)
	a.unhook = a.ground.hook(a.outbox)
	go func() {
		defer close(a.stopped)
		var both sync.WaitGroup
		both.Go(func() { a.engine.Run(ctx) })
		both.Go(func() { a.outbox.Run(ctx) })
		if a.rules != nil {
			both.Go(func() { a.rules.watch(ctx, a.log) })
		}
		if a.hasFileSecrets() {
			both.Go(func() { a.watchSecrets(ctx) })
		}
		both.Wait()
	}()
	return nil
}

// Stop ends the background work. Requests that are under way go on: they are
// the HTTP server's to wait for.
func (a *App) Stop() error {
	if a.stop == nil {
		return nil
	}
	a.stop()
	a.unhook()
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-a.stopped:
		return nil
	case <-timer.C:
		return fmt.Errorf("the background work did not stop within %s; the next start goes on where it was", stopTimeout)
	}
}

// Cleanup gives back what Provision took, each thing once, as soon as no request
// uses it. It may come after a Provision that failed half-way.
func (a *App) Cleanup() error {
	a.lifetime.end()
	return nil
}

// letGo gives everything back. Its caller is the last request as often as not,
// so that a failure can only be logged.
func (a *App) letGo() {
	for _, release := range slices.Backward(a.release) {
		if err := release(); err != nil {
			a.log.Error("closing failed", slog.Any("error", err))
		}
	}
	a.release = nil
}

// Ready tells whether the App may serve; it may not in a process that only
// checks configurations.
func (a *App) Ready() bool { return a.engine != nil }

// Engine moves payments.
func (a *App) Engine() *engine.Engine { return a.engine }

// Outbox tells merchants of events.
func (a *App) Outbox() *outbox.Outbox { return a.outbox }

// Store keeps the payments. Doors read from it, and leave the writing of payments
// to the engine.
func (a *App) Store() store.Store { return doorStore{a.ground.store, a} }

// Directory knows the API keys.
func (a *App) Directory() *access.Directory { return a.directory }

// Pepper keys the hashes: 32 bytes, which belong to the App.
func (a *App) Pepper() []byte { return a.pepper }

// Box encrypts what the store must be able to give back, such as the secrets of
// webhook endpoints.
func (a *App) Box() *seal.Box { return a.box }

// WebhookTargets says where webhooks to merchants may go.
func (a *App) WebhookTargets() webhook.Targets { return a.WebhooksConfig.targets() }

// Accounts are the accounts by name. Nobody changes the map.
func (a *App) Accounts() map[string]*connector.Account { return a.accounts }

// Certificates decides over clients' certificates; nil = none count.
func (a *App) Certificates() *Certificates { return a.certificates }

// IDs makes identifiers.
func (a *App) IDs() *payment.IDs { return a.ground.ids }

// Log is the app's logger.
func (a *App) Log() *slog.Logger { return a.log }

// ObserveRequest counts a request that was answered. route and method become
// labels of metrics: the caller bounds how many there are.
func (a *App) ObserveRequest(route, method string, status int, took time.Duration) {
	counters.request(route, method, status, took)
}
