package internal_test

import (
	"go/ast"
	"go/doc"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// publicPackages are those of which api has a file: their directories, by the names of
// the files.
func publicPackages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../api/*.txt")
	if err != nil || len(files) < 7 {
		t.Fatal(files, err)
	}
	dirs := map[string]string{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		dir := filepath.Join("..", filepath.FromSlash(strings.ReplaceAll(name, "-", "/")))
		if name == "msauth" {
			dir = ".."
		}
		dirs[name] = dir
	}
	return dirs
}

// documented is a package with its documentation and, if tests are asked for, its
// examples.
func documented(t *testing.T, dir string, tests bool, mode doc.Mode) *doc.Package {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	positions := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		if !tests && strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(positions, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if len(files) == 0 {
		return nil
	}
	below, err := filepath.Rel("..", dir)
	if err != nil {
		t.Fatal(err)
	}
	pkg, err := doc.NewFromFiles(positions, files, strings.TrimSuffix(module+"/"+filepath.ToSlash(below), "/."), mode)
	if err != nil {
		t.Fatal(err)
	}
	return pkg
}

// docsOf are the doc comments of a package, by what they are about.
func docsOf(pkg *doc.Package) map[string]string {
	docs := map[string]string{"package " + pkg.Name: pkg.Doc}
	values := func(values []*doc.Value) {
		for _, v := range values {
			docs[strings.Join(v.Names, ", ")] = v.Doc
		}
	}
	funcs := func(prefix string, funcs []*doc.Func) {
		for _, f := range funcs {
			docs[prefix+f.Name] = f.Doc
		}
	}
	values(pkg.Consts)
	values(pkg.Vars)
	funcs("", pkg.Funcs)
	for _, typ := range pkg.Types {
		docs[typ.Name] = typ.Doc
		values(typ.Consts)
		values(typ.Vars)
		funcs("", typ.Funcs)
		funcs(typ.Name+".", typ.Methods)
	}
	return docs
}

var (
	docLink  = regexp.MustCompile(`\[\*?(?:\w+\.)?[A-Z]\w*(?:\.\w+)?\]`) // [Type], [pkg.Type.Method]
	codeLink = regexp.MustCompile(`(?m)(?:^|[\s(])` + docLink.String())
	listLike = regexp.MustCompile(`(?m)^(?:[-*•]|\d+[.)]) `)
)

// What pkg.go.dev makes of doc comments is what was meant: a link in brackets leads to
// a name that exists, a list is a list, and code has no links in it.
func TestDocComments(t *testing.T) {
	t.Parallel()
	packages := map[string]*doc.Package{} // by import path
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !entry.IsDir():
			return nil
		case entry.Name() == "node_modules", entry.Name() == "testdata", entry.Name() == ".git":
			return filepath.SkipDir
		}
		mode := doc.AllDecls
		if slices.Contains(slices.Collect(maps.Values(publicPackages(t))), path) {
			mode = 0 // names that are not exported have no page to link to
		}
		if pkg := documented(t, path, false, mode); pkg != nil {
			packages[pkg.ImportPath] = pkg
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	links := 0
	for path, pkg := range packages {
		texts := pkg.Parser()
		for name, text := range docsOf(pkg) {
			where := path + ", " + name
			for _, block := range texts.Parse(text).Content {
				links += checkBlock(t, where, packages, block)
			}
		}
	}
	if links < 300 {
		t.Errorf("%d links found", links)
	}
}

func checkBlock(t *testing.T, where string, packages map[string]*doc.Package, block comment.Block) (links int) {
	t.Helper()
	switch block := block.(type) {
	case *comment.Paragraph:
		return checkText(t, where, packages, block.Text)
	case *comment.Heading:
		return checkText(t, where, packages, block.Text)
	case *comment.Code:
		if found := codeLink.FindString(block.Text); found != "" {
			t.Errorf("%s: %s stands in code, where it is no link", where, found)
		}
	case *comment.List:
		for _, item := range block.Items {
			for _, inner := range item.Content {
				links += checkBlock(t, where, packages, inner)
			}
		}
	}
	return links
}

func checkText(t *testing.T, where string, packages map[string]*doc.Package, text []comment.Text) (links int) {
	t.Helper()
	var plain strings.Builder
	for _, part := range text {
		switch part := part.(type) {
		case comment.Plain:
			plain.WriteString(string(part))
		case comment.Italic:
			plain.WriteString(string(part))
		case *comment.DocLink:
			links++
			if pkg, ours := packages[part.ImportPath]; ours && !has(pkg, part.Recv, part.Name) {
				t.Errorf("%s: there is no %s.%s.%s", where, part.ImportPath, part.Recv, part.Name)
			}
		}
	}
	if found := docLink.FindString(plain.String()); found != "" {
		t.Errorf("%s: %s leads nowhere", where, found)
	}
	if found := listLike.FindString(plain.String()); found != "" {
		t.Errorf("%s: a line that begins with %q is no item of a list: it needs an indentation", where, found)
	}
	return links
}

// has reports whether a package has a name, or a type of it a method or field.
func has(pkg *doc.Package, typ, name string) bool {
	if name == "" {
		return true // the package itself
	}
	names := []string{}
	values := func(values []*doc.Value) {
		for _, v := range values {
			names = append(names, v.Names...)
		}
	}
	funcs := func(prefix string, funcs []*doc.Func) {
		for _, f := range funcs {
			names = append(names, prefix+f.Name)
		}
	}
	values(pkg.Consts)
	values(pkg.Vars)
	funcs("", pkg.Funcs)
	for _, of := range pkg.Types {
		names = append(names, of.Name)
		values(of.Consts)
		values(of.Vars)
		funcs("", of.Funcs)
		funcs(of.Name+".", of.Methods)
		ast.Inspect(of.Decl, func(n ast.Node) bool {
			if field, ok := n.(*ast.Field); ok {
				for _, ident := range field.Names {
					names = append(names, of.Name+"."+ident.Name)
				}
			}
			return true
		})
	}
	if typ != "" {
		name = typ + "." + name
	}
	return slices.Contains(names, name)
}
