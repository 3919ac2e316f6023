package gateway

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/caddyserver/caddy/v2"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/transport"
)

// TestCircuit plays what becomes of payments one after the other: a is answered,
// s meets silence, u is not sent after all, k is kept back, w is a wait of one
// second, and W one of eleven. b begins one that ends by the next A, S or U.
func TestCircuit(t *testing.T) {
	tests := []struct {
		name, steps, state string
	}{
		{"nothing", "", "closed"},
		{"answers", "aaaaaaaaaaaaaaaaaaaa", "closed"},
		{"too few fail", "sss", "closed"},
		{"enough fail", "ssss k", "open"},
		{"half of all fail", "aaaassss k", "open"},
		{"less than half fail", "aaaaassss", "closed"},
		{"what was not sent counts for nothing", "uuuussss k", "open"},
		{"too few fail within the window", "sss WWW s", "closed"},
		{"answers of long ago excuse nothing", "aaaaaaaa WWW ssss k", "open"},
		{"it stays open for its time", "ssss wwwwk wwwwk", "open"},
		{"then somebody may try", "ssss W", "half_open"},
		{"and is answered", "ssss W a", "closed"},
		{"after which all may go", "ssss W aaaasss", "closed"},
		{"and meets silence", "ssss W s k", "open"},
		{"again and again", "ssss W s W s W s k", "open"},
		{"one at a time", "ssss W bkk", "half_open"},
		{"one at a time, answered", "ssss W bkA", "closed"},
		{"one at a time, silence", "ssss W bkSk", "open"},
		{"who does not send after all lets another try", "ssss W u a", "closed"},
		{"who does not send after all lets another try, later", "ssss W bkU bA", "closed"},
		{"one that began before it opened closes nothing", "b ssss Ak", "open"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config, on := (&CircuitBreakerConfig{Failures: 4}).settled(payment.Test)
				if !on {
					t.Fatal("it is off")
				}
				changes := []string{"closed"}
				c := newCircuit("acme", config, func(_ string, from, to gobreaker.State) {
					if last := changes[len(changes)-1]; circuitStates[from] != last {
						t.Errorf("from %s, which it was not: %v", circuitStates[from], changes)
					}
					changes = append(changes, circuitStates[to])
				})
				play(t, c, tt.steps)
				a := &App{circuits: map[string]*circuit{"acme": c}}
				if got := a.circuitState("acme"); got != tt.state || changes[len(changes)-1] != tt.state {
					t.Errorf("it is %s, told %v, want %s", got, changes, tt.state)
				}
			})
		})
	}
}

func play(t *testing.T, c *circuit, steps string) {
	t.Helper()
	ends := map[rune]error{'a': nil, 's': transport.ErrSilent, 'u': transport.ErrUntold, 'A': nil, 'S': transport.ErrSilent, 'U': transport.ErrUntold}
	var begun func(error)
	for i, step := range steps {
		switch step {
		case 'w':
			time.Sleep(time.Second) // the bubble's
		case 'W':
			time.Sleep(11 * time.Second)
		case 'A', 'S', 'U':
			begun(ends[step])
		case 'k':
			if _, err := c.Allow(); err == nil || !c.silent() {
				t.Fatalf("step %d of %s: not kept back, silent %t", i, steps, c.silent())
			}
		case 'a', 's', 'u', 'b':
			if c.silent() {
				t.Fatalf("step %d of %s: routing would pass it over", i, steps)
			}
			done, err := c.Allow()
			if err != nil {
				t.Fatalf("step %d of %s: %v", i, steps, err)
			}
			if step == 'b' {
				begun = done
			} else {
				done(ends[step])
			}
		}
	}
}

func TestCircuitBreakerConfig(t *testing.T) {
	t.Parallel()
	usual := CircuitBreakerConfig{Failures: 10, Window: caddy.Duration(30 * time.Second), OpenFor: caddy.Duration(10 * time.Second)}
	tests := []struct {
		name   string
		config *CircuitBreakerConfig
		mode   payment.Mode
		want   CircuitBreakerConfig
		on     bool
		bad    string
	}{
		{"live", nil, payment.Live, usual, true, ""},
		{"test", nil, payment.Test, CircuitBreakerConfig{}, false, ""},
		{"test, asked for", &CircuitBreakerConfig{}, payment.Test, usual, true, ""},
		{"live, off", &CircuitBreakerConfig{Off: true}, payment.Live, CircuitBreakerConfig{}, false, ""},
		{"tuned", &CircuitBreakerConfig{Failures: 3, OpenFor: caddy.Duration(time.Minute)}, payment.Live, CircuitBreakerConfig{
			Failures: 3, Window: usual.Window, OpenFor: caddy.Duration(time.Minute),
		}, true, ""},
		{"off and tuned", &CircuitBreakerConfig{Off: true, Failures: 3}, payment.Live, CircuitBreakerConfig{}, false, "it is off"},
		{"too many failures", &CircuitBreakerConfig{Failures: maxFailures + 1}, payment.Live, CircuitBreakerConfig{}, false, "failures is"},
		{"negative failures", &CircuitBreakerConfig{Failures: -1}, payment.Live, CircuitBreakerConfig{}, false, "failures is"},
		{"a short window", &CircuitBreakerConfig{Window: 1}, payment.Live, CircuitBreakerConfig{}, false, "window is"},
		{"a long window", &CircuitBreakerConfig{Window: caddy.Duration(time.Hour)}, payment.Live, CircuitBreakerConfig{}, false, "window is"},
		{"a short rest", &CircuitBreakerConfig{OpenFor: 1}, payment.Live, CircuitBreakerConfig{}, false, "open_for is"},
		{"a negative rest", &CircuitBreakerConfig{OpenFor: -1}, payment.Live, CircuitBreakerConfig{}, false, "open_for is"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.config.check()
			if (err == nil) != (tt.bad == "") || err != nil && !strings.Contains(err.Error(), tt.bad) {
				t.Fatalf("got %v, want %q", err, tt.bad)
			}
			if err != nil {
				return
			}
			if got, on := tt.config.settled(tt.mode); got != tt.want || on != tt.on {
				t.Errorf("got %+v %t, want %+v %t", got, on, tt.want, tt.on)
			}
		})
	}
	if err := (&AccountConfig{Mode: payment.Test, CircuitBreaker: &CircuitBreakerConfig{Failures: -1}}).check("acme"); err == nil {
		t.Error("the account with it is taken")
	} else if field := new(fieldError); !errors.As(err, &field) || field.field != circuitField {
		t.Errorf("got %v, want an error of the field", err)
	}
}
