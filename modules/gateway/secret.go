package gateway

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"github.com/purser-pay/purser/modules/connector"
)

// maxSecretBytes bounds a secret's file: the largest are PEM keys of a few kB.
const maxSecretBytes = 64 << 10

// keyBytes is the length of the pepper and of the seal key.
const keyBytes = 32

// lookup resolves a reference: {env.NAME} or {file.PATH}, where a relative
// path starts at root. Nothing else is understood, and an empty secret is an
// error: a gateway that starts without its credentials fails at the worst time.
func lookup(root string) func(ref string) (string, error) {
	return func(ref string) (string, error) {
		kind, name, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(ref, "{"), "}"), ".")
		var value string
		switch {
		case !ok || name == "" || (kind != "env" && kind != "file"):
			return "", fmt.Errorf("%s: %w", ref, connector.ErrBareSecret)
		case kind == "env":
			value = os.Getenv(name)
		default:
			read, err := readSecret(root, name)
			if err != nil {
				return "", err
			}
			value = read
		}
		if value == "" {
			return "", fmt.Errorf("%s is empty", ref)
		}
		return value, nil
	}
}

func readSecret(root, path string) (string, error) {
	path, err := under(root, path)
	if err != nil {
		return "", err
	}
	f, err := os.Open(path) //nolint:gosec // the operator's own configuration names the file
	if err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	b, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("secret: %w", err)
	case len(b) > maxSecretBytes:
		return "", fmt.Errorf("secret: %s is over %d bytes", path, maxSecretBytes)
	}
	// Editors and echo end a file with a newline; it is no part of the secret.
	return strings.TrimRight(string(b), "\r\n"), nil
}

// resolve looks up every secret of a connector's configuration.
func resolve(module any, lookup func(string) (string, error)) error {
	v := reflect.ValueOf(module)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return nil
	}
	v = v.Elem()
	for i := range v.NumField() {
		if !v.Type().Field(i).IsExported() {
			continue
		}
		if s, ok := reflect.TypeAssert[*connector.Secret](v.Field(i).Addr()); ok {
			if err := s.Resolve(lookup); err != nil {
				return fmt.Errorf("%s: %w", fieldName(v.Type().Field(i)), err)
			}
		}
	}
	return nil
}

// requireFields refuses a connector that lacks a credential. A field whose JSON
// tag says neither omitempty nor omitzero is one that must be given.
func requireFields(module any) error {
	v := reflect.ValueOf(module)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return nil
	}
	v = v.Elem()
	var missing []string
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if name := fieldName(f); name != "" && required(f) && v.Field(i).IsZero() {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s is missing", strings.Join(missing, ", "))
	}
	return nil
}

var errKeyForm = errors.New("a key is 32 random bytes in base64, such as `openssl rand -base64 32` makes")

// decodeKey resolves the pepper or the seal key.
func decodeKey(name string, s connector.Secret, lookup func(string) (string, error)) ([]byte, error) {
	if s.IsZero() {
		return nil, fmt.Errorf("%s is missing: %w", name, errKeyForm)
	}
	if err := s.Resolve(lookup); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s.Reveal()))
	if err != nil || len(key) != keyBytes {
		// The error of the decoder would quote a byte of the key.
		return nil, fmt.Errorf("%s: %w", name, errKeyForm)
	}
	return key, nil
}
