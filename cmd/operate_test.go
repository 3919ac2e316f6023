package pursercmd

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// ask runs a command on the gateway, which must end with a code, and returns
// what it printed.
func (d *dev) ask(t *testing.T, code int, args ...string) string {
	t.Helper()
	out, errs, got := output(t, append(args, "--address", d.info.Admin)...)
	if got != code {
		t.Fatalf("purser %s: %d %s%s, want %d", strings.Join(args, " "), got, out, errs, code)
	}
	if code != 0 && strings.Count(strings.TrimSpace(errs), "\n") > 0 {
		t.Errorf("purser %s: the error has more than one line: %s", strings.Join(args, " "), errs)
	}
	return out + errs
}

// testWithAnotherKey holds that a test of an account ends with 1 where a check
// failed, because the key's file is empty, and puts in use a key that is another.
func (d *dev) testWithAnotherKey(t *testing.T, dir string) {
	t.Helper()
	file := filepath.Join(dir, fileStripeKey)
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		key  []byte
		code int
		want string
	}{{nil, 1, "FAILED"}, {[]byte("sk_test_another"), 0, "in use"}, {old, 0, "in use"}} {
		if err := os.WriteFile(file, tt.key, 0o600); err != nil {
			t.Fatal(err)
		}
		contains(t, "test", d.ask(t, tt.code, "connector", "test", "stripe"), tt.want, "accepted: ")
	}
}

func contains(t *testing.T, what, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("%s: %s\nwant %s", what, got, w)
		}
	}
}

// TestOperate walks an operator's way: look, freeze, back up, and start again
// from the backup, which takes no money before somebody says so.
func TestOperate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	backup := filepath.Join(t.TempDir(), "purser.db")
	var id string
	t.Run("store", func(t *testing.T) {
		d := startDev(t, dir)
		id = d.post(t, "/v1/payments", "a", cardBody).want(t, 201, "requires_capture").ID
		contains(t, "events", d.ask(t, 0, "events", "list", "--payment", id), "payment.requires_capture", id)
		contains(t, "events as JSON", d.ask(t, 0, "events", "list", "--type", "payment.requires_capture", "--json", "--limit", "1"),
			`"object":"event"`, `"data":{"id":"`+id)
		d.webhooks(t, id)

		contains(t, "freeze", d.ask(t, 0, "freeze", "--reason", "drill"), "FROZEN", "drill")
		refused := d.post(t, "/v1/payments", "b", cardBody)
		if refused.status != 503 || !bytes.Contains(refused.body, []byte(`"code":"frozen"`)) {
			t.Errorf("a new payment while frozen: %d %s, want 503 frozen", refused.status, refused.body)
		}
		contains(t, "accounts", d.ask(t, 0, "accounts", "list"), "stripe", "FROZEN", "drill")
		if out := d.ask(t, 0, "unfreeze"); strings.Contains(out, "Warning") || !strings.Contains(out, "New payments are taken") {
			t.Errorf("unfreeze: %s, want no warning", out)
		}
		d.post(t, "/v1/payments", "b", cardBody).want(t, 201, "requires_capture")

		d.post(t, "/v1/payments", "adyen", strings.Replace(cardBody, "{", `{"account":"adyen",`, 1)).want(t, 201, "requires_capture")
		contains(t, "backup", d.ask(t, 0, "store", "backup", backup), backup, "KiB")
		contains(t, "backup again", d.ask(t, 1, "store", "backup", backup), "there is a file already")
		contains(t, "backup nowhere", d.ask(t, 1, "store", "backup", filepath.Join(dir, "no", "x.db")), "no such file")
		if info, err := os.Stat(backup); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the backup has mode %v (%v), want 0600", info.Mode(), err)
		}
		contains(t, "test", d.ask(t, 0, "connector", "test", "stripe"), "secrets", "HTTP ", "credentials", "accepted: ", "/webhooks/stripe", "not tested: ")
		contains(t, "test of Alipay", d.ask(t, 0, "connector", "test", "alipay", "--json"), `"ok":true`, `"credentials":"accepted"`, `"webhooks":"configured"`)
		d.testWithAnotherKey(t, dir)
		contains(t, "test of nobody", d.ask(t, 1, "connector", "test", "nobody"), "there is no account")
		out, _, _ := output(t, "__complete", "accounts", "disable", "--address", d.info.Admin, "")
		contains(t, "completion", out, "alipay\n", "stripe\n")
		d.post(t, "/v1/payments", "after", cardBody).want(t, 201, "requires_capture")
		d.post(t, "/v1/payments/"+id+"/capture", "capture", `{}`).want(t, 200, "succeeded")
		d.post(t, "/v1/refunds", "refund", `{"payment":"`+id+`","amount":300}`).want(t, 201, "succeeded")
	})
	for _, name := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(dir, fileDatabase+name)); err != nil && name == "" {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, fileDatabase), b, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("restored", func(t *testing.T) {
		d := startDev(t, dir)
		contains(t, "accounts", d.ask(t, 0, "accounts", "list"), "FROZEN", "restored from a backup of 20")
		if a := d.post(t, "/v1/payments", "c", cardBody); a.status != 503 {
			t.Errorf("a new payment: %d %s, want 503", a.status, a.body)
		}
		if r := d.post(t, "/v1/refunds", "refund again", `{"payment":"`+id+`","amount":300}`); r.status == 201 {
			t.Errorf("a refund of the restored store: %d %s, want a refusal", r.status, r.body)
		}
		// Adyen cannot be asked: an operator has to look.
		contains(t, "reconcile", d.ask(t, 1, "reconcile"), "deaf", "the PSP cannot be asked about it", "the store stays frozen",
			id, "requires_capture → succeeded, captured 0 → 1999 EUR, refunded 0 → 300 EUR",
			"in doubt or were not compared")
		contains(t, "accounts", d.ask(t, 0, "accounts", "list"), "FROZEN")
		contains(t, "reconcile", d.ask(t, 0, "reconcile", "--accept-unasked"), "The freeze of the restored store is lifted",
			"payments made after the backup are not in the store")
		d.post(t, "/v1/payments", "c", cardBody).want(t, 201, "requires_capture")
		if out := d.ask(t, 0, "accounts", "list", "--json"); !strings.Contains(out, `"frozen":false`) || !strings.Contains(out, `"restored_from":null`) {
			t.Errorf("after reconcile: %s", out)
		}
	})
}

