package pursercmd

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/purser-pay/purser/modules/access"
)

// maxTokenFile bounds a file with a token, in bytes: no token has more than 8 KiB.
const maxTokenFile = 16 << 10

func tokensRevoke() *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke --issuer ISSUER (--jti ID | --subject SUB | --client-id ID | --all) | --token FILE", Args: cobra.NoArgs,
		Short: "Ends access tokens (JWT) before their time",
		Long: `Ends access tokens of an issuer before their time, at every node within a second:
one by its jti, or all that were issued up to now to a subject, to a client, or to
anybody. Tokens that the issuer makes 10 s later and after that are good; until then
its clock may be ahead of ours. A token that does not say when it was issued (iat)
counts as issued before.`,
	}
	f := cmd.Flags()
	issuer := f.String("issuer", "", "the issuer, as jwt names it in the configuration")
	values := map[access.TokenClaim]*string{
		access.ByTokenID:  f.String("jti", "", "the token with this jti"),
		access.BySubject:  f.String("subject", "", "the tokens of this sub"),
		access.ByClientID: f.String("client-id", "", "the tokens of this client_id"),
	}
	all := f.Bool("all", false, "all tokens of the issuer")
	file := f.String("token", "", "a file with the token, - for standard input; only its iss and jti leave this machine")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var wanted []access.TokenSelector
		for _, claim := range access.TokenClaims() {
			if v := values[claim]; v != nil && *v != "" {
				wanted = append(wanted, access.TokenSelector{Issuer: *issuer, Claim: claim, Value: *v})
			}
		}
		if *all {
			wanted = append(wanted, access.TokenSelector{Issuer: *issuer, Claim: access.ByIssuer})
		}
		if *file != "" {
			one, err := selectorIn(cmd.InOrStdin(), *file)
			if err != nil {
				return fmt.Errorf("--token: %w", err)
			}
			wanted = append(wanted, one)
		}
		switch {
		case len(wanted) != 1:
			return usageError("one of --jti, --subject, --client-id, --all and --token is needed")
		case (*file == "") != (*issuer != ""):
			return usageError("--issuer is needed, but for --token, which says it by itself")
		}
		return ask(cmd, http.MethodPost, "/token_revocations", wanted[0], showRevocations)
	}
	return cmd
}

// selectorIn reads what a token says of itself, and does not verify it: it is no
// credential here. No error quotes it.
func selectorIn(in io.Reader, file string) (s access.TokenSelector, err error) {
	if file != "-" {
		f, err := os.Open(file) //nolint:gosec // the caller's own file
		if err != nil {
			return s, err
		}
		defer f.Close() //nolint:errcheck // it was only read
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxTokenFile))
	if err != nil {
		return s, err
	}
	parts := strings.Split(strings.TrimSpace(string(text)), ".")
	if len(parts) != 3 {
		return s, errors.New("it is no JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return s, errors.New("it is no JWT")
	}
	var claims struct{ Iss, Jti string }
	if err := json.Unmarshal(payload, &claims); err != nil {
		return s, errors.New("it is no JWT")
	}
	if claims.Iss == "" || claims.Jti == "" {
		return s, errors.New("the token has no iss or no jti: revoke by --subject or --client-id")
	}
	return access.TokenSelector{Issuer: claims.Iss, Claim: access.ByTokenID, Value: claims.Jti}, nil
}

func tokensList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "Lists revocations of access tokens, oldest first", Args: cobra.NoArgs}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return ask(cmd, http.MethodGet, "/token_revocations", nil, showRevocations)
	}
	return cmd
}

type revocationRow struct {
	Issuer    string `json:"issuer"`
	Claim     string `json:"claim"`
	Value     string `json:"value"`
	RevokedAt string `json:"revoked_at"`
}

func showRevocations(w io.Writer, answer json.RawMessage) error {
	all, err := oneOrMany[revocationRow](answer)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, r := range all {
		rows = append(rows, []string{r.Issuer, r.Claim, orDash(r.Value), r.RevokedAt})
	}
	return table(w, []string{"ISSUER", "CLAIM", "VALUE", "REVOKED"}, rows)
}
