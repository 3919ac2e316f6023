package token

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"
)

// fetchTimeout bounds one fetch, from its beginning to the last byte.
const fetchTimeout = 5 * time.Second

var (
	errElsewhere = errors.New("the answer comes from another address")
	errTooLarge  = fmt.Errorf("more than %d KiB", maxKeySet>>10)
)

// fetch gets a key set by HTTP: from this address alone, with status 200, within
// five seconds and 256 KiB. What the answer calls itself does not matter.
func fetch(ctx context.Context, client Client, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, errors.New("the address is not a URL")
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the address, which may hold a key of its own
		}
		return nil, fmt.Errorf("fetch the keys: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read as far as it matters
	switch {
	case resp.Request != nil && resp.Request.URL.String() != req.URL.String():
		return nil, fmt.Errorf("fetch the keys: %w", errElsewhere)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("fetch the keys: the answer has status %d", resp.StatusCode)
	}
	return readAll(resp.Body)
}

// readFile reads a key set from a file.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // G304: the operator names the file
	if err != nil {
		return nil, fmt.Errorf("read the keys: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	return readAll(f)
}

func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxKeySet+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the keys: %w", err)
	case len(b) > maxKeySet:
		return nil, fmt.Errorf("read the keys: %w", errTooLarge)
	}
	return b, nil
}
