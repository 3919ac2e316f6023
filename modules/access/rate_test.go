package access_test

import (
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/access"
)

func TestParseRate(t *testing.T) {
	for text, want := range map[string]access.Rate{
		"100/1s":      {Limit: 100, Period: time.Second},
		"1/60s":       {Limit: 1, Period: time.Minute},
		"1000000/15m": {Limit: 1_000_000, Period: 15 * time.Minute},
		"5/1h30m":     {Limit: 5, Period: 90 * time.Minute},
		"7/720h":      {Limit: 7, Period: 720 * time.Hour},
	} {
		got, err := access.ParseRate(text)
		if err != nil || got != want {
			t.Errorf("ParseRate(%q) = %v, %v; want %v", text, got, err, want)
			continue
		}
		if again, err := access.ParseRate(got.String()); err != nil || again != got {
			t.Errorf("%q is written as %q, which reads as %v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{
		"", "/", "100", "100/", "/1s", "0/1s", "-1/1s", "+5/1s", "1.5/1s", "1e3/1s", "1000001/1s", "5/0s", "5/-1s", "5/s", "5/1",
		"5/500ms", "5/1500ms", "5/721h", "5/1s/1s", " 5/1s", "5/1s ", strings.Repeat("9", 99) + "/1s",
	} {
		if got, err := access.ParseRate(text); err == nil {
			t.Errorf("ParseRate(%q) = %v, want an error", text, got)
		} else if len(err.Error()) > 150 {
			t.Errorf("the error on %.20q has %d bytes", text, len(err.Error()))
		}
	}
}

func TestRateIsWrittenShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Second: "1s", time.Minute: "1m", 90 * time.Second: "1m30s", time.Hour: "1h", 10 * time.Minute: "10m",
		24 * time.Hour: "24h", time.Hour + time.Second: "1h0m1s", 100 * time.Minute: "1h40m",
	} {
		if got := (access.Rate{Limit: 1, Period: d}).Window(); got != want {
			t.Errorf("a window of %v is written %q, want %q", d, got, want)
		}
	}
}

func TestCheckRates(t *testing.T) {
	second, minute := access.Rate{Limit: 1, Period: time.Second}, access.Rate{Limit: 9, Period: time.Minute}
	if err := access.CheckRates([]access.Rate{second, minute}); err != nil {
		t.Errorf("two windows: %v", err)
	}
	if err := access.CheckRates([]access.Rate{second, {Limit: 2, Period: time.Second}}); err == nil {
		t.Error("two windows of one second were taken")
	}
	var many []access.Rate
	for i := range access.MaxRates + 1 {
		many = append(many, access.Rate{Limit: 1, Period: time.Duration(i+1) * time.Second})
	}
	if err := access.CheckRates(many); err == nil {
		t.Errorf("%d windows were taken", len(many))
	}
}
