package testsite

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FromRoot is a file of the module by its path from the root.
func FromRoot(t testing.TB, path string) string {
	t.Helper()
	for dir := "."; len(dir) < 40; dir = filepath.Join(dir, "..") {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, filepath.FromSlash(path))
		}
	}
	t.Fatal("no go.mod above the test")
	return ""
}

// WantInDocument checks that a document has the types and functions that stand
// in a file before the first test, n of them, as they are there.
func WantInDocument(t *testing.T, document, name string, n int) {
	t.Helper()
	doc, err := os.ReadFile(FromRoot(t, document))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for _, d := range file.Decls {
		var comment *ast.CommentGroup
		switch d := d.(type) {
		case *ast.FuncDecl:
			if strings.HasPrefix(d.Name.Name, "Test") {
				if got != n {
					t.Errorf("%s: %d types and functions, want %d", name, got, n)
				}
				return
			}
			comment = d.Doc
		case *ast.GenDecl:
			if d.Tok != token.TYPE {
				continue
			}
			comment = d.Doc
		}
		text := source[files.Position(comment.Pos()).Offset:files.Position(d.End()).Offset]
		if formatted, err := format.Source(text); err != nil || !bytes.Equal(formatted, text) {
			t.Errorf("not formatted (%v):\n%s", err, text)
		}
		if !bytes.Contains(doc, text) {
			t.Errorf("%s does not have this as it is in %s:\n%s", document, name, text)
		}
		got++
	}
	t.Errorf("%s: no test", name)
}
