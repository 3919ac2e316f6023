package token

import (
	"crypto/sha256"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestCacheComparesDigests: two tokens whose short hashes are one are not one. The
// collision is made by hand, under the library's own key.
func TestCacheComparesDigests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cache
		if err := c.open(10); err != nil {
			t.Fatal(err)
		}
		defer c.close()
		mine, theirs, now := sha256.Sum256([]byte("mine")), sha256.Sum256([]byte("theirs")), time.Now()
		c.put(&verified{digest: mine, epoch: 1, good: span{until: now.Add(time.Hour)}}, now)
		entry := &verified{digest: mine, epoch: 1, good: span{until: now.Add(time.Hour)}}
		c.items.Set(string(theirs[:]), entry, 1)
		synctest.Wait()
		if _, ok := c.get(&mine, 1, now); !ok {
			t.Error("what was put in is not there")
		}
		if _, ok := c.get(&theirs, 1, now); ok {
			t.Error("another token's entry is believed")
		}
		if _, ok := c.get(&mine, 2, now); ok {
			t.Error("an entry of an older epoch is believed")
		}
		if _, ok := c.get(&mine, 0, now); ok {
			t.Error("an entry of a newer epoch is believed")
		}
	})
}

// TestCacheIsBounded: it has room for as many tokens as it was told, and not for
// bytes.
func TestCacheIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cache
		if err := c.open(100); err != nil {
			t.Fatal(err)
		}
		defer c.close()
		now, kept := time.Now(), 0
		digests := make([][sha256.Size]byte, 1000)
		for i := range digests {
			digests[i] = sha256.Sum256([]byte{byte(i), byte(i >> 8)})
			c.put(&verified{digest: digests[i], good: span{until: now.Add(time.Hour)}}, now)
			if i == 99 {
				synctest.Wait()
				for n := range 100 {
					if _, ok := c.get(&digests[n], 0, now); !ok {
						t.Errorf("token %d of 100 is not kept", n)
					}
				}
			}
		}
		synctest.Wait()
		for i := range digests {
			if _, ok := c.get(&digests[i], 0, now); ok {
				kept++
			}
		}
		if kept == 0 || kept > 100 {
			t.Errorf("%d tokens are kept, want 1 to 100", kept)
		}
	})
}

func TestThumbprints(t *testing.T) {
	for _, tt := range []struct{ name, jwk, want string }{
		// RFC 7638 §3.1, RFC 8037 A.3, RFC 9449 §6.1.
		{"RSA", `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"},
		{"Ed25519", `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"},
		{"P-256", `{"kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","crv":"P-256"}`, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"},
	} {
		o, err := parseObject([]byte(tt.jwk))
		if err != nil {
			t.Fatal(err)
		}
		k, err := parseKey(o)
		if err != nil || k.thumbprint != tt.want {
			t.Errorf("%s: got %v, %v; want the thumbprint %s", tt.name, k, err, tt.want)
		}
	}
}

func TestNormalize(t *testing.T) {
	for _, tt := range []struct{ raw, want string }{
		{"https://pay.example.com/v1/payments", "https://pay.example.com/v1/payments"},
		{"HTTPS://Pay.Example.COM:443/v1/payments?a=b#c", "https://pay.example.com/v1/payments"},
		{"http://pay.example.com:80", "http://pay.example.com/"},
		{"https://pay.example.com:80/", "https://pay.example.com:80/"},
		{"https://pay.example.com:/", "https://pay.example.com/"},
		{"https://[2001:DB8::1]:443/x", "https://[2001:db8::1]/x"},
		{"https://[2001:db8::1]:8443/x", "https://[2001:db8::1]:8443/x"},
		{"https://h/%7euser/%2f%2F/%61", "https://h/~user/%2F%2F/a"},
		{"https://h/a/../b", "https://h/a/../b"},
		{"https://h/a/%2e%2E/b", "https://h/a/../b"},
		{"https://h//a", "https://h//a"},
		{"https://h/A", "https://h/A"},
		{"https://user@h/", ""},
		{"https://h/%", ""},
		{"https://h/%zz", ""},
		{"https://h/\u00e4", ""},
		{"https://h/ a", ""},
		{"https:///a", ""},
		{"https://:443/a", ""},
		{"ftp://h/a", ""},
		{"/a", ""},
		{"h/a", ""},
		{"https:h", ""},
		{"", ""},
		{"https://h/" + strings.Repeat("a", 2048), ""},
	} {
		if got, ok := normalize(tt.raw); got != tt.want || ok != (tt.want != "") {
			t.Errorf("normalize(%q) = %q, %v; want %q", tt.raw, got, ok, tt.want)
		}
	}
}
