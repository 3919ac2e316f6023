package pursercmd

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func init() {
	for _, c := range []caddycmd.Command{
		{Name: "merchants", Short: "Creates and lists merchants", CobraFunc: group(merchantsCreate, merchantsList)},
		{Name: "keys", Short: "Creates, lists, rotates and revokes API keys", CobraFunc: group(keysCreate, keysList, keysRotate, keysRevoke)},
		{Name: "tokens", Short: "Revokes access tokens (JWT), and lists revocations", CobraFunc: group(tokensRevoke, tokensList)},
		{Name: "payments", Short: "Shows payments, and settles those in doubt", CobraFunc: group(paymentsGet, paymentsList, paymentsSync, paymentsResolve)},
		{Name: "accounts", Short: "Lists connector accounts, and takes them out of use", CobraFunc: group(accountsList, accountsDisable, accountsEnable)},
		{Name: "events", Short: "Lists what happened to payments, and sends it again", CobraFunc: group(eventsList, eventsResend)},
		{Name: "webhooks", Short: "Lists merchants' webhook endpoints", CobraFunc: group(webhooksList)},
		{
			Name: "listen", Usage: "--forward-to <url> [--merchant <id>] [--events <types>]",
			Short: "Forwards events to a URL of yours as they happen, for development", CobraFunc: listenCommand,
		},
		{Name: "freeze", Usage: "[--reason <text>]", Short: "Refuses new payments; all else goes on", CobraFunc: freezeCommand},
		{Name: "unfreeze", Short: "Takes new payments again", CobraFunc: unfreezeCommand},
		{
			Name: "reconcile", Usage: "[--since <time>] [--accept-unasked]",
			Short: "Compares payments with their PSPs; needed after a restore", CobraFunc: reconcileCommand,
		},
		{Name: "store", Short: "Backs up the store", CobraFunc: group(storeBackup)},
		{Name: "connector", Short: "Lists connectors, and tests an account of one", CobraFunc: group(connectorList, connectorTest)},
		{Name: "sign", Usage: "--url <url> [--method <method>] [--header <header>]... [--data <body>]", Short: "Prints a curl line with a signed request", CobraFunc: signCommand},
		{Name: "simulator", Usage: "[--listen <address>] [--seed <n>]", Short: "Runs the PSP simulator alone", CobraFunc: simulatorCommand},
		{Name: "certs", Short: "Makes certificates for development: an authority, servers, clients, revocations", CobraFunc: certsCommand},
		{Name: "dev", Usage: "[--data <folder>] [--listen <address>]", Short: "Runs the gateway with everything it needs, for development", CobraFunc: devCommand},
	} {
		caddycmd.RegisterCommand(c)
	}
}

// group makes a command that has subcommands and does nothing by itself.
func group(subcommands ...func() *cobra.Command) func(*cobra.Command) {
	return func(parent *cobra.Command) {
		parent.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("%s has no command %q", cmd.Name(), args[0])
			}
			return cmd.Help()
		}
		strict(parent)
		for _, build := range subcommands {
			cmd := build()
			if cmd.Flags().Lookup("json") == nil {
				adminFlags(cmd)
			}
			strict(cmd)
			parent.AddCommand(cmd)
		}
	}
}

type merchantRow struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	CreatedAt string `json:"created_at"`
}

func merchantsCreate() *cobra.Command {
	cmd := &cobra.Command{Use: "create [--name NAME]", Short: "Creates a merchant", Args: cobra.NoArgs}
	name := cmd.Flags().String("name", "", "what people call the merchant")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return ask(cmd, http.MethodPost, "/merchants", map[string]string{"name": *name}, showMerchants)
	}
	return cmd
}

func merchantsList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "Lists merchants, oldest first", Args: cobra.NoArgs}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return ask(cmd, http.MethodGet, "/merchants", nil, showMerchants)
	}
	return cmd
}

// showMerchants prints one merchant or a list of them.
func showMerchants(w io.Writer, answer json.RawMessage) error {
	merchants, err := oneOrMany[merchantRow](answer)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, m := range merchants {
		rows = append(rows, []string{m.ID, orDash(m.Name), m.CreatedAt})
	}
	return table(w, []string{"MERCHANT", "NAME", "CREATED"}, rows)
}

// oneOrMany reads an object or a list of objects.
func oneOrMany[T any](answer json.RawMessage) ([]T, error) {
	list, err := decode[struct {
		Object string `json:"object"`
		Data   []T    `json:"data"`
	}](answer)
	if err != nil || list.Object == "list" {
		return list.Data, err
	}
	one, err := decode[T](answer)
	return []T{one}, err
}

type paymentRow struct {
	ID        string  `json:"id"`
	Merchant  string  `json:"merchant"`
	Status    string  `json:"status"`
	Outcome   string  `json:"outcome"`
	Amount    int64   `json:"amount"`
	Currency  string  `json:"currency"`
	Account   *string `json:"account"`
	Reference *string `json:"reference"`
	CreatedAt string  `json:"created_at"`
}

func paymentsGet() *cobra.Command {
	cmd := &cobra.Command{Use: "get ID", Short: "Shows a payment", Args: cobra.ExactArgs(1)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return ask(cmd, http.MethodGet, "/payments/"+url.PathEscape(args[0]), nil, showPayment)
	}
	return cmd
}

