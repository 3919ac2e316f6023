package payment

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxPSPCode    = 64
	maxPSPMessage = 200
)

// clean makes a PSP's text fit to show: valid UTF-8, no control characters, no
// markup, nothing that looks like a card number, at most n characters.
func clean(s string, n int) string {
	if len(s) > 8*n {
		s = s[:8*n]
	}
	if strings.ContainsAny(s, "<>") { // an HTML page tells a payer nothing
		return ""
	}
	s = MaskPANs(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s))
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > n {
		s = string(r[:n])
	}
	return s
}
