//go:build ignore

// Signs a request by the simple scheme, and prints the header.
// go run simple.go METHOD URL [IDEMPOTENCY_KEY] < BODY, with PURSER_SIGNING_SECRET
package main

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

func sign(secret string, r *http.Request, body []byte) {
	t, n := time.Now().Unix(), rand.Text()
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%d\n%s\n%s\n%s\n%s\n%s\n%s\n%x", t, n, r.Method, strings.ToLower(r.URL.Host),
		cmp.Or(r.URL.EscapedPath(), "/"), r.URL.RawQuery, r.Header.Get("Idempotency-Key"), sha256.Sum256(body))
	r.Header.Set("Purser-Signature", fmt.Sprintf("t=%d,n=%s,v1=%x", t, n, mac.Sum(nil)))
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
	if len(os.Args) > 3 {
		r.Header.Set("Idempotency-Key", os.Args[3])
	}
	sign(os.Getenv("PURSER_SIGNING_SECRET"), r, body)
	fmt.Println("Purser-Signature:", r.Header.Get("Purser-Signature"))
}
