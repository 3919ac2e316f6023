package pursercmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// errUnsound ends a reconciliation that leaves something to be looked at.
var errUnsound = errors.New("some payments are in doubt or were not compared")

func reconcileCommand(cmd *cobra.Command) {
	cmd.Args = cobra.NoArgs
	cmd.Long = `Asks the PSPs about every payment of the last 180 days, settled or not, and writes
down what they say: refunds and captures made elsewhere are adopted, money that
contradicts the store is shown as conflicted. A store that was restored from a
backup takes no new payments and makes no refunds until this leaves no doubt. It
cannot find payments that were made after the backup, and says so. It ends with 1
where something is left to be looked at.`
	since := cmd.Flags().String("since", "", "compare payments created later than this, RFC 3339")
	accept := cmd.Flags().Bool("accept-unasked", false, "you have looked at the payments whose PSP has no query")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		in := map[string]any{"accept_unasked": *accept}
		if *since != "" {
			at, err := time.Parse(time.RFC3339, *since)
			if err != nil {
				return usageError("--since is no time of RFC 3339, such as 2026-01-31T00:00:00Z: %q", *since)
			}
			in["since"] = at
		}
		client, err := adminOf(cmd)
		if err != nil {
			return err
		}
		client.http.Timeout = 0 // it takes as long as it takes; Ctrl-C ends it
		answer, err := withProgress(cmd, client, "/reconcile", reconcileProgress, func(ctx context.Context) (json.RawMessage, error) {
			return client.call(ctx, http.MethodPost, "/reconcile", in)
		})
		if err != nil {
			return err
		}
		if err := show(cmd, answer, showReconciliation); err != nil {
			return err
		}
		if r, err := decode[reconcileRow](answer); err != nil || r.Unresolved+r.Silent > 0 || r.Deaf > 0 && !*accept {
			return errors.Join(err, errUnsound)
		}
		return nil
	}
	adminFlags(cmd)
	strict(cmd)
}

type reconcileRow struct {
	State      string `json:"state"`
	TookMS     int64  `json:"took_ms"`
	Payments   int    `json:"payments"`
	Agreed     int    `json:"agreed"`
	Changed    int    `json:"changed"`
	Unresolved int    `json:"unresolved"`
	Silent     int    `json:"silent"`
	Deaf       int    `json:"deaf"`
	Nothing    int    `json:"nothing"`
	Findings   []struct {
		Payment string `json:"payment"`
		Account string `json:"account"`
		Kind    string `json:"kind"`
		Detail  string `json:"detail"`
	} `json:"findings"`
	Omitted      int    `json:"omitted"`
	RestoredFrom string `json:"restored_from"`
	Lifted       bool   `json:"lifted"`
	Warning      string `json:"warning"`
}

func reconcileProgress(answer json.RawMessage) string {
	r, err := decode[reconcileRow](answer)
	if err != nil || r.State != "running" {
		return ""
	}
	return fmt.Sprintf("%d payments, %d changed", r.Payments, r.Changed)
}

func showReconciliation(w io.Writer, answer json.RawMessage) error {
	r, err := decode[reconcileRow](answer)
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&text, "%s\t%s\t%s\t%s\n", f.Kind, f.Payment, orDash(f.Account), f.Detail)
	}
	if r.Omitted > 0 {
		fmt.Fprintf(&text, "… and %d more\n", r.Omitted)
	}
	fmt.Fprintf(&text, "%d payments in %s: %d agree, %d changed, %d in doubt, %d not answered, %d that cannot be asked about, %d with nothing at a PSP\n",
		r.Payments, time.Duration(r.TookMS)*time.Millisecond, r.Agreed, r.Changed, r.Unresolved, r.Silent, r.Deaf, r.Nothing)
	if r.Lifted {
		text.WriteString("The freeze of the restored store is lifted: new payments are taken.\n")
	}
	if r.Warning != "" {
		text.WriteString("Note: " + r.Warning + "\n")
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, err = table.Write([]byte(text.String()))
	return errors.Join(err, table.Flush())
}
