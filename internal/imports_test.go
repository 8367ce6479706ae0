// Package internal_test holds who may know whom among the packages below
// internal/.
package internal_test

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "example.com/msauth"

// A room is what one package below internal/ may import. A line that is added
// here is a decision: say why.
type room struct {
	rooms  map[string]string // packages below internal/, and why
	others []string          // from other modules
	never  map[string]string // of the standard library, and why not
}

var rooms = map[string]room{
	"ttl": {
		never: map[string]string{"net/http": "it does not know what it holds"},
	},
	"shared": {
		rooms: map[string]string{"seal": "what is kept where others can write is sealed, and named by keys"},
		never: map[string]string{"net/http": "it does not know what it shares, or for whom"},
	},
	"reload": {
		never: map[string]string{"net/http": "files know no HTTP", "encoding/json": "it does not know what it reads"},
	},
	"seal": {
		others: []string{"github.com/gorilla/securecookie"},
		never:  map[string]string{"net/http": "bytes know no HTTP", "encoding/json": "it does not know what it seals"},
	},
	"compact": {
		rooms: map[string]string{"seal": "the strict base64 of JWTs"},
		never: map[string]string{"net/http": "texts know no HTTP"},
	},
	"form": {
		never: map[string]string{"net/http": "bytes know no HTTP"},
	},
	"catalog": {
		others: []string{"golang.org/x/text/language"},
		never:  map[string]string{"net/http": "texts know no HTTP"},
	},
	"web": {
		never: map[string]string{"encoding/json": "it judges requests, and answers none"},
	},
	"credential": {
		rooms: map[string]string{
			"reload": "secrets, keys and tokens in files",
			"seal":   "secrets that do not print, and the strict base64 of JWTs",
		},
		others: []string{"github.com/go-jose/go-jose/v4", "github.com/go-jose/go-jose/v4/cryptosigner"},
		never:  map[string]string{"net/http": "it proves who sends a request, and sends none"},
	},
	"provider": {
		rooms: map[string]string{
			"credential": "what a token request carries as proof of the app",
			"seal":       "secrets that do not print, random bytes and base64",
			"web":        "what HTTP clients need, which hosts are loopback, and one-line texts",
		},
		others: []string{"github.com/coreos/go-oidc/v3/oidc", "github.com/go-jose/go-jose/v4", "golang.org/x/sync/singleflight"},
	},
	"device": {
		rooms:  map[string]string{"seal": "what travels through the browser is sealed, and base64"},
		others: []string{"github.com/go-jose/go-jose/v4"},
		never:  map[string]string{"net/http": "it knows no requests, and no sessions"},
	},
	"session": {
		rooms: map[string]string{
			"compact":  "the bytes of a record",
			"provider": "the account, token set and requirement that a record holds",
			"seal":     "what browsers carry is sealed",
			"shared":   "the list of an account's sessions is known to all processes",
			"ttl":      "attempts and sessions that are over are forgotten in time",
		},
		others: []string{"github.com/gorilla/securecookie", "github.com/gorilla/sessions"},
	},
	"renew": {
		rooms: map[string]string{
			"provider": "the token endpoint, and what its refusals mean",
			"seal":     "stored tokens are sealed",
			"session":  "the record whose tokens are renewed",
			"shared":   "one token request over all processes",
			"ttl":      "outcomes are forgotten in time",
		},
		others: []string{"golang.org/x/sync/singleflight"},
		never:  map[string]string{"net/http": "requests are the provider's matter, answers the face's"},
	},
	"page": {
		never: map[string]string{"net/http": "the face decides how a page is answered"},
	},
	"script": {
		never: map[string]string{"net/http": "the face decides how it is answered"},
	},
	"bearer": {
		rooms: map[string]string{
			"provider": "claims challenges",
			"web":      "Retry-After, which hosts are loopback, and how hosts are compared",
		},
		others: []string{"golang.org/x/oauth2"},
	},
}

func TestRoomsImportOnlyWhatTheyMay(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, entry := range entries {
		name := entry.Name()
		if !entry.IsDir() {
			continue
		}
		found++
		may, known := rooms[name]
		if !known {
			t.Errorf("internal/%s is not in the table", name)
			continue
		}
		used := map[string]bool{}
		for file, imports := range importsOf(t, name) {
			for _, path := range imports {
				below, ours := strings.CutPrefix(path, module+"/internal/")
				host, _, _ := strings.Cut(path, "/")
				switch {
				case ours && may.rooms[below] != "":
					used[below] = true
				case ours, path == module, strings.HasPrefix(path, module+"/"):
					t.Errorf("%s imports %s, which the table does not allow", file, path)
				case strings.Contains(host, "."):
					if used[path] = true; !slices.Contains(may.others, path) {
						t.Errorf("%s imports %s, which the table does not allow", file, path)
					}
				case may.never[path] != "":
					t.Errorf("%s imports %s: %s", file, path, may.never[path])
				}
			}
		}
		for below := range may.rooms {
			if !used[below] {
				t.Errorf("internal/%s no longer imports internal/%s: take it out of the table", name, below)
			}
		}
		for _, path := range may.others {
			if !used[path] {
				t.Errorf("internal/%s no longer imports %s: take it out of the table", name, path)
			}
		}
	}
	if found != len(rooms) {
		t.Errorf("%d packages, and %d in the table", found, len(rooms))
	}
}

