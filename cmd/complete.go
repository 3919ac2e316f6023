package pursercmd

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/purser-pay/purser/modules/payment"
)

// completeTimeout bounds what a press of the tab key waits for.
const completeTimeout = 500 * time.Millisecond

// completer offers the words that may stand where the cursor is.
type completer = cobra.CompletionFunc

// fixed offers words that do not change.
func fixed(words ...string) completer {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}

// names asks the running gateway for a list, and offers one field of its rows
// for the first argument or for a flag. Without a gateway it offers nothing.
func names(path, field string) completer {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(context.Background(), completeTimeout)
		defer cancel()
		return namesOf(ctx, cmd, path, field), cobra.ShellCompDirectiveNoFileComp
	}
}

// namesOfFlag offers IDs for a flag: the arguments before it do not matter.
func namesOfFlag(path string) completer {
	offer := names(path, "id")
	return func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return offer(cmd, nil, word)
	}
}

func namesOf(ctx context.Context, cmd *cobra.Command, path, field string) []string {
	client, err := adminOf(cmd)
	if err != nil {
		return nil
	}
	answer, err := client.call(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil
	}
	list, err := decode[listOf[map[string]json.RawMessage]](answer)
	if err != nil {
		return nil
	}
	var found []string
	for _, row := range list.Data {
		var name string
		if json.Unmarshal(row[field], &name) == nil && name != "" {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}

// completeFlag lets a flag's value complete.
func completeFlag(cmd *cobra.Command, flag string, c completer) {
	if err := cmd.RegisterFlagCompletionFunc(flag, c); err != nil {
		panic(err) // a flag that the command does not have
	}
}

func eventTypes() []string {
	types := make([]string, len(payment.EventTypes))
	for i, t := range payment.EventTypes {
		types[i] = string(t)
	}
	return types
}
