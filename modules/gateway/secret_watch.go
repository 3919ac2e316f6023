package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"

	"github.com/purser-pay/purser/modules/connector"
)

// fileReference tells the secrets that can change while the process runs.
func fileReference(ref string) bool { return strings.HasPrefix(ref, "{file.") }

// renewSecrets reads the files of the accounts' secrets, and puts in place what
// changed. An account whose new secrets are wrong keeps those that it has. It
// returns the fields that were replaced, as "account NAME: FIELD".
func (a *App) renewSecrets() (changed []string, err error) {
	a.renewing.Lock()
	defer a.renewing.Unlock()
	var errs []error
	for _, name := range sorted(a.accounts) {
		fields, err := renew(a.accounts[name].Connector, lookup(a.Root))
		if err != nil {
			errs = append(errs, fmt.Errorf("account %s: %w", name, err))
		}
		for _, f := range fields {
			changed = append(changed, "account "+name+": "+f)
		}
	}
	return changed, errors.Join(errs...)
}

// fresh is a secret that is kept elsewhere as another value than the gateway has.
type fresh struct {
	field  int
	name   string
	value  string
	secret connector.Secret
}

// freshSecrets looks for them among those of one connector, which take says.
func freshSecrets(module any, lookup func(string) (string, error), take func(ref string) bool) ([]fresh, error) {
	v := reflect.ValueOf(module)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return nil, nil
	}
	var all []fresh
	for i := range v.Elem().NumField() {
		f := v.Elem().Type().Field(i)
		if !f.IsExported() {
			continue
		}
		secret, ok := reflect.TypeAssert[connector.Secret](v.Elem().Field(i))
		if !ok || secret.IsZero() || !take(secret.Reference()) {
			continue
		}
		value, err := lookup(secret.Reference())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", fieldName(f), err)
		}
		if value != secret.Reveal() {
			all = append(all, fresh{i, fieldName(f), value, secret})
		}
	}
	return all, nil
}

// renew replaces the secrets of one connector whose files changed. All of them are
// tried first, on a copy: a key file that was written half way must not take an
// account down.
func renew(module any, lookup func(string) (string, error)) ([]string, error) {
	all, err := freshSecrets(module, lookup, fileReference)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	live := reflect.ValueOf(module).Elem()
	trial := reflect.New(live.Type())
	trial.Elem().Set(live)
	for _, f := range all {
		trial.Elem().Field(f.field).Set(reflect.ValueOf(connector.NewSecret(f.value)))
	}
	if p, ok := reflect.TypeAssert[connector.Preparer](trial); ok {
		if err := p.Prepare(); err != nil {
			return nil, err
		}
	}
	var names []string
	for _, f := range all {
		f.secret.Replace(f.value)
		names = append(names, f.name)
	}
	if p, ok := module.(connector.Preparer); ok {
		return names, p.Prepare()
	}
	return names, nil
}

// watchSecrets looks at the files until ctx ends.
func (a *App) watchSecrets(ctx context.Context) {
	told := ""
	for pause(ctx, watchEvery) {
		changed, err := a.renewSecrets()
		for _, what := range changed {
			a.auditLog.Info("audit", slog.String("act", "secrets.renew"), slog.String("object", what),
				slog.String("who", "gateway"), slog.String("from", "file"), slog.String("result", actDone))
		}
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != "" && text != told {
			a.log.Error("secrets cannot be renewed: those that were read before stay in use", slog.String("error", text))
		}
		told = text
	}
}

// hasFileSecrets tells whether there is anything to watch.
func (a *App) hasFileSecrets() bool {
	for _, account := range a.accounts {
		there := false
		_, _ = freshSecrets(account.Connector, nil, func(ref string) bool { // it looks at no file
			there = there || fileReference(ref)
			return false
		})
		if there {
			return true
		}
	}
	return false
}
