package pursercmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

func freezeCommand(cmd *cobra.Command) {
	cmd.Args = cobra.NoArgs
	cmd.Long = `Refuses new payments (503 frozen) until "unfreeze". Recovery, captures, refunds,
cancels and webhooks go on.`
	reason := cmd.Flags().String("reason", "", "why; it is shown to operators and kept in the audit")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return ask(cmd, http.MethodPost, "/freeze", map[string]string{"reason": *reason}, showFreeze)
	}
	adminFlags(cmd)
	strict(cmd)
}

func unfreezeCommand(cmd *cobra.Command) {
	cmd.Args = cobra.NoArgs
	cmd.Long = `Takes new payments again. A store that was restored from a backup starts frozen,
and "reconcile" lifts that freeze by itself: this command skips the comparison.`
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return ask(cmd, http.MethodPost, "/unfreeze", nil, func(w io.Writer, answer json.RawMessage) error {
			f, err := decode[freezeRow](answer)
			if err != nil {
				return err
			}
			if f.Warning != "" {
				cmd.PrintErrln("Warning:", f.Warning)
			}
			return showFreeze(w, answer)
		})
	}
	adminFlags(cmd)
	strict(cmd)
}

type freezeRow struct {
	Frozen     bool   `json:"frozen"`
	Since      string `json:"since"`
	By         string `json:"by"`
	Reason     string `json:"reason"`
	Unresolved int    `json:"unresolved"`
	Warning    string `json:"warning"`
}

func showFreeze(w io.Writer, answer json.RawMessage) error {
	f, err := decode[freezeRow](answer)
	if err != nil {
		return err
	}
	return printFreeze(w, f)
}

// printFreeze says in one line whether new payments are taken.
func printFreeze(w io.Writer, f freezeRow) error {
	if !f.Frozen {
		_, err := fmt.Fprintln(w, "New payments are taken.")
		return err
	}
	_, err := fmt.Fprintf(w, "FROZEN: no new payments since %s, by %s: %s\n", orDash(f.Since), orDash(f.By), orDash(f.Reason))
	return err
}

func storeBackup() *cobra.Command {
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Writes a copy of the running gateway's store to a file of its machine", Args: cobra.ExactArgs(1),
		Long: `Writes a consistent, compact copy of the store while the gateway goes on. The
gateway itself writes the file, readable for its user alone; it must not exist.
A gateway that is started on the copy is frozen until "reconcile". The copy is of
no use without the pepper and the seal key, which are not in it.`,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		file, err := filepath.Abs(args[0])
		if err != nil {
			return err
		}
		client, err := adminOf(cmd)
		if err != nil {
			return err
		}
		client.http.Timeout = 0 // it takes as long as it takes; Ctrl-C ends it
		answer, err := withProgress(cmd, client, "/store/backup", backupProgress, func(ctx context.Context) (json.RawMessage, error) {
			return client.call(ctx, http.MethodPost, "/store/backup", map[string]string{"file": file})
		})
		if err != nil {
			return err
		}
		return show(cmd, answer, showBackup)
	}
	return cmd
}

type backupRow struct {
	State      string `json:"state"`
	File       string `json:"file"`
	Bytes      int64  `json:"bytes"`
	StoreBytes int64  `json:"store_bytes"`
	TookMS     int64  `json:"took_ms"`
}

// progressEvery is how often the progress of long work is shown.
const progressEvery = time.Second

// withProgress waits for work, and tells on stderr how far it is: what line makes
// of the answer at path, "" for nothing.
func withProgress(
	cmd *cobra.Command, client *adminClient, path string, line func(json.RawMessage) string,
	work func(context.Context) (json.RawMessage, error),
) (json.RawMessage, error) {
	var answer json.RawMessage
	done := make(chan error, 1)
	go func() {
		var err error
		answer, err = work(cmd.Context())
		done <- err
	}()
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			return answer, err
		case <-ticker.C:
			now, err := client.call(cmd.Context(), http.MethodGet, path, nil)
			if err != nil {
				continue // the work itself will tell
			}
			if text := line(now); text != "" {
				cmd.PrintErrln(text)
			}
		}
	}
}

func backupProgress(answer json.RawMessage) string {
	b, err := decode[backupRow](answer)
	if err != nil || b.State != "running" {
		return ""
	}
	return fmt.Sprintf("%s of at most %s", size(b.Bytes), size(b.StoreBytes))
}

func showBackup(w io.Writer, answer json.RawMessage) error {
	b, err := decode[backupRow](answer)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s  %s  %s\n", b.File, size(b.Bytes), time.Duration(b.TookMS)*time.Millisecond)
	return err
}

// size writes a number of bytes for people.
func size(n int64) string {
	const kib, mib = 1 << 10, 1 << 20
	switch {
	case n >= mib:
		return strconv.FormatFloat(float64(n)/mib, 'f', 1, 64) + " MiB"
	default:
		return strconv.FormatFloat(float64(n)/kib, 'f', 1, 64) + " KiB"
	}
}

func eventsList() *cobra.Command {
	cmd := &cobra.Command{Use: "list [--payment ID] [--type TYPE]", Short: "Lists events, newest first", Args: cobra.NoArgs}
	f := cmd.Flags()
	filters := map[string]*string{
		"merchant":       f.String("merchant", "", "the merchant's id"),
		"mode":           f.String("mode", "", "test or live"),
		"type":           f.String("type", "", "such as payment.succeeded"),
		"payment":        f.String("payment", "", "the payment's id"),
		"created_after":  f.String("created-after", "", "RFC 3339"),
		"created_before": f.String("created-before", "", "RFC 3339"),
		"cursor":         f.String("cursor", "", "goes on where a page ended"),
	}
	limit := f.Int("limit", 20, "events of a page, 1 to 100")
	completeFlag(cmd, "merchant", names("/merchants", "id"))
	completeFlag(cmd, "mode", fixed("test", "live"))
	completeFlag(cmd, "type", fixed(eventTypes()...))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q := url.Values{"limit": {strconv.Itoa(*limit)}}
		for name, value := range filters {
			setQuery(q, name, *value)
		}
		return ask(cmd, http.MethodGet, withQuery("/events", q), nil, showEvents)
	}
	return cmd
}

type eventRow struct {
	ID        string `json:"id"`
	Type      string `json:"type"`
	Merchant  string `json:"merchant"`
	Mode      string `json:"mode"`
	Payment   string `json:"payment"`
	Sequence  int64  `json:"sequence"`
	CreatedAt string `json:"created_at"`
}

func showEvents(w io.Writer, answer json.RawMessage) error {
	list, err := decode[listOf[eventRow]](answer)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, e := range list.Data {
		rows = append(rows, []string{e.ID, e.Type, e.Payment, strconv.FormatInt(e.Sequence, 10), e.Mode, e.Merchant, e.CreatedAt})
	}
	return errors.Join(table(w, []string{"EVENT", "TYPE", "PAYMENT", "NO", "MODE", "MERCHANT", "CREATED"}, rows), more(w, list.NextCursor))
}

// more tells how a list goes on.
func more(w io.Writer, cursor *string) error {
	if cursor == nil {
		return nil
	}
	_, err := fmt.Fprintf(w, "more: --cursor %s\n", *cursor)
	return err
}
