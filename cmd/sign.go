package pursercmd

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/signature"
)

// Where the secrets of a merchant are, unless the flags name other variables.
const (
	defaultKeyVariable    = "PURSER_KEY"
	defaultSecretVariable = "PURSER_SIGNING_SECRET"
)

// maxSignFile bounds the files that are read for a signature, in bytes.
const maxSignFile = 1 << 20

// signOptions are the flags of the command sign.
type signOptions struct {
	method, url, data, cacert      string
	headers                        []string
	keyVariable, secretVariable    string
	keyID, private, scheme, policy string
	show                           bool
}

func signCommand(cmd *cobra.Command) {
	cmd.Args = cobra.NoArgs
	cmd.Long = `Prints a curl line with a signed request, to be pasted within minutes and once:
its nonce is good for one request. Nothing is sent.

The API key and the signing secret come from the environment. The line names the
variable of the key, and holds no secret.

	$ purser sign --method POST --url https://pay.example.com/v1/payments \
	    --header 'Idempotency-Key: tea' --data '{"amount":1999,"currency":"EUR"}'`
	var o signOptions
	f := cmd.Flags()
	f.StringVar(&o.method, "method", "", "the method; POST if there is --data, else GET")
	f.StringVar(&o.url, "url", "", "the whole URL")
	f.StringArrayVar(&o.headers, "header", nil, "a header, as in 'Idempotency-Key: tea'; may be given again")
	f.StringVar(&o.data, "data", "", "the body, or @FILE")
	f.StringVar(&o.cacert, "cacert", "", "a file of certificates for curl, such as that of purser dev")
	f.StringVar(&o.keyVariable, "api-key-env", defaultKeyVariable, "the variable that holds the API key")
	f.StringVar(&o.secretVariable, "secret-env", defaultSecretVariable, "the variable that holds the signing secret")
	f.StringVar(&o.private, "private-key", "", "a file with the private key, in PEM, in place of the secret")
	f.StringVar(&o.keyID, "keyid", "", "the signing key's ID; that of the API key if it is not given")
	f.StringVar(&o.scheme, "scheme", string(signature.RFC9421), "rfc9421 or simple")
	f.StringVar(&o.policy, "profile", signature.Standard.String(), "standard or fapi")
	f.BoolVar(&o.show, "show-key", false, "print the API key itself, not its variable")
	completeFlag(cmd, "scheme", fixed(string(signature.RFC9421), string(signature.Simple)))
	completeFlag(cmd, "profile", fixed(signature.Standard.String(), signature.FAPI.String()))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		nonce, err := signature.NewNonce(nil)
		if err != nil {
			return err
		}
		line, err := o.line(os.Getenv, time.Now(), nonce)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), line)
		return err
	}
	strict(cmd)
}

// curlRequest is a request that curl will be told to make.
type curlRequest struct {
	signature.Message
	url     string
	headers []string // in the order in which curl gets them, each one word of the shell
	body    string   // curl's flag and its value, each one word; "" = none
	cacert  string
}

// line signs what the options describe, and writes it for a POSIX shell.
func (o *signOptions) line(env func(string) string, now time.Time, nonce string) (string, error) {
	profile, err := o.check()
	if err != nil {
		return "", err
	}
	r, err := newCurlRequest(o.method, o.url)
	if err != nil {
		return "", err
	}
	r.cacert = o.cacert
	if err := r.setBody(o); err != nil {
		return "", err
	}
	for _, h := range o.headers {
		if err := r.addHeader(h); err != nil {
			return "", err
		}
	}
	if len(r.Body) > 0 && r.Header.Get("Content-Type") == "" {
		r.add("Content-Type", "application/json")
	}
	apiKey := env(o.keyVariable)
	if err := r.authorize(o, apiKey); err != nil {
		return "", err
	}
	key, err := o.signingKey(env, apiKey)
	if err != nil {
		return "", err
	}
	if err := r.sign(signature.Scheme(o.scheme), key, profile, now, nonce); err != nil {
		return "", err
	}
	return r.String(), nil
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// check refuses flags that make no sense together.
func (o *signOptions) check() (signature.Profile, error) {
	if !variable.MatchString(o.keyVariable) || !variable.MatchString(o.secretVariable) {
		return 0, usageError("--api-key-env and --secret-env take the names of variables")
	}
	profile := signature.Standard
	switch o.policy {
	case signature.Standard.String():
	case signature.FAPI.String():
		profile = signature.FAPI
	default:
		return 0, usageError("--profile is standard or fapi")
	}
	switch signature.Scheme(o.scheme) {
	case signature.RFC9421:
	case signature.Simple:
		if o.private != "" || profile == signature.FAPI {
			return 0, usageError("--scheme simple needs a signing secret, and is not for --profile fapi")
		}
	default:
		return 0, usageError("--scheme is rfc9421 or simple")
	}
	if profile == signature.FAPI && o.private == "" {
		return 0, usageError("--profile fapi needs --private-key")
	}
	return profile, nil
}

// newCurlRequest takes a URL as curl will send it: without the port that its
// scheme implies, and with a path.
func newCurlRequest(method, text string) (*curlRequest, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		strings.ContainsAny(text, "#") || !isVisible(text) {
		return nil, usageError("--url is needed: a whole http or https URL in ASCII, such as https://pay.example.com/v1/payments")
	}
	_, rest, _ := strings.Cut(text, "://")
	authority, target := rest, ""
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority, target = rest[:i], rest[i:]
	}
	authority = strings.TrimSuffix(strings.ToLower(authority), map[string]string{"http": ":80", "https": ":443"}[u.Scheme])
	if !strings.HasPrefix(target, "/") {
		target = "/" + target
	}
	r := &curlRequest{url: u.Scheme + "://" + authority + target}
	r.Method, r.Scheme, r.Authority, r.Header = method, u.Scheme, authority, http.Header{}
	r.Path, r.RawQuery, r.HasQuery = strings.Cut(target, "?")
	return r, nil
}