// webhooks has an event sent again, and looks at who is told of events.
func (d *dev) webhooks(t *testing.T, id string) {
	t.Helper()
	contains(t, "resend of nothing", d.ask(t, 1, "events", "resend", "evt_1"), "not found")
	var list struct{ Data []struct{ ID string } }
	if err := json.Unmarshal([]byte(d.ask(t, 0, "events", "list", "--payment", id, "--json", "--limit", "1")), &list); err != nil {
		t.Fatal(err)
	}
	event := list.Data[0].ID
	contains(t, "resend to nobody", d.ask(t, 0, "events", "resend", event), "no enabled endpoint wants its type")
	contains(t, "no endpoints", d.ask(t, 0, "webhooks", "list", "--json"), `"data":[]`)
	var e struct{ ID, Secret string }
	made := d.post(t, "/v1/webhook_endpoints", "hook", `{"url":"http://127.0.0.1:9/hook","events":["refund.failed"]}`)
	if err := json.Unmarshal(made.body, &e); err != nil || made.status != 201 || e.Secret == "" {
		t.Fatalf("create an endpoint: %d %s", made.status, made.body)
	}
	out := d.ask(t, 0, "webhooks", "list", "--merchant", d.info.Merchant, "--status", "enabled")
	contains(t, "webhooks", out, "ENDPOINT", e.ID, "http://127.0.0.1:9/hook", "refund.failed", d.info.Merchant)
	contains(t, "none paused", d.ask(t, 0, "webhooks", "list", "--status", "paused", "--json"), `"data":[]`)
	contains(t, "webhooks in no state", d.ask(t, 1, "webhooks", "list", "--status", "sunny"), `there is no status "sunny"`)
	contains(t, "resend to one", d.ask(t, 0, "events", "resend", event, "--endpoint", e.ID), event+" is queued for "+e.ID)
	contains(t, "resend as JSON", d.ask(t, 0, "events", "resend", event, "--endpoint", e.ID, "--json"), `"endpoints":["`+e.ID+`"]`)
	out, _, _ = output(t, "__complete", "events", "resend", event, "--address", d.info.Admin, "--endpoint", "")
	contains(t, "completion of a flag", out, e.ID+"\n")
	out, _, _ = output(t, "__complete", "events", "resend", "--address", d.info.Admin, "")
	contains(t, "completion of an event", out, event+"\n")
}

