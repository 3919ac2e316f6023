package pursercmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/policy"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name: "policy", Short: "Checks, tests and explains policies; needs no gateway",
		CobraFunc: group(policyCheck, policyTest, policyExplain),
	})
}

// defaultPolicies is where policies stand in this repository, and beside a
// configuration.
const defaultPolicies = "policies"

// policyFlags adds --policies and --json to a command.
func policyFlags(cmd *cobra.Command) *string {
	cmd.Flags().Bool("json", false, "print JSON")
	dir := cmd.Flags().String("policies", defaultPolicies, "the folder of policies")
	if err := cmd.MarkFlagDirname("policies"); err != nil {
		panic(err) // the flag is there
	}
	return dir
}

// checked is what is told of a folder of policies.
type checked struct {
	OK     bool            `json:"ok"`
	Rules  int             `json:"rules"`
	Files  int             `json:"files"`
	Faults []*policy.Fault `json:"faults"`
	// Warnings are of policies that are right, and may mean something else.
	Warnings []*policy.Fault  `json:"warnings,omitempty"`
	Count    *int             `json:"tests,omitempty"`
	Tests    []policy.Outcome `json:"outcomes,omitempty"`
}

func policyCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check [--policies DIR]", Short: "Says what is wrong with policies and their tests", Args: cobra.NoArgs,
		Long: `Reads every *.yaml of the folder, rules and tests, as the gateway would, and
prints FILE:LINE: message for whatever is wrong, and FILE:LINE: warning: message for
what is right and may not mean what it seems to. It runs no tests.`,
	}
	dir := policyFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		set, tests, err := policy.Check(*dir)
		if err != nil {
			return refusePolicies(cmd, *dir, err)
		}
		warnings := set.Warnings()
		return showChecked(cmd, checked{OK: true, Rules: set.Len(), Files: set.Files(), Count: &tests, Warnings: warnings}, func(w io.Writer) error {
			for _, f := range warnings {
				warning := *f
				warning.Message = "warning: " + f.Message
				if _, err := fmt.Fprintln(w, warning.String()); err != nil {
					return err
				}
			}
			_, err := fmt.Fprintf(w, "%s: %s in %s, and %s\n", *dir, plural(set.Len(), "rule"), plural(set.Files(), "file"), plural(tests, "test"))
			return err
		})
	}
	return cmd
}

func policyTest() *cobra.Command {
	cmd := &cobra.Command{
		Use: "test [--policies DIR]", Short: "Runs the tests beside policies", Args: cobra.NoArgs,
		Long: `Runs every *_test.yaml of the folder against its rules, and prints
FILE:LINE: name: got and want for each test that fails.`,
	}
	dir := policyFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		set, outcomes, err := policy.Test(*dir)
		if err != nil {
			return refusePolicies(cmd, *dir, err)
		}
		var failed []string
		for i := range outcomes {
			if !outcomes[i].Passed {
				failed = append(failed, outcomes[i].String())
			}
		}
		n := len(outcomes)
		err = showChecked(cmd, checked{
			OK: len(failed) == 0, Rules: set.Len(), Files: set.Files(), Count: &n, Tests: outcomes,
		}, func(w io.Writer) error {
			for _, line := range failed {
				if _, err := fmt.Fprintln(w, line); err != nil {
					return err
				}
			}
			_, err := fmt.Fprintf(w, "%s: %d of %s passed\n", *dir, n-len(failed), plural(n, "test"))
			return err
		})
		if err == nil && len(failed) > 0 {
			return fmt.Errorf("%s: %s failed", *dir, plural(len(failed), "test"))
		}
		return err
	}
	return cmd
}

func policyExplain() *cobra.Command {
	cmd := &cobra.Command{
		Use: "explain --request FILE.json [--policies DIR]", Short: "Says what policies decide over a request, and why", Args: cobra.NoArgs,
		Long: `Reads a request as a JSON object of the variables of conditions, such as
{"mode": "live", "route": "POST /v1/payments", "amount": 1999, "currency": "EUR"},
and prints the decision, the rule that refuses, and what each rule found. What the
object leaves out is absent, and now is now. FILE - is the standard input. It ends
with 0 whether the request is allowed or not.`,
	}
	dir := policyFlags(cmd)
	file := cmd.Flags().String("request", "", "the file of the request")
	if err := cmd.MarkFlagFilename("request", "json"); err != nil {
		panic(err) // the flag is there
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *file == "" {
			return usageError("--request is needed")
		}
		set, err := policy.Load(*dir)
		if err != nil {
			return refusePolicies(cmd, *dir, err)
		}
		data, err := readRequest(cmd, *file)
		if err != nil {
			return err
		}
		in, err := policy.ParseRequest(*file, data, time.Now())
		if err != nil {
			return refusePolicies(cmd, *file, err)
		}
		d := set.Explain(in)
		answer, err := json.Marshal(explainedOf(&d))
		if err != nil {
			return err
		}
		return show(cmd, answer, func(w io.Writer, _ json.RawMessage) error { return showExplained(w, &d) })
	}
	return cmd
}

