package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// others are packages that those of the tests import.
var others = map[string]string{
	"dep.example/store/v2": "package store; type DB struct{}",
	"dep.example/store/v3": "package store; type DB struct{}",
	"net":                  "package net; type Conn interface { Close() error }",
}

type imports struct{}

func (imports) Import(path string) (*types.Package, error) { return check(path, others[path]) }

func check(path, source string) (*types.Package, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path+".go", source, 0)
	if err != nil {
		return nil, err
	}
	return (&types.Config{Importer: imports{}}).Check(path, files, []*ast.File{file}, nil)
}

func lines(t *testing.T, source string) []string {
	t.Helper()
	pkg, err := check("p", "package p\n"+source)
	if err != nil {
		t.Fatal(err)
	}
	return describe(pkg)
}

func TestIncompatibleChangesAreNamed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, before, after, want string }{
		{"a function is gone", "func F()", "", "removed: func F()"},
		{"a function has another parameter", "func F(a int) error", "func F(a, b int) error", "changed: func F(int) error\n        to: func F(int, int) error"},
		{"and is variadic", "func F(a []int)", "func F(a ...int)", "changed: func F([]int)\n        to: func F(...int)"},
		{"another result", "func F() (int, error)", "func F() (int64, error)", "changed: func F() (int, error)\n        to: func F() (int64, error)"},
		{"a type parameter takes less", "func F[T any](t T) {}", "func F[T comparable](t T) {}", "changed: func F[$0 any]($0)\n        to: func F[$0 comparable]($0)"},
		{"another major version of a dependency", "import store \"dep.example/store/v2\"\nfunc F(*store.DB)", "import store \"dep.example/store/v3\"\nfunc F(*store.DB)",
			"changed: func F(*dep.example/store/v2.DB)\n        to: func F(*dep.example/store/v3.DB)"},
		{"a method is gone", "type T struct{}\nfunc (T) M() {}", "type T struct{}", "removed: func (T) M()"},
		{"a method is of pointers only", "type T struct{}\nfunc (T) M() {}", "type T struct{}\nfunc (*T) M() {}", "changed: func (T) M()\n        to: func (*T) M()"},
		{"a method of an embedded type is gone", "type t struct{}\nfunc (t) M() {}\ntype T struct{ t }", "type t struct{}\ntype T struct{ t }", "removed: func (T) M()"},
		{"a method is added to an interface", "type I interface{ A() }", "type I interface{ A(); B(int) error }", "added to an interface: type I interface, B(int) error"},
		{"an interface has one more by embedding", "import \"net\"\nvar _ net.Conn\ntype I interface{ A() }", "import \"net\"\ntype I interface{ A(); net.Conn }", "added to an interface: type I interface, Close() error"},
		{"an interface can no longer be implemented", "type I interface{ A() }", "type I interface{ A(); b() }", "added to an interface: type I interface, unexported methods"},
		{"a method of an interface changes", "type I interface{ A() }", "type I interface{ A() error }", "changed: type I interface, A()\n        to: type I interface, A() error"},
		{"a constraint has one more type", "type I interface{ ~int }", "type I interface{ ~int | ~string }", "changed: type I interface, ~int\n        to: type I interface, ~int|~string"},
		{"a field has another type", "type T struct{ A int; B func(n int) string }", "type T struct{ A int; B func(n int) error }",
			"changed: type T struct, B func(int) string\n        to: type T struct, B func(int) error"},
		{"a field is gone", "type T struct{ A int; b string }", "type T struct{ b string }", "removed: type T struct, A int"},
		{"a field of an embedded type is gone", "type t struct{ A int }\ntype T struct{ *t }", "type t struct{}\ntype T struct{ *t }", "removed: type T struct, A int"},
		{"values can no longer be compared", "type T struct{ a int }", "type T struct{ a []int }", "removed: type T struct, comparable"},
		{"a type is of another kind", "type T int", "type T string", "changed: type T int\n        to: type T string"},
		{"a type is gone", "type T int", "", "removed: type T int"},
		{"a constant has another value", `const C = "a"`, `const C = "b"`, `changed: const C untyped string = "a"` + "\n        to: " + `const C untyped string = "b"`},
		{"a variable has another type", "var V error", "var V *int", "changed: var V error\n        to: var V *int"},
		{"an alias is of another type", "type A = int", "type A = string", "changed: type A = int\n        to: type A = string"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			broken, added := comparePackage(lines(t, tt.before), lines(t, tt.after))
			if got := strings.Join(broken, "\n"); got != tt.want || len(added) > 0 {
				t.Errorf("broken\n%s\nadded %q, want\n%s", got, added, tt.want)
			}
		})
	}
}