// TestUsage holds which code ends what: 2 for a line that makes no sense, 1 for
// what fails, each with one line.
func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		line, want string
		code       int
	}{
		{"freeze now", "unknown command", exitUsage},
		{"freeze --colour red", "unknown flag: --colour", exitUsage},
		{"store", "", 0},
		{"store restore x", `store has no command "restore"`, exitUsage},
		{"store backup", "accepts 1 arg(s)", exitUsage},
		{"events list --limit many", "invalid argument", exitUsage},
		{"events list --address here:1-5", "neither host:port nor unix//path", exitUsage},
		{"payments resolve pay_1", "--as and --reason are needed", exitUsage},
		{"events resend", "accepts 1 arg(s)", exitUsage},
		{"webhooks", "", 0},
		{"webhooks list --status", "flag needs an argument", exitUsage},
		{"listen", "--forward-to is needed", exitUsage},
		{"listen --forward-to localhost:3000", "--forward-to is needed", exitUsage},
		{"listen --forward-to ftp://localhost/", "--forward-to is needed", exitUsage},
		{"listen --forward-to http://a:b@localhost/", "--forward-to is needed", exitUsage},
		{"listen --forward-to http://localhost/ --events payment.paid", `no event type "payment.paid"`, exitUsage},
		{"listen now --forward-to http://localhost/", "unknown command", exitUsage},
		{"listen --forward-to http://localhost/ --address 127.0.0.1:1", "out of reach", 1},
		{"keys create --mode test", "--merchant and --mode are needed", exitUsage},
		{"connector test stripe --address 127.0.0.1:1", "out of reach", 1},
		{"unfreeze --address unix//no/such.sock", "out of reach", 1},
		{"keys create --merchant m --mode test --allow-ip 10.1.2.3/8", "is 10.0.0.0/8 meant", exitUsage},
		{"keys create --merchant m --mode test --allow-ip office", "neither a network", exitUsage},
		{"keys create --merchant m --mode test --expires-in 1h --expires-at 2030-01-01T00:00:00Z", "exclude each other", exitUsage},
		{"keys create --merchant m --mode test --signing hmac-sha256 --signing-public-key a.pem", "exclude each other", exitUsage},
		{"keys create --merchant m --mode test --signing ed25519", "--signing takes hmac-sha256", exitUsage},
		{"keys create --merchant m --mode test --signing-public-key /no/such.pem", "no such file", 1},
		{"keys create --merchant m --mode test --signing-public-key /dev/null", "BEGIN PUBLIC KEY", 1},
	} {
		out, errs, code := output(t, strings.Fields(tt.line)...)
		if code != tt.code || !strings.Contains(errs, tt.want) || strings.Count(strings.TrimSpace(errs), "\n") > 0 {
			t.Errorf("purser %s: %d %q, want %d and one line with %q", tt.line, code, errs, tt.code, tt.want)
		}
		if code != 0 && out != "" {
			t.Errorf("purser %s printed %q", tt.line, out)
		}
	}
}

// TestCompletion holds that shells get a script, and what needs no gateway.
func TestCompletion(t *testing.T) {
	for shell, want := range map[string]string{"bash": "__start_purser", "zsh": "#compdef purser", "fish": "complete -c purser"} {
		out, errs, code := output(t, "completion", shell)
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("completion %s: %d %s, want %s", shell, code, errs, want)
		}
	}
	for line, want := range map[string]string{
		"payments resolve x --as ": "succeeded\nfailed\ncanceled\n",
		"events list --type ":      "payment.processing\n",
		"webhooks list --status ":  "enabled\npaused\ndisabled\n",
		"listen --events ":         "payment.processing\n",
		"listen --forward-to ":     ":4\n", // nothing, and no files
		"keys create --mode ":      "test\nlive\n",
		"fre":                      "freeze\t",
		"accounts disable ":        ":4\n", // nothing, and no files
	} {
		at := strings.LastIndex(line, " ") + 1
		args := append([]string{"__complete"}, strings.Fields(line[:at])...)
		cmd := purser(t, append(args, line[at:])...)
		cmd.Env = append(cmd.Env, "PURSER_ADMIN=127.0.0.1:1")
		out, err := cmd.Output()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("complete %q: %v %q, want %q", line, err, out, want)
		}
	}
}

// TestConnectorList holds that the command and docs/capabilities.md speak of the
// same connectors and the same ways to pay.
func TestConnectorList(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "capabilities.md"))
	if err != nil {
		t.Fatal(err)
	}
	out, errs, code := output(t, "connector", "list", "--json")
	var list struct{ Data []connectorRow }
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 {
		t.Fatalf("%d %v %s", code, err, errs)
	}
	rows := regexp.MustCompile("(?m)^\\| \\[`([a-z0-9_.]+)`\\].*$").FindAllStringSubmatch(string(page), -1)
	if len(rows) != len(list.Data) {
		t.Fatalf("%d connectors on the page, %d in the list", len(rows), len(list.Data))
	}
	for i, c := range list.Data {
		if rows[i][1] != c.Name || !strings.Contains(rows[i][0], strings.Join(c.Operations, ", ")) {
			t.Errorf("the list has %s %v, the page %s", c.Name, c.Operations, rows[i][0])
		}
		for _, m := range c.Methods {
			name, flow, _ := strings.Cut(m, ":")
			if !strings.Contains(rows[i][0], "`"+name+"`") || !strings.Contains(rows[i][0], flow) {
				t.Errorf("%s of %s is not on the page: %s", m, c.Name, rows[i][0])
			}
		}
		if !strings.Contains(string(page), c.TestURL) || !strings.Contains(string(page), c.LiveURL) {
			t.Errorf("the addresses of %s are not on the page", c.Name)
		}
	}
	out, _, _ = output(t, "connector", "list")
	contains(t, "connector list", out, "CONNECTOR", "alipay:qr", "stripe", "the PSP's reference")
}
