package internal_test

import (
	"go/ast"
	"go/doc"
	"maps"
	"slices"
	"strings"
	"testing"
)

// People copy examples. Each way in has one: the functions of the public packages, and the
// methods of the types below, which are what an app calls in its own code. Not those
// of msauthtest.Server, of which a test needs a few, and which are one line each; not
// those of values that a call returns; and not those by which a type only implements
// an interface (silent).
var withExamples = map[string][]string{
	"msauth":      {"Middleware", "Session", "Credential", "CookieStore", "Page", "User"},
	"graph":       {"Client", "Files", "Changes", "Operation"},
	"tokenstore":  {"Store"},
	"otelmsauth":  {"Telemetry"},
	"redisshared": nil,
	"sharedtest":  nil,
	"livesdk":     nil,
	"msauthtest":  nil,
}

// Methods that nobody calls by name.
var silent = []string{"Format", "LogValue", "GoString", "String", "Error", "Is", "Unwrap"}

// shownBy are examples that have something in it for which there would otherwise be a
// second one with the same lines.
var shownBy = map[string]string{
	"msauth CookieStore.New":           "NewCookieStore",
	"msauth CookieStore.Save":          "NewCookieStore",
	"msauth Middleware.Disconnect":     "Middleware_Connect",
	"msauth Middleware.Login":          "Middleware_Callback",
	"msauth Middleware.Logout":         "Middleware_Callback",
	"msauth Middleware.SignOutSession": "Middleware_Sessions",
	"msauth Middleware.StoredUser":     "Middleware_StoredAccount",
	"msauth Session.AuthTime":          "Session",
	"msauth Session.DeviceBound":       "Session",
	"msauth Session.Ends":              "Session",
	"msauth Session.Expiry":            "Session",
	"msauth Session.IdleEnds":          "Session",
	"msauth Session.Renewed":           "Session",
	"msauth Session.Scopes":            "Session",
	"msauth Session.SignedIn":          "Session",
	"msauth User.HasRole":              "Middleware_RequireRole",
	"msauth User.Personal":             "Middleware_RequireTenant",
	"graph Changes.All":                "Delta",
	"graph Changes.Link":               "Delta",
	"graph Client.CancelUpload":        "Files_StartUpload",
	"graph Client.Delete":              "Post",
	"graph Client.Files":               "Files",
	"graph Client.Operation":           "Files_Copy",
	"graph Client.UploadStatus":        "Files_StartUpload",
	"graph Decode":                     "Client_Batch",
	"graph Files.CreateFolder":         "Files",
	"graph Files.Delete":               "Files",
	"graph Files.DeletePermission":     "Files_CreateLink",
	"graph Files.Drive":                "Files",
	"graph Files.Move":                 "Files",
	"graph Files.Permissions":          "Files_CreateLink",
	"graph Files.Rename":               "Files",
	"graph Files.Restore":              "Files",
	"graph Files.Stat":                 "Files",
	"graph Files.Thumbnail":            "Files_Thumbnails",
	"graph Operation.Wait":             "Files_Copy",
	"graph Patch":                      "Post",
	"msauthtest NewServer":             "",
	"otelmsauth New":                   "", // one set-up, in that order
	"otelmsauth Telemetry.Observe":     "",
	"otelmsauth Telemetry.Pages":       "",
	"tokenstore Store.Delete":          "Store_In",
	"tokenstore Store.For":             "Store_Users",
	"tokenstore Store.Load":            "New",
	"tokenstore Store.Save":            "",
	"tokenstore Store.UserOf":          "Store_Users",
}

// without are those that need none, and why.
var without = map[string]string{
	"msauth CookieStore.Get": "New is the method to use; this one completes gorilla's interface",
	"graph Operation.Status": "Wait asks it, again and again",
	"tokenstore Store.Serve": "msauth.New calls it",
}

// notRun are examples that cannot say what they print, and why.
var notRun = map[string]string{
	"graph Example":         "it shows a handler as it stands in an app, with the real Graph",
	"sharedtest ExampleRun": "it shows a test",
}

func TestExamples(t *testing.T) {
	t.Parallel()
	dirs := publicPackages(t)
	for name := range dirs {
		if _, known := withExamples[name]; !known {
			t.Errorf("package %s is not in the table withExamples", name)
		}
	}
	used := map[string]bool{}
	for name, types := range withExamples {
		pkg := documented(t, dirs[name], true, 0)
		examples := map[string]*doc.Example{}
		note := func(of string, list []*doc.Example) {
			for _, example := range list {
				examples[strings.TrimSuffix(of+"_"+example.Suffix, "_")] = example
				if run := example.Output != "" || example.EmptyOutput; run == (notRun[name+" "+"Example"+example.Name] != "") {
					t.Errorf("%s, Example%s: run is %t", name, example.Name, run)
				}
			}
		}
		note("", pkg.Examples)
		for _, f := range pkg.Funcs {
			note(f.Name, f.Examples)
		}
		for _, typ := range pkg.Types {
			note(typ.Name, typ.Examples)
			for _, f := range typ.Funcs {
				note(f.Name, f.Examples)
			}
			for _, f := range typ.Methods {
				note(typ.Name+"_"+f.Name, f.Examples)
			}
		}
		need := func(about, own string, method string) {
			if without[name+" "+about] != "" {
				return
			}
			if examples[own] != nil {
				if _, twice := shownBy[name+" "+about]; twice {
					t.Errorf("%s, %s has an example of its own: take it out of shownBy", name, about)
				}
				return
			}
			by, listed := shownBy[name+" "+about]
			used[name+" "+about] = listed
			switch {
			case !listed:
				t.Errorf("%s, %s: there is no Example%s", name, about, own)
			case examples[by] == nil:
				t.Errorf("%s, %s: there is no Example%s", name, about, by)
			case !mentions(examples[by].Code, method):
				t.Errorf("%s, %s: Example%s does not use it", name, about, by)
			}
		}
		for _, f := range pkg.Funcs {
			need(f.Name, f.Name, f.Name)
		}
		for _, typ := range pkg.Types {
			for _, f := range typ.Funcs {
				need(f.Name, f.Name, f.Name)
			}
			if !slices.Contains(types, typ.Name) {
				continue
			}
			for _, f := range typ.Methods {
				if !slices.Contains(silent, f.Name) {
					need(typ.Name+"."+f.Name, typ.Name+"_"+f.Name, f.Name)
				}
			}
		}
	}
	for about := range maps.Keys(shownBy) {
		if !used[about] {
			t.Errorf("shownBy has %q, which needs no example", about)
		}
	}
}

// mentions reports whether code uses a method or function of a package by its name.
func mentions(code ast.Node, name string) (found bool) {
	ast.Inspect(code, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok && selector.Sel.Name == name {
			found = true
		}
		return !found
	})
	return found
}
