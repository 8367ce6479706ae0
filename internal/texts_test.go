package internal_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What people read is in the catalogue, in all languages: the source names texts of it,
// all of them, and writes none itself.
func TestTextsAreThoseOfTheCatalog(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("catalog/en.json")
	if err != nil {
		t.Fatal(err)
	}
	var catalog struct {
		Messages map[string]struct{}
		Labels   map[string]string
	}
	if err := json.Unmarshal(data, &catalog); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../*.go")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	literal := func(e ast.Expr) (string, bool) {
		l, ok := e.(*ast.BasicLit)
		if !ok || l.Kind != token.STRING {
			return "", false
		}
		s, err := strconv.Unquote(l.Value)
		return s, err == nil
	}
	set := func(where token.Position, field string, value ast.Expr) {
		s, ok := literal(value)
		switch field {
		case "Title", "Text", "Label", "IDLabel", "FieldsLabel":
			if ok {
				t.Errorf("%v: %s is %q, and not a text of the catalogue", where, field, s)
			}
		}
	}
	positions := token.NewFileSet()
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(positions, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				if s, ok := literal(n); ok {
					named[s] = true
				}
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok {
					set(positions.Position(n.Pos()), key.Name, n.Value)
				}
			case *ast.AssignStmt:
				for i, left := range n.Lhs {
					if field, ok := left.(*ast.SelectorExpr); ok && len(n.Rhs) == len(n.Lhs) {
						set(positions.Position(n.Pos()), field.Sel.Name, n.Rhs[i])
					}
				}
			}
			return true
		})
	}
	for _, id := range slices.Sorted(maps.Keys(catalog.Messages)) {
		if !named[strings.TrimSuffix(id, "-signed-in")] {
			t.Errorf("nothing says the message %s", id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(catalog.Labels)) {
		if !named[id] {
			t.Errorf("nothing has the label %s", id)
		}
	}
}
