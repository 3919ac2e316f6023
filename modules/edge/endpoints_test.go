package edge_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWebhookEndpoints walks from the option to the operators' hands: where
// webhooks may go, who sees an endpoint, and who has an event sent again.
func TestWebhookEndpoints(t *testing.T) {
	const endpoints, inside = "/v1/webhook_endpoints", "https://127.0.0.1:8443/hook?token=canary"
	w := newWorld(t)
	w.start(t)
	create := func(want int, url string) (e struct{ ID, Secret, Detail string }) {
		t.Helper()
		status, body, _, err := w.call("POST", endpoints, "", object{"url": url})
		if err != nil || status != want || json.Unmarshal(body, &e) != nil {
			t.Fatalf("create %s: %d %s %v, want %d", url, status, body, err, want)
		}
		return e
	}
	if refused := create(400, inside); !strings.Contains(refused.Detail, "loopback") {
		t.Errorf("the refusal says %q, want why", refused.Detail)
	}
	w.webhooks = object{"allow": []string{"127.0.0.0/8"}}
	w.reload(t)
	e := create(201, inside)
	create(400, "http://127.0.0.1:1/")
	other := create(201, "https://127.0.0.1:1/other").ID
	if status, body, _, err := w.call("PATCH", endpoints+"/"+other, "", object{"status": "disabled"}); err != nil || status != 200 {
		t.Fatalf("disable: %d %s %v", status, body, err)
	}
	w.pay(t, "a")

	type state struct {
		ID, Merchant, Mode, URL, Status string
		Events                          []string
		Reason                          string `json:"status_reason"`
	}
	list := func(filter string) (rows []state, text string) {
		t.Helper()
		var raw json.RawMessage
		w.operate(t, http.StatusOK, "GET", "/payments/webhook_endpoints"+filter, nil, &raw)
		var l struct{ Data []state }
		if err := json.Unmarshal(raw, &l); err != nil {
			t.Fatal(err)
		}
		return l.Data, string(raw)
	}
	all, text := list("")
	if len(all) != 2 || all[0].ID != e.ID || all[0].Merchant != w.merchant || all[0].Mode != "test" || all[0].Status != "enabled" || all[0].URL != inside {
		t.Errorf("operators see %s", text)
	}
	if strings.Contains(text, "sealed") || strings.Contains(text, "whsec_") {
		t.Errorf("operators see secrets: %s", text)
	}
	if off, _ := list("?status=disabled&mode=test&merchant=" + w.merchant); len(off) != 1 || off[0].ID != other || off[0].Reason != "disabled by the merchant" {
		t.Errorf("disabled ones: %+v", off)
	}
	for _, filter := range []string{"?status=on", "?mode=x", "?merchant=x", "?limit=1"} {
		w.operate(t, http.StatusBadRequest, "GET", "/payments/webhook_endpoints"+filter, nil, nil)
	}

	var events struct{ Data []struct{ ID string } }
	w.operate(t, http.StatusOK, "GET", "/payments/events", nil, &events)
	resend := "/payments/events/" + events.Data[0].ID + "/resend"
	for _, in := range []any{nil, object{"endpoint": e.ID}} {
		var out struct {
			Merchant  string
			Endpoints []string
		}
		w.operate(t, http.StatusOK, "POST", resend, in, &out)
		if out.Merchant != w.merchant || len(out.Endpoints) != 1 || out.Endpoints[0] != e.ID {
			t.Errorf("resend %v: %+v, want the one that is enabled", in, out)
		}
	}
	w.operate(t, http.StatusConflict, "POST", resend, object{"endpoint": other}, nil)
	w.operate(t, http.StatusBadRequest, "POST", resend, object{"endpoint": "x"}, nil)
	w.operate(t, http.StatusNotFound, "POST", resend, object{"endpoint": "we_00000000000000000000000000"}, nil)
	w.operate(t, http.StatusNotFound, "POST", "/payments/events/evt_1/resend", nil, nil)
	acts, _ := w.audit(t)
	results := map[string]int{}
	for _, a := range acts {
		if a.Act == "events.resend" {
			results[a.Result]++
		}
	}
	if results["done"] != 2 || results["refused"] != 4 {
		t.Errorf("the audit has %v, want 2 done and 4 refused", results)
	}
	stop(t)
	if err := w.load(t); err != nil {
		t.Fatal(err)
	}
	w.client.CloseIdleConnections()
	status, body, _, err := w.call("GET", endpoints+"/"+e.ID, "", nil)
	if err != nil || status != 200 || !strings.Contains(string(body), "whpk_") {
		t.Errorf("after a restart: %d %s %v, want the endpoint and its public key", status, body, err)
	}
	for _, name := range []string{"log", "audit", "purser.db", "purser.db-wal"} {
		b, err := os.ReadFile(filepath.Join(w.dir, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if e.Secret == "" || bytes.Contains(b, []byte(strings.TrimPrefix(e.Secret, "whsec_"))) {
			t.Errorf("%s holds the secret %.8s…", name, e.Secret)
		}
		if name == "log" && bytes.Contains(b, []byte("token=canary")) {
			t.Error("the log holds the rest of an endpoint's URL")
		}
	}
}