func isVisible(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// setBody reads the body, and settles the method.
func (r *curlRequest) setBody(o *signOptions) error {
	if file, ok := strings.CutPrefix(o.data, "@"); ok {
		b, err := readSmall(file)
		if err != nil {
			return err
		}
		r.Body, r.body = b, "--data-binary "+shellQuote("@"+file)
	} else if o.data != "" {
		r.Body, r.body = []byte(o.data), "--data-raw "+shellQuote(o.data)
	}
	if r.Method == "" {
		r.Method = http.MethodGet
		if r.body != "" {
			r.Method = http.MethodPost
		}
	}
	if strings.Trim(r.Method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return usageError("--method is in capitals, such as POST")
	}
	return nil
}

// readSmall reads a file that can have no more than so many bytes.
func readSmall(name string) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // the file that the user names
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSignFile+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) > maxSignFile {
		return nil, fmt.Errorf("%s has more than %d bytes", name, maxSignFile)
	}
	return b, nil
}

// computed are the headers that the command or curl writes.
var computed = []string{
	"Connection", "Content-Length", "Host", "Transfer-Encoding",
	signature.HeaderDigest, signature.HeaderInput, signature.HeaderSignature, signature.HeaderSimple,
}

func (r *curlRequest) addHeader(text string) error {
	name, value, ok := strings.Cut(text, ":")
	value = strings.TrimSpace(value)
	canonical := http.CanonicalHeaderKey(name)
	switch {
	case !ok || value == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" || name == "" ||
		!isVisible(strings.ReplaceAll(value, " ", "_")):
		return usageError("--header is 'Name: value', in ASCII")
	case slices.Contains(computed, canonical):
		return usageError("--header %s: it is written by the command", canonical)
	case r.Header.Get(name) != "":
		return usageError("--header %s is given twice", canonical)
	}
	r.add(name, value)
	return nil
}

func (r *curlRequest) add(name, value string) {
	r.Header.Set(name, value)
	r.headers = append(r.headers, shellQuote(name+": "+value))
}

// authorize adds the API key, unless a header has brought a credential. The shell
// is to put it in, so that it stands in no history and on no screen.
func (r *curlRequest) authorize(o *signOptions, apiKey string) error {
	if r.Header.Get("Authorization") != "" {
		return nil
	}
	if !isVisible(apiKey) {
		return usageError("the variable %s (--api-key-env) holds no API key, which the signature covers", o.keyVariable)
	}
	if o.show {
		r.add("Authorization", "Bearer "+apiKey)
		return nil
	}
	r.Header.Set("Authorization", "Bearer "+apiKey)
	r.headers = append(r.headers, `"Authorization: Bearer $`+o.keyVariable+`"`)
	return nil
}

// signingKey reads the private key or the secret. Its ID is that of the API key:
// the gateway takes no other.
func (o *signOptions) signingKey(env func(string) string, apiKey string) (signature.SigningKey, error) {
	id := o.keyID
	if id == "" {
		parsed, err := access.ParseKey(apiKey)
		if err != nil {
			return signature.SigningKey{}, usageError("--keyid is needed: the variable %s holds no API key that tells it", o.keyVariable)
		}
		id = parsed.ID
	}
	if o.private != "" {
		text, err := readSmall(o.private)
		if err != nil {
			return signature.SigningKey{}, err
		}
		k, err := signature.ParsePrivateKey(id, text)
		if err != nil {
			return k, fmt.Errorf("%s: %w", o.private, err)
		}
		return k, nil
	}
	secret := env(o.secretVariable)
	if secret == "" {
		return signature.SigningKey{}, usageError("the variable %s (--secret-env) holds no signing secret, and there is no --private-key", o.secretVariable)
	}
	return signature.NewSecretSigner(id, []byte(secret))
}

// sign adds the headers of a scheme.
func (r *curlRequest) sign(scheme signature.Scheme, k signature.SigningKey, p signature.Profile, now time.Time, nonce string) error {
	if scheme == signature.Simple {
		value, err := signature.SignSimple(&r.Message, k, now, nonce)
		if err != nil {
			return err
		}
		r.add(signature.HeaderSimple, value)
		return nil
	}
	if err := signature.SignRequest(&r.Message, k, p, now, nonce); err != nil {
		return err
	}
	for _, name := range []string{signature.HeaderDigest, signature.HeaderInput, signature.HeaderSignature} {
		if value := r.Header.Get(name); value != "" {
			r.add(name, value)
		}
	}
	return nil
}

// String writes the line. What curl would change of the URL it is told to leave.
func (r *curlRequest) String() string {
	words := []string{"curl", "-sS"}
	switch r.Method {
	case http.MethodHead:
		words = append(words, "--head")
	default:
		words = append(words, "-X", r.Method)
	}
	if r.cacert != "" {
		words = append(words, "--cacert", shellQuote(r.cacert))
	}
	if strings.ContainsAny(r.url, "[]{}") {
		words = append(words, "--globoff")
	}
	if strings.Contains(r.Path, "/.") {
		words = append(words, "--path-as-is")
	}
	words = append(words, shellQuote(r.url))
	for _, h := range r.headers {
		words = append(words, "-H", h)
	}
	if r.body != "" {
		words = append(words, r.body)
	}
	return strings.Join(words, " ")
}
