package api

import (
	"slices"
	"testing"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

func TestTestCardsAreCards(t *testing.T) {
	cards := testCards()
	if len(cards) < 150 {
		t.Errorf("%d numbers, want at least 150", len(cards))
	}
	for i, n := range cards {
		if !payment.ValidPAN(n) {
			t.Errorf("%s has a wrong check digit", n)
		}
		if payment.Brand(n) == "" {
			t.Errorf("%s is of no brand", n)
		}
		if i > 0 && cards[i-1] == n {
			t.Errorf("%s is there twice", n)
		}
	}
	for _, n := range []string{"4242424242424242", "4000000000000002", "5555555555554444", "378282246310005", "6205500000000000004", "4111111111111111"} {
		if !isTestCard(n) {
			t.Errorf("%s is missing", n)
		}
	}
	if isTestCard("4929000000006") || isTestCard("") || isTestCard("42424242424242420") {
		t.Error("a number that nobody published passes")
	}
}

// TestSimulatorsCards: whatever the simulator has a behavior for can be reached
// through the gateway.
func TestSimulatorsCards(t *testing.T) {
	if len(books.Cards) < 40 {
		t.Errorf("the simulator has %d cards, want its whole table", len(books.Cards))
	}
	for _, c := range books.Cards {
		if !isTestCard(c.Number) {
			t.Errorf("%s (%s) is missing", c.Number, c.Means)
		}
	}
	for _, n := range []string{"4000009900000012", "4000009900000020", "4000009900000038", "4000009900000046"} {
		if !isTestCard(n) {
			t.Errorf("%s, the simulator's own, is missing", n)
		}
	}
}

func TestCountries(t *testing.T) {
	if n := len(countries); n%3 != 0 || n/3 != 250 {
		t.Errorf("%d codes, want the 249 of ISO 3166-1 and XK", n/3)
	}
	for i := 0; i < len(countries); i += 3 {
		if c := countries[i : i+2]; !isCountry(c) || i > 0 && slices.Compare([]byte(countries[i-3:i-1]), []byte(c)) >= 0 {
			t.Errorf("%q is out of order", c)
		}
	}
	for _, s := range []string{"", "D", "de", "XX", "D ", " D", "EAF", "E A"} {
		if isCountry(s) {
			t.Errorf("isCountry(%q)", s)
		}
	}
}
