package gateway

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/store"
)

// TestRestoredMark holds that the statement of docs/operations.md marks a restored
// PostgreSQL store as a SQLite backup is from its making: frozen, until a
// comparison leaves no doubt.
func TestRestoredMark(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, statement, _ := strings.Cut(string(page), "```sql\nINSERT INTO settings (name, value) VALUES\n")
	statement, _, _ = strings.Cut(statement, "```")
	rows := regexp.MustCompile(`\('([^']+)', '([^']+)'\)`).FindAllStringSubmatch(statement, -1)
	if len(rows) != 2 {
		t.Fatalf("the statement has %d rows, want 2: %s", len(rows), statement)
	}
	s := openStore(t, filepath.Join(t.TempDir(), "purser.db"))
	inStore(t, s, func(tx store.Tx) error {
		for _, row := range rows {
			if err := tx.PutSetting(row[1], row[2]); err != nil {
				return err
			}
		}
		return nil
	})
	read := func() (got freezeState) {
		t.Helper()
		if err := s.View(t.Context(), func(r store.Reader) (err error) {
			got, err = readFreeze(r)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	if got := read(); !got.Frozen || got.By != frozenByBackup || got.RestoredFrom == nil || !got.RestoredFrom.Equal(at) ||
		got.Since == nil || !got.Since.Equal(at) {
		t.Errorf("got %+v, want frozen by the backup of %s", got, at)
	}
	inStore(t, s, thawRestored)
	if got := read(); got.Frozen || got.RestoredFrom != nil {
		t.Errorf("after the comparison: got %+v, want neither frozen nor restored", got)
	}
}
