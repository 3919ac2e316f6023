package pursercmd

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/purser-pay/purser/modules/access"
)

type keyRow struct {
	ID         string      `json:"id"`
	Key        string      `json:"key"`
	Merchant   string      `json:"merchant"`
	Mode       string      `json:"mode"`
	Name       string      `json:"name"`
	Scopes     []string    `json:"scopes"`
	AllowIP    []string    `json:"allow_ip"`
	Signing    *signingRow `json:"signing"`
	ExpiresAt  string      `json:"expires_at"`
	RevokedAt  string      `json:"revoked_at"`
	RotatedTo  string      `json:"rotated_to"`
	LastUsedAt string      `json:"last_used_at"`
}

type signingRow struct {
	KeyID     string `json:"keyid"`
	Algorithm string `json:"algorithm"`
	Secret    string `json:"secret"`
}

func keysCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create --merchant MERCHANT --mode test|live [--name NAME] [--scopes A,B] [--expires-in DURATION | --expires-at TIME] " +
			"[--allow-ip CIDR]... [--rate-limit 100/1s]... [--signing hmac-sha256 | --signing-public-key FILE]",
		Short: "Creates an API key, and prints its secrets once", Args: cobra.NoArgs,
		Long: `Creates an API key, and prints it once. With --signing hmac-sha256 a signing secret
is made and printed once as well; with --signing-public-key requests are signed
with a private key that stays with the merchant: Ed25519, ECDSA on P-256, or RSA
of 2048 bits and more, whose public half is in FILE, in PEM.`,
	}
	f := cmd.Flags()
	merchant := f.String("merchant", "", "the merchant's id")
	mode := f.String("mode", "", "test or live")
	name := f.String("name", "", "what people call the key")
	scopes := f.StringSlice("scopes", nil, "what the key may do; all but proxy:use if none are named")
	expiresIn := f.Duration("expires-in", 0, "how long the key is good, such as 720h")
	expiresAt := f.String("expires-at", "", "when the key ends, RFC 3339")
	networks := f.StringArray("allow-ip", nil, "a network or address from which the key is good, such as 203.0.113.0/24; may be given again; everywhere if none is named")
	rates := f.StringArray("rate-limit", nil, "what the key may do in place of the gateway's limit for keys, such as 100/1s; may be given again for another window")
	signing := f.String("signing", "", "hmac-sha256: requests are signed with a secret that is made now")
	publicKey := f.String("signing-public-key", "", "file with the public key that requests are signed for, in PEM")
	completeFlag(cmd, "merchant", namesOfFlag("/merchants"))
	completeFlag(cmd, "mode", fixed("test", "live"))
	completeFlag(cmd, "signing", fixed(string(access.HMACSHA256)))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *merchant == "" || *mode == "" {
			return usageError("--merchant and --mode are needed")
		}
		for _, pair := range [][2]string{{"expires-in", "expires-at"}, {"signing", "signing-public-key"}} {
			if f.Changed(pair[0]) && f.Changed(pair[1]) {
				return usageError("--%s and --%s exclude each other", pair[0], pair[1])
			}
		}
		in := map[string]any{"merchant": *merchant, "mode": *mode, "name": *name}
		for flag, value := range map[string]any{
			"scopes": *scopes, "allow-ip": *networks, "rate-limit": *rates, "expires-in": expiresIn.String(), "expires-at": *expiresAt,
		} {
			if f.Changed(flag) {
				in[keyMembers[flag]] = value
			}
		}
		if err := addNetworks(*networks); err != nil {
			return err
		}
		if err := addSigning(in, f.Changed("signing"), *signing, f.Changed("signing-public-key"), *publicKey); err != nil {
			return err
		}
		return ask(cmd, http.MethodPost, "/keys", in, showNewKey)
	}
	return cmd
}

// keyMembers are the members of the request by their flags.
var keyMembers = map[string]string{
	"scopes": "scopes", "allow-ip": "allow_ip", "rate-limit": "rate_limits", "expires-in": "expires_in", "expires-at": "expires_at",
}

// addNetworks refuses a flag that is no network.
func addNetworks(networks []string) error {
	for _, text := range networks {
		if _, err := access.ParseNetwork(text); err != nil {
			return usageError("--allow-ip: %v", err)
		}
	}
	return nil
}