// readRequest reads a byte more than is taken, so that what is too long is seen.
func readRequest(cmd *cobra.Command, file string) (_ []byte, err error) {
	in := cmd.InOrStdin()
	if file != "-" {
		f, err := os.Open(file) //nolint:gosec // the file that the operator names
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // it was only read
		in = f
	}
	return io.ReadAll(io.LimitReader(in, policy.MaxRequest+1))
}

// explained is a decision as JSON.
type explained struct {
	Decision    string        `json:"decision"`
	Rule        *string       `json:"rule"`
	Code        *payment.Code `json:"code"`
	Detail      string        `json:"detail,omitempty"`
	Error       string        `json:"error,omitempty"`
	CardNumbers string        `json:"card_numbers"`
	Rates       []string      `json:"rates"`         // to be counted
	Daily       []string      `json:"daily_amounts"` // to be counted
	Trace       []policy.Step `json:"trace"`
}

func explainedOf(d *policy.Decision) explained {
	e := explained{
		Decision: "allow", CardNumbers: d.CardNumbers.String(), Detail: d.Detail,
		Rates: []string{}, Daily: []string{}, Trace: d.Trace,
	}
	if !d.Allowed {
		e.Decision, e.Code = "deny", &d.Code
		if d.Rule != "" {
			e.Rule = &d.Rule
		}
	}
	if d.Err != nil {
		e.Error = d.Err.Error()
	}
	for _, r := range d.Rates {
		e.Rates = append(e.Rates, fmt.Sprintf("%s %s by %s", r.Scope, r.Rate, r.Rule))
	}
	for _, q := range d.Daily {
		e.Daily = append(e.Daily, fmt.Sprintf("%s %d by %s", q.Currency, q.Limit, q.Rule))
	}
	return e
}

// showExplained prints the decision, and every rule with what it found.
func showExplained(w io.Writer, d *policy.Decision) error {
	e := explainedOf(d)
	line := e.Decision
	if e.Rule != nil {
		line += " by " + *e.Rule
	}
	if e.Code != nil {
		line += fmt.Sprintf(": %s: %s", *e.Code, e.Detail)
	}
	if _, err := fmt.Fprintf(w, "%s\n\n", line); err != nil {
		return err
	}
	var rows [][]string
	for _, s := range d.Trace {
		rows = append(rows, stepRows(&s)...)
	}
	if err := table(w, []string{"RULE", "HOLDS", "CHECK", "RESULT", "GOT", "WANT"}, rows); err != nil {
		return err
	}
	for _, count := range []struct {
		what string
		of   []string
	}{{"rate", e.Rates}, {"daily amount", e.Daily}} {
		for _, c := range count.of {
			if _, err := fmt.Fprintf(w, "to count: %s %s\n", count.what, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// stepRows is one row a check; a rule without any has one.
func stepRows(s *policy.Step) (rows [][]string) {
	name, holds := s.Rule, "no"
	if name == "" {
		name = "(built in)"
	}
	switch {
	case s.Error != "":
		return [][]string{{name, "?", "when", "REFUSED", s.Error, "-"}}
	case s.Matched:
		holds = "yes"
	}
	if len(s.Checks) == 0 {
		return [][]string{{name, holds, "-", "-", "-", "-"}}
	}
	for _, c := range s.Checks {
		result := "ok"
		if !c.OK {
			result = "REFUSED"
		}
		rows = append(rows, []string{name, holds, c.Check, result, orDash(c.Got), orDash(c.Want)})
	}
	return rows
}

// refusePolicies prints the faults of policies or of a request, and returns an
// error of one line; what has no faults is such an error already.
func refusePolicies(cmd *cobra.Command, what string, err error) error {
	refused, ok := errors.AsType[*policy.Error](err)
	if !ok {
		return err
	}
	shown := showChecked(cmd, checked{Faults: refused.Faults}, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, refused.Error())
		return err
	})
	if shown != nil {
		return shown
	}
	return fmt.Errorf("%s: %s", what, plural(len(refused.Faults), "fault"))
}

// showChecked prints JSON where --json asks for it.
func showChecked(cmd *cobra.Command, c checked, human func(io.Writer) error) error {
	if c.Faults == nil {
		c.Faults = []*policy.Fault{}
	}
	answer, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return show(cmd, answer, func(w io.Writer, _ json.RawMessage) error { return human(w) })
}

// plural writes "1 rule", "2 rules".
func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", n, what))
}
