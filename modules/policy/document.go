package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// What YAML allows and a policy does not: all that makes a file read otherwise
// than it looks. The rest is checked by type, node by node; nothing is decoded
// into Go values, so that no alias is ever followed and no text becomes a bool.

// parse returns the one mapping that a file holds.
func parse(f source, faults *faultList) (*yaml.Node, bool) {
	if line, why := forbidden(f.data); why != "" {
		faults.add(f.path, line, "%s", why)
		return nil, false
	}
	d := yaml.NewDecoder(bytes.NewReader(f.data))
	var doc yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		faults.add(f.path, 1, "the file is empty")
		return nil, false
	case err != nil:
		line, text := syntax(f.data, err)
		faults.add(f.path, line, "%s", text)
		return nil, false
	}
	var second yaml.Node
	if err := d.Decode(&second); !errors.Is(err, io.EOF) {
		line, text := second.Line, "a second document in one file"
		if err != nil {
			line, text = syntax(f.data, err)
		}
		faults.add(f.path, max(line, 1), "%s", text)
		return nil, false
	}
	before := len(faults.all)
	for _, n := range doc.Content {
		tidy(f.path, n, faults)
	}
	if len(faults.all) > before {
		return nil, false
	}
	if root := doc.Content[0]; root.Kind == yaml.MappingNode {
		return root, true
	}
	faults.add(f.path, doc.Content[0].Line, "the file is no mapping")
	return nil, false
}

// tidy refuses anchors, aliases and tags.
func tidy(file string, n *yaml.Node, faults *faultList) {
	switch {
	case faults.full():
		return
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		faults.add(file, n.Line, "anchors and aliases are not taken: write the value out")
		return
	case n.Style&yaml.TaggedStyle != 0:
		faults.add(file, n.Line, "tags are not taken: a condition that begins with ! stands in quotes")
		return
	}
	for _, c := range n.Content {
		tidy(file, c, faults)
	}
}

// forbidden finds the first character that a policy may not contain: tabs, which
// YAML takes at some places alone; other control characters; and what makes a
// line look different from what it is (U+2028, bidirectional overrides).
func forbidden(data []byte) (line int, why string) {
	line = 1
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			return line, "a byte that is no UTF-8"
		case r == '\n':
			line++
		case r == '\t':
			return line, "a tab; indent with spaces"
		case r == '\r' && i+1 < len(data) && data[i+1] == '\n':
		case unicode.IsControl(r), r == '\u2028', r == '\u2029', r == '\ufeff', bidirectional(r):
			return line, fmt.Sprintf("an invisible character, %U", r)
		}
		i += n
	}
	return 0, ""
}

func bidirectional(r rune) bool {
	return r == '\u061c' || r >= '\u200b' && r <= '\u200f' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069'
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// Bounds of the search for the line of a syntax error: files of more bytes keep
// the parser's word, and in files of more lines it is searched for by halves.
const (
	maxSearch      = 64 << 10
	maxSearchLines = 400
)

// syntax words an error of the YAML parser. The parser names the line on which
// the block at fault begins, or the one before; the line that breaks it is the
// one behind the longest run of lines that is YAML by itself.
func syntax(data []byte, err error) (line int, text string) {
	text, line = err.Error(), 1
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil && n > 0 {
			line = n
		}
		text = strings.TrimPrefix(text, m[0])
	}
	text = "no YAML: " + text
	if len(data) > maxSearch {
		return line, text
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	good := goodLines(lines)
	if good < len(lines) && bytes.Contains(lines[good], []byte(": !")) {
		text += "; a condition that begins with ! stands in quotes"
	}
	return good + 1, text
}

// goodLines is how many lines from the first on are YAML by themselves. A text in
// quotes may go over several, none of which ends well: so it is looked for from
// the end.
func goodLines(lines [][]byte) int {
	good := func(n int) bool { return wellFormed(bytes.Join(lines[:n], nil)) }
	if len(lines) > maxSearchLines {
		return max(sort.Search(len(lines), func(n int) bool { return !good(n) })-1, 0)
	}
	for n := len(lines) - 1; n > 0; n-- {
		if good(n) {
			return n
		}
	}
	return 0
}

func wellFormed(data []byte) bool {
	d := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n yaml.Node
		if err := d.Decode(&n); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}
