package modules

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	// link is a Markdown link to a file of the house.
	link = regexp.MustCompile(`\]\(([^)#:\s]+)(?:#[^)]*)?\)`)
	// named is a test that a page names, such as `modules/engine: TestExpiry`.
	named = regexp.MustCompile("`((?:modules|cmd|test)[a-z/]*): ((?:Test|Fuzz)[A-Za-z0-9]+)`")
	// fenced is a block of code on a page, and its language.
	fenced = regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$")
)

// TestPages follows every link between the house's pages, and looks for every
// test that they name.
func TestPages(t *testing.T) {
	t.Parallel()
	house := os.DirFS("..")
	tests := 0
	err := fs.WalkDir(house, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || len(d.Name()) > 1 && strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".md":
			return nil
		}
		page, err := fs.ReadFile(house, name)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(string(page), -1) {
			if _, err := fs.Stat(house, path.Join(path.Dir(name), m[1])); err != nil {
				t.Errorf("%s leads to %s, which is not there", name, m[1])
			}
		}
		for _, m := range named.FindAllStringSubmatch(string(page), -1) {
			tests++
			if !hasTest(t, house, m[1], m[2]) {
				t.Errorf("%s names %s of %s, which is not there", name, m[2], m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if tests == 0 {
		t.Error("no page names a test, not even ARCHITECTURE.md")
	}
}

// hasTest looks for a test function in a folder.
func hasTest(t *testing.T, house fs.FS, folder, name string) bool {
	t.Helper()
	files, err := fs.Glob(house, folder+"/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		source, err := fs.ReadFile(house, file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(source), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}

// TestExcerpts holds that the guide for authors of connectors shows code that
// is there: each block, but for lines to type, stands word for word in a file of
// the example.
func TestExcerpts(t *testing.T) {
	t.Parallel()
	const guide, example = "docs/connectors.md", "examples/connector-acme"
	house := os.DirFS("..")
	page, err := fs.ReadFile(house, guide)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	err = fs.WalkDir(house, example, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(house, name)
		files = append(files, string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	excerpts := 0
	for _, m := range fenced.FindAllStringSubmatch(string(page), -1) {
		if m[1] == "sh" {
			continue
		}
		excerpts++
		if !slices.ContainsFunc(files, func(f string) bool { return strings.Contains(f, m[2]) }) {
			t.Errorf("%s shows what is in no file of %s:\n%s", guide, example, m[2])
		}
	}
	if excerpts == 0 {
		t.Errorf("%s shows nothing of %s", guide, example)
	}
}
