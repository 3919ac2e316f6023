package stripesim_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connectors/stripe/stripesim"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

func TestChallenge(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		token  string
		ok     bool
		status payment.Status
		word   string
	}{
		"passed":             {"pm_card_threeDSecure2Required", true, payment.RequiresCapture, "succeeded"},
		"failed":             {"pm_card_threeDSecure2Required", false, payment.Failed, "failed"},
		"passed and refused": {"pm_card_threeDSecureRequiredChargeDeclined", true, payment.Failed, "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := open(t)
			a := x.pay(tt.token, "manual", "return_url", "https://shop.example/back?order=1")
			check(t, a, 200, map[string]any{"status": "requires_action", "next_action.type": "redirect_to_url", "latest_charge": nil})
			page := a.at("next_action.redirect_to_url.url").(string)
			client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			res, err := client.Get(page) // a page of the test's own server
			if err != nil {
				t.Fatal(err)
			}
			html, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if res.StatusCode != http.StatusOK || !bytes.Contains(html, []byte("10.00 USD")) {
				t.Errorf("got page %d %s, want the amount on it", res.StatusCode, html)
			}
			result := books.ResultFail
			if tt.ok {
				result = books.ResultSucceed
			}
			res, err = client.PostForm(page, url.Values{"result": {result}})
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			back, err := res.Location()
			if err != nil {
				t.Fatal(err)
			}
			if q := back.Query(); q.Get("payment_intent") != a.at("id") || q.Get("redirect_status") != tt.word || q.Get("order") != "1" {
				t.Errorf("got redirect %s, want %s of %v", back, tt.word, a.at("id"))
			}
			if got := x.charge().Status; got != tt.status {
				t.Errorf("got %s, want %s", got, tt.status)
			}
		})
	}
}

// FuzzServe sends anything to anywhere: the dialect answers, and the books stay
// sound.
func FuzzServe(f *testing.F) {
	for _, s := range [][2]string{
		{"payment_intents", "amount=1000&currency=usd&confirm=true&payment_method=pm_card_visa&payment_method_types[]=card"},
		{"payment_intents", "amount=1000&currency=usd&expand[0]=latest_charge&metadata[a]=b"},
		{"payment_methods", "type=card&card[number]=4242424242424242&card[exp_month]=12&card[exp_year]=30"},
		{"refunds", "charge=ch_1&amount=1"},
		{"payment_intents/pi_1/capture", "amount_to_capture=%zz"},
	} {
		f.Add("POST", s[0], s[1])
	}
	f.Add("GET", "payment_intents/search?query=metadata['a']:'b'", "")
	f.Add("GET", "refunds?limit=3&created[gte]=1", "")
	f.Fuzz(func(t *testing.T, method, path, body string) {
		clock := books.NewClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
		b := books.New(books.Config{Now: clock.Now, AfterFunc: clock.AfterFunc})
		defer b.Close()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1/v1/"+path, strings.NewReader(body))
		if err != nil {
			t.Skip()
		}
		r.Header.Set("Authorization", "Bearer sk_test_1")
		w := httptest.NewRecorder()
		stripesim.New(b, stripesim.Options{}).ServeHTTP(w, r)
		if w.Code == http.StatusInternalServerError || !json.Valid(w.Body.Bytes()) {
			t.Errorf("got %d %s, want an answer in JSON", w.Code, w.Body)
		}
		for _, c := range b.All() {
			if c.Refunded > c.Captured || c.Captured > c.Authorized || c.Amount < 1 {
				t.Errorf("books do not hold: %+v", c)
			}
		}
	})
}

func BenchmarkPay(b *testing.B) {
	clock := books.NewClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	bk := books.New(books.Config{Now: clock.Now, AfterFunc: clock.AfterFunc})
	b.Cleanup(bk.Close)
	d := stripesim.New(bk, stripesim.Options{BaseURL: "http://127.0.0.1/stripe"})
	v := url.Values{}
	form := payForm("pm_card_visa", "automatic")
	for i := 0; i < len(form); i += 2 {
		v.Add(form[i], form[i+1])
	}
	body := v.Encode()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r := httptest.NewRequest(http.MethodPost, "/v1/payment_intents", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer sk_test_1")
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Idempotency-Key", strconv.Itoa(i))
		w := httptest.NewRecorder()
		if d.ServeHTTP(w, r); w.Code != http.StatusOK {
			b.Fatalf("got status %d: %s", w.Code, w.Body)
		}
	}
}
