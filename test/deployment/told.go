package deployment

import (
	"bufio"
	"io"
)

// ReadLines reads what a program prints to its end, and calls told at the first line
// that is want.
func ReadLines(out io.Reader, want string, told func()) {
	lines, done := bufio.NewScanner(out), false
	for lines.Scan() {
		if !done && lines.Text() == want {
			done = true
			told()
		}
	}
}