func paymentsList() *cobra.Command {
	cmd := &cobra.Command{Use: "list [--outcome unknown]", Short: "Lists payments, newest first", Args: cobra.NoArgs}
	f := cmd.Flags()
	filters := map[string]*string{
		"outcome":   f.String("outcome", "", "known, unknown or conflicted"),
		"status":    f.String("status", "", "such as processing"),
		"merchant":  f.String("merchant", "", "the merchant's id"),
		"mode":      f.String("mode", "", "test or live"),
		"reference": f.String("reference", "", "the merchant's own reference"),
		"cursor":    f.String("cursor", "", "goes on where a page ended"),
	}
	completeFlag(cmd, "outcome", fixed("known", "unknown", "conflicted"))
	completeFlag(cmd, "mode", fixed("test", "live"))
	completeFlag(cmd, "merchant", names("/merchants", "id"))
	limit := f.Int("limit", 20, "payments of a page, 1 to 100")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q := url.Values{"limit": {strconv.Itoa(*limit)}}
		for name, value := range filters {
			setQuery(q, name, *value)
		}
		return ask(cmd, http.MethodGet, withQuery("/payments", q), nil, showPayments)
	}
	return cmd
}

func paymentsSync() *cobra.Command {
	cmd := &cobra.Command{Use: "sync ID", Short: "Asks the PSP about what is open in a payment", Args: cobra.ExactArgs(1)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return ask(cmd, http.MethodPost, "/payments/"+url.PathEscape(args[0])+"/sync", nil, showPayment)
	}
	return cmd
}

func paymentsResolve() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resolve ID --as succeeded|failed|canceled --reason TEXT",
		Short: "Settles by hand what no PSP answers", Args: cobra.ExactArgs(1),
	}
	as := cmd.Flags().String("as", "", "succeeded, failed or canceled")
	reason := cmd.Flags().String("reason", "", "why; it is kept in the audit")
	completeFlag(cmd, "as", fixed("succeeded", "failed", "canceled"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *as == "" || strings.TrimSpace(*reason) == "" {
			return usageError("--as and --reason are needed")
		}
		return ask(cmd, http.MethodPost, "/payments/"+url.PathEscape(args[0])+"/resolve",
			map[string]string{"as": *as, "reason": *reason}, showPayment)
	}
	return cmd
}

// showPayment prints the whole of one payment, indented: a table would hide what
// an operator looks for.
func showPayment(w io.Writer, answer json.RawMessage) error {
	v, err := decode[any](answer)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func showPayments(w io.Writer, answer json.RawMessage) error {
	list, err := decode[listOf[paymentRow]](answer)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, p := range list.Data {
		account := ""
		if p.Account != nil {
			account = *p.Account
		}
		rows = append(rows, []string{
			p.ID, p.Status, p.Outcome, strconv.FormatInt(p.Amount, 10), p.Currency, orDash(account), p.Merchant, p.CreatedAt,
		})
	}
	err = table(w, []string{"PAYMENT", "STATUS", "OUTCOME", "AMOUNT", "CURRENCY", "ACCOUNT", "MERCHANT", "CREATED"}, rows)
	return errors.Join(err, more(w, list.NextCursor))
}

type accountRow struct {
	Name       string   `json:"name"`
	Connector  string   `json:"connector"`
	Mode       string   `json:"mode"`
	Merchants  []string `json:"merchants"`
	Priority   int      `json:"priority"`
	State      string   `json:"state"`
	Circuit    string   `json:"circuit"`
	Unresolved int      `json:"unresolved"`
}

func accountsList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "Lists connector accounts", Args: cobra.NoArgs}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return ask(cmd, http.MethodGet, "/accounts", nil, showAccounts)
	}
	return cmd
}

func accountsDisable() *cobra.Command {
	return accountSwitch("disable", "Keeps new payments from an account; what is under way goes on")
}

func accountsEnable() *cobra.Command {
	return accountSwitch("enable", "Lets an account take new payments again")
}

func accountSwitch(verb, short string) *cobra.Command {
	cmd := &cobra.Command{Use: verb + " NAME", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: names("/accounts", "name")}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return ask(cmd, http.MethodPost, "/accounts/"+url.PathEscape(args[0])+"/"+verb, nil, showAccounts)
	}
	return cmd
}

func showAccounts(w io.Writer, answer json.RawMessage) error {
	accounts, err := oneOrMany[accountRow](answer)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, a := range accounts {
		rows = append(rows, []string{
			a.Name, a.Connector, a.Mode, a.State, a.Circuit, strconv.Itoa(a.Priority), strconv.Itoa(a.Unresolved), strings.Join(a.Merchants, " "),
		})
	}
	err = table(w, []string{"ACCOUNT", "CONNECTOR", "MODE", "STATE", "CIRCUIT", "PRIORITY", "UNRESOLVED", "MERCHANTS"}, rows)
	all, bad := decode[struct {
		Freeze freezeRow `json:"freeze"`
	}](answer)
	if err = errors.Join(err, bad); err == nil && all.Freeze.Frozen {
		return printFreeze(w, all.Freeze)
	}
	return err
}

func setQuery(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

func withQuery(path string, q url.Values) string {
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}
