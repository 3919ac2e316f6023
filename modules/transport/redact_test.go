package transport

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

const (
	canary    = "sk_test_CANARY/+secret"
	cardValue = "4242424242424242"
	authCode  = "281234567890123456"
)

func TestNothingSecretIsSaid(t *testing.T) {
	basic := base64.StdEncoding.EncodeToString([]byte(canary + ":"))
	loud := "https://user:" + canary + "@psp.example/v1?key=" + url.QueryEscape(canary) + "&q=query-part " +
		canary + " key=" + url.QueryEscape(canary) + " " + cardValue + " 4242-4242-4242-4242 " + authCode + " Basic " + basic + "\r\nforged: line"
	request := func(c connector.Call) (*http.Request, error) {
		req, err := http.NewRequest(http.MethodPost, c.BaseURL+"/v1?key="+url.QueryEscape(canary), strings.NewReader("number="+cardValue))
		if err == nil {
			req.Header.Set("Authorization", "Basic "+basic)
		}
		return req, err
	}
	tests := []struct {
		name   string
		script string
		f      *fakeConnector
	}{
		{"encode", "succeeded", &fakeConnector{encode: func(connector.Call) (*http.Request, error) { return nil, errors.New(loud) }}},
		{"decode", "succeeded", &fakeConnector{encode: request, decode: func(connector.Call, connector.Response) (connector.Result, error) {
			return connector.Result{}, &url.Error{Op: "parse", URL: loud, Err: errors.New(loud)}
		}}},
		{"dial", "refused", &fakeConnector{encode: request}},
		{"hang up", "hang up", &fakeConnector{encode: request}},
		{"state", "succeeded", &fakeConnector{encode: request, decode: func(connector.Call, connector.Response) (connector.Result, error) {
			return connector.Result{State: connector.State(canary)}, nil
		}}},
		{"bad header", "succeeded", &fakeConnector{encode: func(c connector.Call) (*http.Request, error) {
			req, err := request(c)
			req.Header.Set("X-Key", canary+"\r\n")
			return req, err
		}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.f.Key = connector.NewSecret(canary)
			psp := newPSP(t, tt.script)
			h := newHarness(t, tt.f, "http://"+psp.ln.Addr().String(), psp.dial)
			call := authorize()
			call.Op = payment.Authorize{Method: payment.Method{
				Card:     &payment.Card{Number: payment.NewSensitive(cardValue)},
				AuthCode: payment.NewSensitive(authCode),
			}}
			x := h.do(call)
			if x.Err == nil {
				t.Fatal("got no error, want one to look at")
			}
			var log strings.Builder
			slog.New(slog.NewJSONHandler(&log, nil)).Error("x", slog.Any("err", x.Err))
			said := fmt.Sprintf("%v\n%+v\n%#v\n%#v\n%+v\n%s", x.Err, x.Err, x.Err, x, h.seen.all, log.String())
			for _, secret := range []string{"CANARY", "query-part", "user:", cardValue, "4242-4242", authCode, basic, "\r"} {
				if strings.Contains(said, secret) {
					t.Errorf("%q was said:\n%s", secret, said)
				}
			}
		})
	}
}

func TestErrorsKeepTheirMeaning(t *testing.T) {
	for _, sentinel := range []error{connector.ErrUnsupported, connector.ErrNotRepresentable} {
		f := &fakeConnector{encode: func(connector.Call) (*http.Request, error) { return nil, fmt.Errorf("refund: %w", sentinel) }}
		h := newHarness(t, f, "https://psp.example", nil)
		x := h.do(authorize())
		if x.Outcome != notSent || !errors.Is(x.Err, sentinel) {
			t.Errorf("got %v, %v; want not_sent, %v", x.Outcome, x.Err, sentinel)
		}
		if len(h.pauses) != 0 {
			t.Errorf("a request that cannot be encoded was tried again: %v", h.pauses)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h := newHarness(t, &fakeConnector{}, "https://psp.example", nil)
	if x := h.Exchange(ctx, h.account, callTo(h)); x.Outcome != notSent || !errors.Is(x.Err, context.Canceled) {
		t.Errorf("got %v, %v; want not_sent, context.Canceled", x.Outcome, x.Err)
	}
}

func FuzzCleanText(f *testing.F) {
	f.Add("dial https://u:p@h/x?q=1: 4242424242424242", "secret")
	f.Add("a secret b", "secret")
	f.Add("\xff\x00\n", "")
	f.Fuzz(func(t *testing.T, s, secret string) {
		got := cleanText(s, []string{secret})
		if len(got) > maxErrorText+len("…") {
			t.Errorf("got %d bytes", len(got))
		}
		if len(secret) >= minSecretText && !strings.Contains(payment.Redacted, secret) && strings.Contains(s, secret) &&
			!strings.Contains(strings.ReplaceAll(s, secret, payment.Redacted), secret) && strings.Contains(got, secret) &&
			!strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q is in %q", secret, got)
		}
		if _, _, found := payment.FindPAN(strings.TrimSuffix(got, "…")); found && len(got) <= maxErrorText {
			t.Errorf("a card number is in %q", got)
		}
	})
}