// What tests share may know everything, and so nothing but tests may know it.
func TestTestsAreImportedByTestsAlone(t *testing.T) {
	t.Parallel()
	dirs := []string{".."}
	for name := range rooms {
		dirs = append(dirs, name)
	}
	for _, dir := range slices.Concat(dirs, checkParts(t)) {
		for file, imports := range importsOf(t, dir) {
			for _, path := range imports {
				if strings.HasPrefix(path, module+"/tests/") || path == module+"/msauthtest" || path == module+"/sharedtest" {
					t.Errorf("%s imports %s", file, path)
				}
			}
		}
	}
}

// checkDir is the command msauth-check. It may know every room, and nobody knows it.
var checkDir = filepath.Join("..", "cmd", "msauth-check")

// checkParts are the packages of msauth-check.
func checkParts(t *testing.T) []string {
	t.Helper()
	parts, err := filepath.Glob(filepath.Join(checkDir, "internal", "*"))
	if err != nil || len(parts) == 0 {
		t.Fatal("the parts of msauth-check are not found:", err)
	}
	return append(parts, checkDir)
}

// The parts of msauth-check, each with those that it may know besides the rooms and the
// face.
var checkRooms = map[string][]string{
	"report":   {},
	"settings": {"report"},
	"outside":  {"report", "settings"},
	"signin":   {"report", "settings", "outside"},
}

func TestPartsOfTheCheckKnowOnlyThoseBelowThem(t *testing.T) {
	t.Parallel()
	for _, dir := range checkParts(t) {
		if dir == checkDir {
			continue
		}
		may, known := checkRooms[filepath.Base(dir)]
		if !known {
			t.Errorf("%s is not in the table", dir)
		}
		for file, imports := range importsOf(t, dir) {
			for _, path := range imports {
				part, ours := strings.CutPrefix(path, module+"/cmd/msauth-check/internal/")
				host, _, _ := strings.Cut(path, "/")
				switch {
				case ours && !slices.Contains(may, part):
					t.Errorf("%s imports %s, which the table does not allow", file, path)
				case filepath.Base(dir) == "report" && strings.Contains(host, "."):
					t.Errorf("%s imports %s: it says what others find", file, path)
				case strings.Contains(host, ".") && path != module && !strings.HasPrefix(path, module+"/"):
					t.Errorf("%s imports %s: only the standard library and this module may be", file, path)
				}
			}
		}
	}
}

// Package graph can be used without the rest, and with any client.
func TestGraphStandsAlone(t *testing.T) {
	t.Parallel()
	files := importsOf(t, filepath.Join("..", "graph"))
	if len(files) == 0 {
		t.Fatal("package graph is not found")
	}
	for file, imports := range files {
		for _, path := range imports {
			host, _, _ := strings.Cut(path, "/")
			if path != module+"/internal/web" && strings.Contains(host, ".") {
				t.Errorf("%s imports %s: only the standard library and internal/web may be", file, path)
			}
		}
	}
}

// Package livesdk has tables, which can be used in tools without the rest.
func TestLiveSDKStandsAlone(t *testing.T) {
	t.Parallel()
	files := importsOf(t, filepath.Join("..", "livesdk"))
	if len(files) == 0 {
		t.Fatal("package livesdk is not found")
	}
	for file, imports := range files {
		for _, path := range imports {
			host, _, _ := strings.Cut(path, "/")
			if strings.Contains(host, ".") {
				t.Errorf("%s imports %s: only the standard library may be", file, path)
			}
			if path == "net/http" {
				t.Errorf("%s imports %s: it computes, and sends nothing", file, path)
			}
		}
	}
}

// A reader who begins at the bottom meets nothing that was not explained before.
func TestRoomsKnowOnlyThoseBelowThem(t *testing.T) {
	t.Parallel()
	floors := map[string]int{}
	var floor func(name string, above []string) int
	floor = func(name string, above []string) int {
		if slices.Contains(above, name) {
			t.Fatalf("a circle: %s", strings.Join(append(above, name), " -> "))
		}
		if n, known := floors[name]; known {
			return n
		}
		n := 0
		for below := range rooms[name].rooms {
			n = max(n, 1+floor(below, append(above, name)))
		}
		floors[name] = n
		return n
	}
	for name := range rooms {
		floor(name, nil)
	}
}

// importsOf are the imports of a package by file, without its tests.
func importsOf(t *testing.T, dir string) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	imports := map[string][]string{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			imports[file] = append(imports[file], path)
		}
	}
	return imports
}
