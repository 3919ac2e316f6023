package pursercmd

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

func eventsResend() *cobra.Command {
	cmd := &cobra.Command{
		Use: "resend ID [--endpoint ENDPOINT]", Short: "Sends an event again to the webhook endpoints that want it",
		Args: cobra.ExactArgs(1), ValidArgsFunction: names("/events", "id"),
	}
	endpoint := cmd.Flags().String("endpoint", "", "only this one, whatever types it wants")
	completeFlag(cmd, "endpoint", namesOfFlag("/webhook_endpoints"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in := map[string]string{}
		if *endpoint != "" {
			in["endpoint"] = *endpoint
		}
		return ask(cmd, http.MethodPost, "/events/"+url.PathEscape(args[0])+"/resend", in, showResent)
	}
	return cmd
}

func showResent(w io.Writer, answer json.RawMessage) error {
	r, err := decode[struct {
		Event     string   `json:"event"`
		Endpoints []string `json:"endpoints"`
	}](answer)
	if err != nil {
		return err
	}
	if len(r.Endpoints) == 0 {
		_, err := fmt.Fprintf(w, "%s is queued for nobody: no enabled endpoint wants its type.\n", r.Event)
		return err
	}
	_, err = fmt.Fprintf(w, "%s is queued for %s.\n", r.Event, strings.Join(r.Endpoints, ", "))
	return err
}

type endpointRow struct {
	ID           string   `json:"id"`
	Merchant     string   `json:"merchant"`
	Mode         string   `json:"mode"`
	URL          string   `json:"url"`
	Events       []string `json:"events"`
	Status       string   `json:"status"`
	Reason       string   `json:"status_reason"`
	FailingSince *string  `json:"failing_since"`
}

func webhooksList() *cobra.Command {
	cmd := &cobra.Command{Use: "list [--merchant MERCHANT] [--status STATUS]", Short: "Lists merchants' webhook endpoints and how they stand, oldest first", Args: cobra.NoArgs}
	f := cmd.Flags()
	filters := map[string]*string{
		"merchant": f.String("merchant", "", "the merchant's id"),
		"mode":     f.String("mode", "", "test or live"),
		"status":   f.String("status", "", "enabled, paused or disabled"),
	}
	completeFlag(cmd, "merchant", namesOfFlag("/merchants"))
	completeFlag(cmd, "mode", fixed("test", "live"))
	completeFlag(cmd, "status", fixed("enabled", "paused", "disabled"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q := url.Values{}
		for name, value := range filters {
			setQuery(q, name, *value)
		}
		return ask(cmd, http.MethodGet, withQuery("/webhook_endpoints", q), nil, showEndpoints)
	}
	return cmd
}

func showEndpoints(w io.Writer, answer json.RawMessage) error {
	list, err := decode[listOf[endpointRow]](answer)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, e := range list.Data {
		failing := ""
		if e.FailingSince != nil {
			failing = *e.FailingSince
		}
		events := strings.Join(e.Events, ",")
		if events == "" {
			events = "*"
		}
		rows = append(rows, []string{e.ID, e.Status, orDash(failing), e.Mode, e.Merchant, e.URL, events, orDash(e.Reason)})
	}
	return table(w, []string{"ENDPOINT", "STATUS", "FAILING SINCE", "MODE", "MERCHANT", "URL", "EVENTS", "REASON"}, rows)
}
