package pursercmd

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/purser-pay/purser/modules/access"
)

// TestSelectorIn takes the names of a token out of its file, and quotes nothing of a
// file that is something else.
func TestSelectorIn(t *testing.T) {
	token := func(claims string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".secret"
	}
	want := access.TokenSelector{Issuer: "https://idp.example", Claim: access.ByTokenID, Value: "x"}
	for _, tt := range []struct {
		name, text string
		bad        string // "" = good
	}{
		{"a token", token(`{"iss":"https://idp.example","jti":"x","sub":"till"}`), ""},
		{"a token and a line's end", token(`{"iss":"https://idp.example","jti":"x"}`) + "\r\n", ""},
		{"no jti", token(`{"iss":"https://idp.example","sub":"secret"}`), "--subject"},
		{"no iss", token(`{"jti":"secret"}`), "no iss"},
		{"an API key", "pur_test_secret", "no JWT"},
		{"no base64", "e30.secret!.secret", "no JWT"},
		{"no JSON", token("secret"), "no JWT"},
		{"nothing", "", "no JWT"},
		{"a large file", strings.Repeat("secret.", maxTokenFile), "no JWT"},
	} {
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		for name, from := range map[string]string{"file": file, "standard input": "-"} {
			got, err := selectorIn(strings.NewReader(tt.text), from)
			switch {
			case tt.bad == "":
				if got != want || err != nil {
					t.Errorf("%s, from %s: got %+v, %v; want %+v", tt.name, name, got, err, want)
				}
			case err == nil || !strings.Contains(err.Error(), tt.bad) || strings.Contains(err.Error(), "secret"):
				t.Errorf("%s, from %s: got %+v, %v; want an error with %q that quotes nothing", tt.name, name, got, err, tt.bad)
			}
		}
	}
	if _, err := selectorIn(nil, filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there: got no error")
	}
}

func TestShowRevocations(t *testing.T) {
	var out bytes.Buffer
	list := `{"object":"list","data":[{"issuer":"https://a","claim":"jti","value":"x","revoked_at":"2026-01-02T03:04:05Z"},
		{"issuer":"https://a","claim":"iss","revoked_at":"2026-01-02T03:04:06Z"}]}`
	if err := showRevocations(&out, json.RawMessage(list)); err != nil {
		t.Fatal(err)
	}
	want := "ISSUER     CLAIM  VALUE  REVOKED\n" +
		"https://a  jti    x      2026-01-02T03:04:05Z\n" +
		"https://a  iss    -      2026-01-02T03:04:06Z\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
