package gateway

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
)

// reloadReport says what was read anew.
type reloadReport struct {
	Object string `json:"object"`
	// Changed lists the secrets that were replaced, and "policies" where those
	// changed.
	Changed []string `json:"changed"`
	// Applied tells that the gateway works with all of them.
	Applied bool `json:"applied"`
	// Rules is how many policies hold.
	Rules  int    `json:"rules"`
	Detail string `json:"detail"`
}

// reload reads policies and secrets from their files now, instead of within the
// second in which they would be. It does not touch the configuration, nor a
// connection.
func reload(c call) error {
	report := reloadReport{Object: "reload", Changed: []string{}, Detail: "nothing has changed"}
	changed, err := c.renewSecrets()
	report.Changed = append(report.Changed, changed...)
	if c.rules != nil {
		p, readErr := c.rules.take(c.log, true)
		if p.changed {
			report.Changed = append(report.Changed, "policies")
		}
		report.Rules = p.rules
		err = errors.Join(err, readErr)
	}
	c.audit("reload", "files", err, slog.Int("changed", len(report.Changed)))
	if err != nil {
		return apiError(http.StatusUnprocessableEntity, err)
	}
	if report.Applied = true; len(report.Changed) > 0 {
		report.Detail = "in use: " + strings.Join(report.Changed, ", ")
	}
	return c.write(http.StatusOK, report)
}
