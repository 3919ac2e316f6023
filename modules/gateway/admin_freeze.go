package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/store"
)

// A store bears in [engine.SettingRestored] when the backup was made from which
// it comes; "" for a store that is nobody's copy. A backup bears it from its
// making, so that nothing has to notice a restoration.

// frozenByBackup is who froze a store that was restored.
const frozenByBackup = "backup"

// frost is what the store keeps of a freeze, in [engine.SettingFrozen].
type frost struct {
	Since  time.Time `json:"since"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
}

// freezeState is a freeze as operators see it.
type freezeState struct {
	Object string     `json:"object"` // freeze
	Frozen bool       `json:"frozen"`
	Since  *time.Time `json:"since"`
	By     string     `json:"by,omitempty"`
	Reason string     `json:"reason,omitempty"`
	// RestoredFrom is the moment of the backup that this store is a copy of.
	RestoredFrom *time.Time `json:"restored_from"`
	Unresolved   int        `json:"unresolved"` // payments
	Warning      string     `json:"warning,omitempty"`
}

// readFreeze tells how the store stands. It counts payments, and so belongs in no
// update: the counted would have to stand still meanwhile.
func readFreeze(r store.Reader) (freezeState, error) {
	s, err := readFrost(r)
	if err != nil {
		return s, err
	}
	rows, err := r.Unresolved()
	for _, row := range rows {
		s.Unresolved += row.Count
	}
	return s, err
}

// readFrost tells what the settings say of a freeze.
func readFrost(r store.Reader) (freezeState, error) {
	s := freezeState{Object: "freeze"}
	text, err := setting(r, engine.SettingFrozen)
	if err != nil {
		return s, err
	}
	if text != "" {
		var f frost
		if json.Unmarshal([]byte(text), &f) != nil {
			f = frost{Reason: text} // set by other hands; the engine heeds it all the same
		}
		s.Frozen, s.By, s.Reason = true, f.By, f.Reason
		if !f.Since.IsZero() {
			s.Since = &f.Since
		}
	}
	restored, err := setting(r, engine.SettingRestored)
	if err != nil {
		return s, err
	}
	if at, err := time.Parse(time.RFC3339Nano, restored); err == nil {
		s.RestoredFrom = &at
	}
	return s, nil
}

// setting reads a setting; "" where there is none.
func setting(r store.Reader, name string) (string, error) {
	v, err := r.Setting(name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", fmt.Errorf("setting %s: %w", name, err)
	}
	return v, nil
}

// putFrost freezes a store.
func putFrost(tx store.Tx, f frost) error {
	b, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("freeze: %w", err)
	}
	return tx.PutSetting(engine.SettingFrozen, string(b))
}

// showFreeze tells how the store stands, after a change as well.
func showFreeze(c call) error {
	s, err := c.standing()
	if err != nil {
		return err
	}
	return c.write(http.StatusOK, s)
}

// standing is [readFreeze] in a view of its own.
func (c call) standing() (s freezeState, err error) {
	err = c.ground.store.View(c.r.Context(), func(r store.Reader) (err error) {
		s, err = readFreeze(r)
		return err
	})
	return s, err
}

// freeze stops new payments. A second one replaces the reason alone.
func freeze(c call) error {
	var in struct {
		Reason string `json:"reason"`
	}
	if err := c.read(&in); err != nil {
		return err
	}
	reason := Scrub(strings.TrimSpace(in.Reason))
	if len(reason) > maxReason {
		return fmt.Errorf("%w: a reason has at most %d bytes", errRequest, maxReason)
	}
	err := c.ground.store.Update(c.r.Context(), func(tx store.Tx) error {
		was, err := readFrost(tx)
		if err != nil {
			return err
		}
		f := frost{Since: now(), By: c.who(), Reason: reason}
		if was.Since != nil {
			f.Since = *was.Since
		}
		return putFrost(tx, f)
	})
	c.audit("freeze", "payments", err, slog.String("reason", reason))
	if err != nil {
		return err
	}
	return showFreeze(c)
}

// unfreeze lets new payments in again. Of a restored store it says what is not
// known of it.
func unfreeze(c call) error {
	var was freezeState
	err := c.ground.store.Update(c.r.Context(), func(tx store.Tx) (err error) {
		if was, err = readFrost(tx); err != nil {
			return err
		}
		return errors.Join(tx.PutSetting(engine.SettingFrozen, ""), tx.PutSetting(engine.SettingRestored, ""))
	})
	c.audit("unfreeze", "payments", err, slog.String("reason_was", was.Reason), slog.Bool("restored", was.RestoredFrom != nil))
	if err != nil {
		return err
	}
	s, err := c.standing()
	if err != nil {
		return err
	}
	s.Warning = thaw(was.RestoredFrom, s.Unresolved)
	return c.write(http.StatusOK, s)
}

// thaw says what an operator should have done before new payments came in.
func thaw(restored *time.Time, unresolved int) string {
	var w []string
	if restored != nil {
		w = append(w, fmt.Sprintf("this store was restored from a backup of %s: what happened at the PSPs since then is not in it, "+
			"and nothing has compared it with theirs", restored.Format(time.RFC3339)))
	}
	if unresolved > 0 {
		w = append(w, fmt.Sprintf("payments of unknown outcome: %d; sync them", unresolved))
	}
	return strings.Join(w, "; ")
}
