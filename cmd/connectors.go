package pursercmd

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"

	"github.com/purser-pay/purser/modules/connector"
)

// connectorRow is a connector of this binary: its Spec, in words.
type connectorRow struct {
	Name           string   `json:"name"`
	Methods        []string `json:"methods"`
	Manual         []string `json:"manual_capture"` // methods
	Operations     []string `json:"operations"`
	Currencies     []string `json:"currencies"` // empty = all
	PartialCapture bool     `json:"partial_capture"`
	PartialRefund  bool     `json:"partial_refund"`
	RepeatBy       string   `json:"repeat_by"`
	Query          string   `json:"query"`
	ReversalHours  float64  `json:"reversal_hours"` // 0 = there is none
	TestURL        string   `json:"test_url"`
	LiveURL        string   `json:"live_url"`
	Source         string   `json:"source"`
}

// connectorList needs no gateway: what is in the binary is in the binary.
func connectorList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "Lists the connectors of this binary, and what they can do", Args: cobra.NoArgs}
	cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		rows, err := linkedConnectors()
		if err != nil {
			return err
		}
		answer, err := json.Marshal(map[string]any{"object": "list", "data": rows, "has_more": false, "next_cursor": nil})
		if err != nil {
			return err
		}
		return show(cmd, answer, showConnectors)
	}
	return cmd
}

func linkedConnectors() ([]connectorRow, error) {
	var rows []connectorRow
	for _, info := range caddy.GetModules("payments.connectors") {
		c, ok := info.New().(connector.Connector)
		if !ok {
			return nil, fmt.Errorf("%s is no connector", info.ID)
		}
		rows = append(rows, describe(c.Spec()))
	}
	return rows, nil
}

func describe(s connector.Spec) connectorRow {
	row := connectorRow{
		Name: s.Name, Methods: []string{}, Manual: []string{}, Operations: []string{}, Currencies: []string{},
		PartialCapture: s.PartialCapture, PartialRefund: s.PartialRefund,
		RepeatBy: repeatWords(s.Idempotency), Query: queryWords(s.Query),
		TestURL: s.TestURL, LiveURL: s.LiveURL, Source: s.Source,
	}
	for _, m := range s.Methods {
		name := string(m.Type)
		if m.Flow != "" {
			name += ":" + string(m.Flow)
		}
		row.Methods = append(row.Methods, name)
		if m.Manual {
			row.Manual = append(row.Manual, name)
		}
	}
	for _, k := range s.Kinds {
		row.Operations = append(row.Operations, string(k))
	}
	for _, c := range s.Currencies {
		row.Currencies = append(row.Currencies, string(c))
	}
	if s.Reversal != nil {
		row.ReversalHours = s.Reversal.Window.Hours()
	}
	return row
}

func repeatWords(i connector.Idempotency) string {
	switch i.By {
	case connector.ByKey:
		return "key"
	case connector.ByReference:
		return "reference"
	default:
		return "nothing"
	}
}

func queryWords(q connector.Query) string {
	switch q {
	case connector.QueryExact:
		return "our reference"
	case connector.QueryPSPReference:
		return "the PSP's reference"
	default:
		return "none"
	}
}

func showConnectors(w io.Writer, answer json.RawMessage) error {
	list, err := decode[listOf[connectorRow]](answer)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, c := range list.Data {
		currencies := "all"
		if n := len(c.Currencies); n > 3 {
			currencies = strconv.Itoa(n)
		} else if n > 0 {
			currencies = strings.Join(c.Currencies, " ")
		}
		rows = append(rows, []string{
			c.Name, strings.Join(c.Methods, " "), strings.Join(c.Operations, " "), currencies, c.RepeatBy, c.Query,
		})
	}
	return table(w, []string{"CONNECTOR", "METHODS", "OPERATIONS", "CURRENCIES", "REPEATS BY", "FOUND BY"}, rows)
}

func connectorTest() *cobra.Command {
	cmd := &cobra.Command{
		Use: "test ACCOUNT", Short: "Looks whether an account could take payments; moves nothing", Args: cobra.ExactArgs(1),
		Long: `Reads the account's secrets again, asks every host of its PSP for nothing through
the account's own client (name, route, TLS), and makes one call at the PSP that
only reads, to see whether the credentials are accepted, refused, or cannot be
told. It moves no money, leaves nothing behind, and says what it did not test. It
ends with 1 where a check failed; what cannot be told is no success.`,
		ValidArgsFunction: names("/accounts", "name"),
	}
	adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := adminOf(cmd)
		if err != nil {
			return err
		}
		answer, err := client.call(cmd.Context(), http.MethodPost, "/accounts/"+url.PathEscape(args[0])+"/test", nil)
		if err != nil {
			return err
		}
		t, err := decode[testRow](answer)
		if err != nil {
			return err
		}
		err = show(cmd, answer, func(w io.Writer, _ json.RawMessage) error { return t.show(w) })
		if err == nil && !t.OK {
			return fmt.Errorf("account %s: a check failed", args[0])
		}
		return err
	}
	return cmd
}

// testRow is what a test of an account found.
type testRow struct {
	OK     bool `json:"ok"`
	Checks []struct {
		Check  string `json:"check"`
		OK     bool   `json:"ok"`
		Detail string `json:"detail"`
		TookMS int64  `json:"took_ms"`
	} `json:"checks"`
	NotTested []string `json:"not_tested"`
}

func (t testRow) show(w io.Writer) error {
	var rows [][]string
	for _, c := range t.Checks {
		verdict := "ok"
		if !c.OK {
			verdict = "FAILED"
		}
		rows = append(rows, []string{c.Check, verdict, strconv.FormatInt(c.TookMS, 10) + " ms", c.Detail})
	}
	err := table(w, []string{"CHECK", "RESULT", "TOOK", "DETAIL"}, rows)
	for _, n := range t.NotTested {
		if err == nil {
			_, err = fmt.Fprintln(w, "not tested:", n)
		}
	}
	return err
}
