package payment

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// cards are numbers of each network and length, as PSPs publish them.
var cards = []string{
	"4242424242424242", "5555555555554444", "2223003122003222", "378282246310005", "6011111111111117", "3056930009020004", "36227206271667",
	"3566002020360505", "6205500000000000004", "6200000000000005", "4000002500001001", "2200000000000004", "6771798021000008",
	"5018000000000009", "8171999927660000", "6304000000000000", "4222222222222", "38520000009814", "4000000000006",
}

// Each has digits that pass for a card number.
var identifiersTaken = []string{
	"31f4f87b-b632-4788-9424-4635d79a89a5",
	"31F4F87B-B632-4788-9424-4635D79A89A5",
	"31f4f87bb632478894244635d79a89a5",
}

func TestIdentifiersAreNoCards(t *testing.T) {
	t.Parallel()
	for _, id := range identifiersTaken {
		for _, form := range []string{"%s", `"%s"`, "urn:uuid:%s", "{%s}", "order_%s", "order %s, please", "1-%s", "%s.pdf", "%[1]s,%[1]s", "%[1]s %[1]s"} {
			if s := fmt.Sprintf(form, id); foundIn(s) != "" {
				t.Errorf("%s: found %q, want nothing", s, foundIn(s))
			}
		}
	}
	const a, d = "abcdef0123", "4242424242424242"
	tests := []struct {
		name, text, want string
	}{
		{"of digits alone", "42424242-4242-4242-0000-000000000000", ""},
		{"a digest of 24", "abcdef01" + d, ""},
		{"a digest of 23", "abcdef0" + d, ""}, // the 0 makes a run of 17 digits
		{"23 hexadecimal digits", "abcdefa" + d, d},
		{"a digest of 128", d + strings.Repeat("a", 112), ""},
		{"130 hexadecimal digits", d + strings.Repeat("a", 114), d},
		{"300 hexadecimal digits", strings.Repeat("a", 142) + d + strings.Repeat("a", 142), d},
		{"a letter that is none of theirs", "abcdefag" + d, d},
		{"an umlaut is no letter", "äabcdefab" + d, ""},
		{"no letter", "12345678" + d, ""}, // too long a run of digits
		{"a UUID with a letter before it", "x42424242-4242-4242-0000-00000000000a", "42424242-4242-4242"},
		{"a UUID with a digit behind it", "42424242-4242-4242-0000-00000000000a1", "42424242-4242-4242"},
		{"a UUID that is too short", "42424242-4242-4242-0000-00000000000", "42424242-4242-4242"},
		{"groups of other lengths", "4242424-24242-4242-0000-0000000000ab", "4242424-24242-4242"},
		{"other separators", "42424242 4242 4242 0000 0000000000ab", "42424242 4242 4242"},
		{"a letter that is not hexadecimal", "42424242-4242-4242-000g-000000000000", "42424242-4242-4242"},
		{"one digit behind a digest", "abcdefabcdef424242424242 4242", "424242424242 4242"},
		{"one digit before a digest", "4242 424242424242abcdefabcdef", "4242 424242424242"},
		{"two digests", a + "abcdef42424242 42424242" + "abcdef0123abcdef", ""},
		{"a card in a row of groups", "4242-4242-4242-4242", "4242-4242-4242-4242"},
		{"a card, then letters", d + "abc", d},
	}
	for _, tt := range tests {
		if got := foundIn(tt.text); got != tt.want {
			t.Errorf("%s: %s: found %q, want %q", tt.name, tt.text, got, tt.want)
		}
	}
}

// TestRandomIdentifiers draws a million identifiers of each kind that merchants
// have for their own objects.
func TestRandomIdentifiers(t *testing.T) {
	t.Parallel()
	n := 1_000_000
	if testing.Short() {
		n /= 20
	}
	random := rand.NewChaCha8([32]byte{1})
	var raw [32]byte
	for range n {
		_, _ = random.Read(raw[:]) // it never fails
		digest := hex.EncodeToString(raw[:])
		raw[6], raw[8] = raw[6]&0x0f|0x40, raw[8]&0x3f|0x80 // UUIDv4
		plain := hex.EncodeToString(raw[:16])
		uuid := plain[:8] + "-" + plain[8:12] + "-" + plain[12:16] + "-" + plain[16:20] + "-" + plain[20:]
		for _, id := range []string{uuid, plain, digest[:24], digest[:40], digest} {
			if strings.ContainsAny(id, "abcdef") && foundIn(id) != "" {
				t.Fatalf("%s: found %q, want nothing", id, foundIn(id))
			}
		}
	}
}