// addSigning puts into the request how the key signs. A private key that was given
// by mistake is refused here: it must not travel.
func addSigning(in map[string]any, named bool, signing string, given bool, file string) error {
	switch {
	case named && signing != string(access.HMACSHA256):
		return usageError("--signing takes hmac-sha256; another algorithm follows from the key in --signing-public-key")
	case named:
		in["signing"] = signing
	case given:
		text, err := readShort(file)
		if err != nil {
			return fmt.Errorf("--signing-public-key: %w", err)
		}
		if _, _, err := access.ParsePublicKey(text); err != nil {
			return fmt.Errorf("--signing-public-key %s: %w", file, err)
		}
		in["signing_public_key"] = string(text)
	}
	return nil
}

// readShort reads a file that is no longer than a public key's can be.
func readShort(file string) ([]byte, error) {
	f, err := os.Open(file) //nolint:gosec // the caller's own file
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	return io.ReadAll(io.LimitReader(f, access.MaxPublicKeyFile+1))
}

func keysRotate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rotate ID [--overlap DURATION]", Short: "Makes a successor of a key, and ends the key after the overlap",
		Args: cobra.ExactArgs(1), ValidArgsFunction: names("/keys", "id"),
		Long: `Makes a key with the rights, networks, limits and public key of another, which ends
after the overlap. A key with a signing secret gets a new one. Signatures name the
new key's id as keyid.`,
	}
	overlap := cmd.Flags().Duration("overlap", 24*time.Hour, "how long both keys are good")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return ask(cmd, http.MethodPost, "/keys/"+url.PathEscape(args[0])+"/rotate",
			map[string]string{"overlap": overlap.String()}, showNewKey)
	}
	return cmd
}

func keysRevoke() *cobra.Command {
	cmd := &cobra.Command{Use: "revoke ID", Short: "Ends a key at once", Args: cobra.ExactArgs(1), ValidArgsFunction: names("/keys", "id")}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return ask(cmd, http.MethodPost, "/keys/"+url.PathEscape(args[0])+"/revoke", nil, showKeys)
	}
	return cmd
}

func keysList() *cobra.Command {
	cmd := &cobra.Command{Use: "list [--merchant MERCHANT]", Short: "Lists API keys, oldest first", Args: cobra.NoArgs}
	merchant := cmd.Flags().String("merchant", "", "only this merchant's")
	completeFlag(cmd, "merchant", namesOfFlag("/merchants"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q := url.Values{}
		setQuery(q, "merchant", *merchant)
		return ask(cmd, http.MethodGet, withQuery("/keys", q), nil, showKeys)
	}
	return cmd
}

func showNewKey(w io.Writer, answer json.RawMessage) error {
	k, err := decode[keyRow](answer)
	if err != nil {
		return err
	}
	rows := [][2]string{
		{"id", k.ID},
		{"merchant", k.Merchant},
		{"mode", k.Mode},
		{"scopes", strings.Join(k.Scopes, " ")},
		{"networks", strings.Join(k.AllowIP, " ")},
		{"expires", k.ExpiresAt},
		{"key", k.Key},
	}
	told := "The key is shown this once; the gateway keeps a hash of it."
	if s := k.Signing; s != nil {
		rows = append(rows, [2]string{"signing", s.Algorithm}, [2]string{"keyid", s.KeyID}, [2]string{"secret", s.Secret})
		if s.Secret != "" {
			told += "\nSo is the signing secret; its characters as they stand are the key of the HMAC."
		}
	}
	for _, row := range rows {
		if row[1] == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "%-9s %s\n", row[0]+":", row[1]); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(w, "\n%s\n", told)
	return err
}

func showKeys(w io.Writer, answer json.RawMessage) error {
	keys, err := oneOrMany[keyRow](answer)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, k := range keys {
		signing := ""
		if k.Signing != nil {
			signing = k.Signing.Algorithm
		}
		rows = append(rows, []string{
			k.ID, k.Merchant, k.Mode, orDash(k.Name), orDash(strings.Join(k.AllowIP, " ")), orDash(signing),
			orDash(k.LastUsedAt), orDash(k.ExpiresAt), orDash(k.RevokedAt), orDash(k.RotatedTo),
		})
	}
	return table(w, []string{"KEY", "MERCHANT", "MODE", "NAME", "NETWORKS", "SIGNING", "LAST USED", "EXPIRES", "REVOKED", "ROTATED TO"}, rows)
}
