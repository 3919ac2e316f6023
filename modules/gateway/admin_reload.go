package gateway

import (
	"fmt"
	"log/slog"
	"net/http"
	"reflect"

	"github.com/purser-pay/purser/modules/connector"
)

// reloadReport says what a reload of the secrets would change.
type reloadReport struct {
	Object string `json:"object"`
	// Changed lists the secrets whose file or variable now says something else.
	Changed []string `json:"changed"`
	// Applied tells whether the gateway now works with them.
	Applied bool   `json:"applied"`
	Detail  string `json:"detail"`
}

// reload reads every secret again and tells which ones changed. It does not
// apply them: a forced reload of the configuration does that, without dropping
// a request.
func reload(c call) error {
	report := reloadReport{Object: "reload", Changed: []string{}, Detail: "nothing to reload"}
	for _, name := range sorted(c.accounts) {
		changed, err := changedSecrets(c.accounts[name].Connector, lookup(c.Root))
		if err != nil {
			err = fmt.Errorf("account %s: %w", name, err)
			c.audit("reload", name, err)
			return apiError(http.StatusUnprocessableEntity, err)
		}
		for _, field := range changed {
			report.Changed = append(report.Changed, "account "+name+": "+field)
		}
	}
	if len(report.Changed) > 0 {
		report.Detail = "not applied yet: run `purser reload --force` with the configuration's file"
	}
	c.audit("reload", "secrets", nil, slog.Int("changed", len(report.Changed)))
	return c.write(http.StatusOK, report)
}

// changedSecrets names the fields of a connector whose secret is another now.
func changedSecrets(module any, lookup func(string) (string, error)) ([]string, error) {
	v := reflect.ValueOf(module)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return nil, nil
	}
	v = v.Elem()
	var changed []string
	for i := range v.NumField() {
		if !v.Type().Field(i).IsExported() {
			continue
		}
		s, ok := reflect.TypeAssert[connector.Secret](v.Field(i))
		if !ok || s.IsZero() {
			continue
		}
		now := s
		if err := now.Resolve(lookup); err != nil {
			return nil, fmt.Errorf("%s: %w", fieldName(v.Type().Field(i)), err)
		}
		if now.Reveal() != s.Reveal() {
			changed = append(changed, fieldName(v.Type().Field(i)))
		}
	}
	return changed, nil
}