// TestCardsAreFound: also beside an identifier a card number is one, in every
// spelling.
func TestCardsAreFound(t *testing.T) {
	t.Parallel()
	places := []string{
		"%s", "my card is %s, thanks", "card%s", "%sx", "no%sno", "[%s]", "pay_%s", "ä%sä", "12 %s", "%s 12/30", "(%s)", "x-%s", "%s-x",
	}
	for _, id := range identifiersTaken {
		places = append(places, id+" %s", "%s "+id, id+",%s", "%s/"+id, id+"-%s", "%s-"+id, id+"_%s_"+id)
	}
	for _, card := range cards {
		for _, spelled := range spellings(card) {
			for _, place := range places {
				s := fmt.Sprintf(place, spelled)
				if foundIn(s) == "" {
					t.Errorf("%s: found nothing, want %s", s, spelled)
				}
				if got := MaskPANs(s); strings.Contains(got, spelled) {
					t.Errorf("%s: masked as %s, want no %s in it", s, got, spelled)
				}
			}
		}
	}
}

// spellings are the ways in which people write a card number.
func spellings(card string) []string {
	list := []string{card, strings.Join(strings.Split(card, ""), " "), strings.Join(strings.Split(card, ""), "-")}
	for _, sep := range []string{" ", "-", "  ", " - "} {
		var groups []string
		for rest := card; rest != ""; {
			n := min(4, len(rest))
			groups, rest = append(groups, rest[:n]), rest[n:]
		}
		list = append(list, strings.Join(groups, sep))
	}
	return append(list, card[:4]+" "+card[4:10]+" "+card[10:])
}

func foundIn(s string) string {
	a, b, _ := FindPAN(s)
	return s[a:b]
}

// hostile are texts that give the search the most to do. None holds a card number.
func hostile(size int) map[string]string {
	fill := func(unit string) string { return strings.Repeat(unit, size/len(unit)) }
	return map[string]string{
		"digits apart":            fill("1 "),
		"digits far apart":        fill("1" + strings.Repeat(" ", 60)),
		"zeros apart":             fill("0-"),
		"UUIDs of digits":         fill("42424242-4242-4242-0000-000000000000 "),
		"UUIDs":                   fill("31f4f87b-b632-4788-9424-4635d79a89a5 "),
		"nearly UUIDs":            fill("4243-"),
		"digests with cards":      fill("4242424242424242abcdefab "),
		"long digests with cards": fill(strings.Repeat("a", 112) + "4242424242424242 "),
		"one long word":           fill("a"),
		"halves of digests":       fill("abcdefabcdef424242424242 - 424242424242abcdefabcdef,"),
	}
}

// TestSearchIsLinear: eight times the text takes about eight times as long, not
// 64 times. The quickest of many runs counts: a machine that is busy makes some
// slower, and a search that is not linear makes all.
func TestSearchIsLinear(t *testing.T) {
	const size, times, slack = 64 << 10, 8, 3
	long := hostile(size)
	for name, short := range hostile(size / times) {
		if foundIn(long[name]) != "" {
			t.Fatalf("%s: found %q, want nothing", name, foundIn(long[name]))
		}
		once := quickest(short, 7, 0)
		limit := max(once, 20*time.Microsecond) * times * slack
		if more := quickest(long[name], 300, limit); more > limit {
			t.Errorf("%s: %d KiB take %v and %d KiB take %v, want at most %v", name, size/times>>10, once, size>>10, more, limit)
		}
	}
}

// quickest searches s up to so many times, or until it took no longer than enough.
func quickest(s string, runs int, enough time.Duration) time.Duration {
	least := time.Hour
	for range runs {
		began := time.Now()
		_ = foundIn(s)
		if least = min(least, time.Since(began)); least <= enough {
			break
		}
	}
	return least
}

func TestSearchAllocatesNothing(t *testing.T) {
	for name, s := range hostile(4 << 10) {
		if n := testing.AllocsPerRun(10, func() { _, _, _ = FindPAN(s) }); n != 0 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
}

func BenchmarkFindPAN(b *testing.B) {
	texts := hostile(64 << 10)
	texts["one UUID"] = identifiersTaken[0]
	texts["words"] = "Two tickets for the 24th of December, row 12"
	for name, s := range texts {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(s)))
			for b.Loop() {
				_, _, _ = FindPAN(s)
			}
		})
	}
}
