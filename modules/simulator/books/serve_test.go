package books_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/purser-pay/purser/modules/simulator/books"
)

var wall = books.Wall{
	E500: func() books.Answer { return books.Answer{Status: 500} },
	E429: func() books.Answer { return books.Answer{Status: 429} },
}

// struck counts how many of n requests a rule strikes.
func struck(b *books.Books, n int, op books.Operation) int {
	count := 0
	for range n {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		b.Serve(w, r, "stripe", op, wall, func(books.Fault) books.Answer { return books.Answer{Status: 200, Body: []byte("{}")} })
		if w.Code == 429 {
			count++
		}
	}
	return count
}

func TestRules(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		rule books.Fault
		op   books.Operation
		low  int
		high int
	}{
		"once":                         {books.Fault{}, books.OpCapture, 1, 1},
		"three times":                  {books.Fault{Times: 3}, books.OpCapture, 3, 3},
		"a quarter":                    {books.Fault{Probability: 0.25}, books.OpCapture, 200, 300},
		"always":                       {books.Fault{Probability: 1}, books.OpCapture, 1000, 1000},
		"another operation":            {books.Fault{Operation: "void"}, books.OpCapture, 0, 0},
		"another connector":            {books.Fault{Connector: "alipay"}, books.OpCapture, 0, 0},
		"no operation of the contract": {books.Fault{}, books.OpOther, 0, 0},
		"other, by its name":           {books.Fault{Operation: "other"}, books.OpOther, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var counts [2]int
			for i := range counts {
				b, _ := open(t)
				tt.rule.Kind = books.E429
				if err := b.Faults.Add(tt.rule); err != nil {
					t.Fatal(err)
				}
				counts[i] = struck(b, 1000, tt.op)
			}
			if counts[0] != counts[1] || counts[0] < tt.low || counts[0] > tt.high {
				t.Errorf("got %v struck, want twice the same number from %d to %d", counts, tt.low, tt.high)
			}
		})
	}
}

// TestResetWithoutAConnection shows that a reset aborts where nothing can be
// hijacked, such as under HTTP/2.
func TestResetWithoutAConnection(t *testing.T) {
	t.Parallel()
	b, _ := open(t)
	if err := b.Faults.Add(books.Fault{Kind: books.ResetBefore}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if got := recover(); got != http.ErrAbortHandler { //nolint:errorlint // a panic's value
			t.Errorf("got %v, want http.ErrAbortHandler", got)
		}
	}()
	struck(b, 1, books.OpSync)
	t.Error("got an answer, want none")
}

func BenchmarkCreate(b *testing.B) {
	bk, clock := open(b)
	b.ReportAllocs()
	for b.Loop() {
		id := bk.ID("pi_3", 23)
		if _, err := bk.Create(books.Charge{Connector: "stripe", PSPReference: id, Reference: id, Amount: 100, Status: "requires_confirmation"}, false); err != nil {
			b.Fatal(err)
		}
		if _, err := bk.Update("stripe", "", id, func(c *books.Charge) error { return c.Authorize(clock.Now()) }); err != nil {
			b.Fatal(err)
		}
	}
}
