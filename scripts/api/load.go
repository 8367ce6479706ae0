package main

import (
	"bytes"
	"fmt"
	"go/importer"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
)

// load is the API of the public packages of the workspace at root: the lines of each
// by the name of its file. The compiler's own export data says what they have.
func load(root string, private []string) (map[string][]string, error) {
	module, err := goList(root, "GOWORK=off", "-m", "-f", "{{.Path}}")
	if err != nil {
		return nil, err
	}
	all, err := goList(root, "", "-f", "{{if .GoFiles}}{{.Name}} {{.ImportPath}}{{end}}", "work") // more than tests
	if err != nil {
		return nil, err
	}
	files := map[string]string{} // of the public packages
	for _, line := range all {
		name, pkg, _ := strings.Cut(line, " ")
		below := strings.TrimPrefix(strings.TrimPrefix(pkg, module[0]), "/")
		switch {
		case name == "main", slices.Contains(strings.Split(below, "/"), "internal"):
		case slices.ContainsFunc(private, func(dir string) bool { return below == dir || strings.HasPrefix(below, dir+"/") }):
		case below == "":
			files[pkg] = name
		default:
			files[pkg] = strings.ReplaceAll(below, "/", "-")
		}
	}
	args := []string{"-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}"}
	for pkg := range files {
		args = append(args, pkg)
	}
	lines, err := goList(root, "", args...)
	if err != nil {
		return nil, err
	}
	exports := map[string]string{}
	for _, line := range lines {
		pkg, file, _ := strings.Cut(line, " ")
		exports[pkg] = file
	}
	imports := importer.ForCompiler(token.NewFileSet(), "gc", func(pkg string) (io.ReadCloser, error) { return os.Open(exports[pkg]) })
	api := map[string][]string{}
	for pkg, file := range files {
		types, err := imports.Import(pkg)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path.Base(pkg), err)
		}
		api[file] = describe(types)
	}
	return api, nil
}

// goList are the lines that go list prints.
func goList(dir, env string, args ...string) ([]string, error) {
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = dir
	if env != "" {
		cmd.Env = append(os.Environ(), env)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, stderr.Bytes())
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n"), nil
}
