//go:build ignore

// Signs a request by RFC 9421 with hmac-sha256, and prints the headers.
// go run rfc9421.go METHOD URL [NAME:VALUE]... < BODY, with PURSER_SIGNING_SECRET and PURSER_KEYID
package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

var covered = []string{"authorization", "content-type", "content-digest", "idempotency-key", "dpop"}

func sign(secret, keyID string, r *http.Request, body []byte) {
	if len(body) > 0 {
		sum := sha256.Sum256(body)
		r.Header.Set("Content-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":")
	}
	names, base := `"@method" "@target-uri"`, fmt.Sprintf("\"@method\": %s\n\"@target-uri\": %s\n", r.Method, r.URL)
	for _, name := range covered {
		if value := r.Header.Get(name); value != "" {
			names += fmt.Sprintf(" %q", name)
			base += fmt.Sprintf("%q: %s\n", name, value)
		}
	}
	params := fmt.Sprintf("(%s);created=%d;nonce=%q;keyid=%q", names, time.Now().Unix(), rand.Text(), keyID)
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%s\"@signature-params\": %s", base, params)
	r.Header.Set("Signature-Input", "sig1="+params)
	r.Header.Set("Signature", "sig1=:"+base64.StdEncoding.EncodeToString(mac.Sum(nil))+":")
}

func main() {
	body, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	r, err := http.NewRequest(os.Args[1], os.Args[2], nil)
	if err != nil {
		panic(err)
	}
	for _, pair := range os.Args[3:] {
		name, value, _ := strings.Cut(pair, ":")
		r.Header.Set(name, value)
	}
	sign(os.Getenv("PURSER_SIGNING_SECRET"), os.Getenv("PURSER_KEYID"), r, body)
	for name := range r.Header {
		fmt.Printf("%s: %s\n", name, r.Header.Get(name))
	}
}