func TestCompatibleChanges(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, before, after string
		want                []string
	}{
		{"a function", "", "func F(name string, of ...any) (ok bool)", []string{"func F(string, ...any) bool"}},
		{"a field, and an embedded one", "type T struct{ A []int }\ntype E int", "type E int\ntype T struct{ A []int; B map[string]chan<- int; E }",
			[]string{"type T struct, B map[string]chan<- int", "type T struct, embedded E"}},
		{"a method", "type T[V any] struct{}", "type T[V any] struct{}\nfunc (t *T[W]) M(w W) {}", []string{"func (*T) M($0)"}},
		{"an interface", "", "type I interface{ A(struct{}, interface{ B() }) }", []string{"type I interface", "type I interface, A(struct{}, interface { B() })"}},
		{"a method of an interface that nobody else implements", "type I interface{ a() }", "type I interface{ a(); B() }", []string{"type I interface, B()"}},
		{"names of parameters", "func F[T any](a, b T) (c error) { return }\ntype G func(a int)", "func F[V any](x, y V) (z error) { return }\ntype G func(b int)", nil},
		{"what is not exported", "func f()\ntype T struct{ a []int }\nfunc (T) m() {}", "type T struct{ b []int }", nil},
		{"an interface by another way", "type I interface{ A(); B() }", "type a interface{ A() }\ntype I interface{ a; B() }", nil},
		{"an alias in place of the type", "type A = int\nfunc F(A)", "type A = int\nfunc F(int)", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			broken, added := comparePackage(lines(t, tt.before), lines(t, tt.after))
			if len(broken) > 0 || !slices.Equal(added, tt.want) {
				t.Errorf("broken %q, added %q, want %q", broken, added, tt.want)
			}
		})
	}
}

// A workspace of two modules goes through the life of an API.
func TestFiles(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(write, incompatible, ok bool, want ...string) {
		t.Helper()
		var out strings.Builder
		got, err := run(&out, root, []string{"tests"}, write, incompatible)
		if err != nil {
			t.Fatal(err)
		}
		if got != ok {
			t.Errorf("ok is %t, want %t", got, ok)
		}
		for _, text := range want {
			if !strings.Contains(out.String(), text) {
				t.Errorf("no %q in:\n%s", text, &out)
			}
		}
		if len(want) == 0 && out.Len() > 0 {
			t.Errorf("it says:\n%s", &out)
		}
	}
	write("go.work", "go 1.26.0\nuse (\n.\n./more\n)\n")
	write("go.mod", "module m.example/thing\n\ngo 1.26.0\n")
	write("thing.go", "package thing\nimport \"io\"\nfunc F(r io.Reader) {}\n")
	write("internal/hidden/hidden.go", "package hidden\nfunc F() {}\n")
	write("tests/tests.go", "package tests\nfunc F() {}\n")
	write("checked/checked_test.go", "package checked\n")
	write("cmd/thing/main.go", "package main\nfunc main() {}\n")
	write("sub/deep/deep.go", "package deep\nconst C = 1\n")
	write("more/go.mod", "module m.example/thing/more\n\ngo 1.26.0\n")
	write("more/more.go", "package more\nimport \"m.example/thing\"\nvar F = thing.F\n")

	expect(false, false, false, "more: the package, with 1 line", "sub-deep: the package, with 1 line", "thing: the package, with 1 line", "make api")
	expect(true, false, true, "thing: the package")
	expect(false, false, true)
	files, err := filepath.Glob(filepath.Join(root, "api", "*"))
	if err != nil || len(files) != 3 {
		t.Errorf("files %q, %v", files, err)
	}
	if text, err := os.ReadFile(filepath.Join(root, "api", "more.txt")); string(text) != "package more\nvar F func(io.Reader)\n" {
		t.Errorf("%s, %v", text, err)
	}

	write("thing.go", "package thing\nimport \"io\"\nfunc F(r io.Reader) {}\nfunc G() {}\n")
	expect(false, false, false, "thing: func G()", "make api")
	expect(true, false, true, "thing: func G()")
	expect(false, false, true)

	// What breaks programs is written on purpose only.
	write("thing.go", "package thing\nimport \"io\"\nfunc F(r io.Writer) {}\nfunc H() {}\n")
	if err := os.RemoveAll(filepath.Join(root, "sub")); err != nil {
		t.Fatal(err)
	}
	for _, written := range []bool{false, true} {
		expect(written, false, false, "sub-deep: the package is gone", "thing: removed: func G()", "thing: changed: func F(io.Reader)", "CHANGELOG.md", "-write -incompatible")
	}
	expect(true, true, true, "thing: removed: func G()", "thing: func H()")
	expect(false, false, true)
	if _, err := os.Stat(filepath.Join(root, "api", "sub-deep.txt")); !os.IsNotExist(err) {
		t.Errorf("the file of a package that is gone: %v", err)
	}

	write("thing.go", "package thing\nfunc F(\n")
	if _, err := run(&strings.Builder{}, root, nil, false, false); err == nil || !strings.Contains(err.Error(), "thing.go:") {
		t.Errorf("source that does not compile: %v", err)
	}
}
