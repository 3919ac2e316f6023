package gateway

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/connector"
)

func TestLookup(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("key", "s3cret\n")
	write("windows", "s3cret\r\n")
	write("empty", "\n")
	write("huge", strings.Repeat("x", maxSecretBytes+1))
	write("lines", "-----BEGIN\nx\n-----END\n")
	t.Setenv("PURSER_TEST_SECRET", "from env")
	tests := []struct{ ref, want, wantErr string }{
		{"{file.key}", "s3cret", ""},
		{"{file." + dir + "/key}", "s3cret", ""},
		{"{file.windows}", "s3cret", ""},
		{"{file.lines}", "-----BEGIN\nx\n-----END", ""},
		{"{env.PURSER_TEST_SECRET}", "from env", ""},
		{"{env.PURSER_TEST_NO_SUCH_SECRET}", "", "is empty"},
		{"{file.empty}", "", "is empty"},
		{"{file.absent}", "", "no such file"},
		{"{file.huge}", "", "over 65536 bytes"},
		{"{file.}", "", "by reference"},
		{"{http.request.host}", "", "by reference"},
		{"{system.hostname}", "", "by reference"},
	}
	for _, tt := range tests {
		got, err := lookup(dir)(tt.ref)
		if got != tt.want || (err == nil) != (tt.wantErr == "") || (err != nil && !strings.Contains(err.Error(), tt.wantErr)) {
			t.Errorf("lookup(%s) = %q, %v, want %q, error %q", tt.ref, got, err, tt.want, tt.wantErr)
		}
	}
}

func TestDecodeKey(t *testing.T) {
	good := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", keyBytes)))
	tests := []struct {
		name, content string
		ok            bool
	}{
		{"32 bytes", good, true},
		{"spaces around", "  " + good + " ", true},
		{"31 bytes", base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 31))), false},
		{"33 bytes", base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 33))), false},
		{"no base64", "canary canary canary canary canary!!!", false},
		{"hexadecimal", strings.Repeat("ab", 32), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var s connector.Secret
			if err := s.UnmarshalText([]byte("{file.key}")); err != nil {
				t.Fatal(err)
			}
			got, err := decodeKey("pepper", s, func(string) (string, error) { return tt.content, nil })
			if (err == nil) != tt.ok || (tt.ok && len(got) != keyBytes) {
				t.Errorf("decodeKey = %d bytes, %v, want ok %v", len(got), err, tt.ok)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("error %q shows the key", err)
			}
		})
	}
	if _, err := decodeKey("pepper", connector.Secret{}, nil); err == nil {
		t.Error("a missing key is taken, want an error")
	}
}

// module is a connector's configuration of every shape.
type module struct {
	ID       string           `json:"id"`
	Secret   connector.Secret `json:"secret"`
	Optional connector.Secret `json:"optional,omitzero"`
	Sandbox  bool             `json:"sandbox"`
	hidden   connector.Secret
	Skipped  string `json:"-"`
}

func TestResolve(t *testing.T) {
	m := &module{hidden: connector.NewSecret("x")}
	if err := m.Secret.UnmarshalText([]byte("{env.A}")); err != nil {
		t.Fatal(err)
	}
	err := resolve(m, func(ref string) (string, error) { return "value of " + ref, nil })
	if got, want := m.Secret.Reveal(), "value of {env.A}"; err != nil || got != want {
		t.Errorf("resolved to %q, %v, want %q", got, err, want)
	}
	failure := errors.New("no such variable")
	err = resolve(m, func(string) (string, error) { return "", failure })
	if !errors.Is(err, failure) || !strings.HasPrefix(err.Error(), "secret: ") {
		t.Errorf("error %v, want %v that names the field", err, failure)
	}
	if err := requireFields(m); err == nil || err.Error() != "id is missing" {
		t.Errorf("requireFields = %v, want %q", err, "id is missing")
	}
	m.ID = "x"
	if err := requireFields(m); err != nil {
		t.Errorf("requireFields = %v, want nil", err)
	}
}

func TestFreshSecrets(t *testing.T) {
	m := &module{}
	if err := m.Secret.UnmarshalText([]byte("{env.A}")); err != nil {
		t.Fatal(err)
	}
	value := "old"
	find := func(string) (string, error) { return value, nil }
	if err := resolve(m, find); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		value string
		want  []string
	}{{"old", nil}, {"new", []string{"secret"}}} {
		value = tt.value
		all, err := freshSecrets(m, find, func(string) bool { return true })
		var got []string
		for _, f := range all {
			got = append(got, f.name)
		}
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("freshSecrets after %q: %v (-want +got):\n%s", tt.value, err, diff)
		}
	}
	if got := m.Secret.Reveal(); got != "old" {
		t.Errorf("the secret in use became %q, want old", got)
	}
}

func TestExpiry(t *testing.T) {
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		in, at string
		want   time.Time
		ok     bool
	}{
		{"", "", time.Time{}, true},
		{"720h", "", from.Add(720 * time.Hour), true},
		{"", "2027-01-01T00:00:00Z", time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), true},
		{"720h", "2027-01-01T00:00:00Z", time.Time{}, false},
		{"-1h", "", time.Time{}, false},
		{"30d", "", time.Time{}, false},
		{"", "tomorrow", time.Time{}, false},
	}
	for _, tt := range tests {
		got, err := expiry(tt.in, tt.at, from)
		if !got.Equal(tt.want) || (err == nil) != tt.ok {
			t.Errorf("expiry(%q, %q) = %v, %v, want %v, ok %v", tt.in, tt.at, got, err, tt.want, tt.ok)
		}
	}
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true, "::ffff:127.0.0.1": true,
		"10.0.0.1": false, "psp.example": false, "localhost.psp.example": false, "0.0.0.0": false, "": false,
	} {
		if got := isLoopback(host); got != want {
			t.Errorf("isLoopback(%q) = %v, want %v", host, got, want)
		}
	}
}
