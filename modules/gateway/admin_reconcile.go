package gateway

import (
	"errors"
	"log/slog"
	"net/http"
	"time"
)

// reconcilePayments compares payments with their PSPs and ends the freeze of a
// restored store where that leaves no doubt. It answers when it is done, which
// may take minutes; showReconciliation tells meanwhile how far it is.
func reconcilePayments(c call) error {
	defer c.Use()()
	var in struct {
		Since time.Time `json:"since,omitzero"`
		// AcceptUnasked: an operator has looked at what no PSP can be asked about.
		AcceptUnasked bool `json:"accept_unasked"`
	}
	if err := c.read(&in); err != nil {
		return err
	}
	c.mayTakeLong()
	s, err := c.reconcile(c.r.Context(), in.Since, in.AcceptUnasked)
	if errors.Is(err, errReconciles) {
		err = apiError(http.StatusConflict, err)
	}
	c.audit("reconcile", "payments", err, slog.Int("payments", s.Payments), slog.Int("changed", s.Changed),
		slog.Int("unresolved", s.Unresolved), slog.Int("silent", s.Silent), slog.Int("deaf", s.Deaf),
		slog.Bool("accept_unasked", in.AcceptUnasked), slog.Bool("lifted", s.Lifted))
	if err != nil {
		return err
	}
	return c.write(http.StatusOK, s)
}

func showReconciliation(c call) error { return c.write(http.StatusOK, c.ground.reconciler.state()) }
