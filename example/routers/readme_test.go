package routers_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/example/routers"
	"example.com/msauth/msauthtest"
)

// What the README says is held against the code: here, because its snippets
// are of this module and of the examples in the root.
const (
	readme  = "../../README.md"
	recipes = "../../docs/recipes.md"
	liveSDK = "../../docs/live-sdk.md"
	trouble = "../../docs/troubleshooting.md"
	metrics = "../../docs/metrics.md"
	proofs  = "../../docs/credentials.md"
)

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// flat is a text without its indentation and blank lines.
func flat(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// Every Go snippet, those of the recipes and of the guide too, is part of a file
// that is compiled and, but for the quickstart, run by a test.
func TestSnippets(t *testing.T) {
	t.Parallel()
	var files []string
	for _, pattern := range []string{"*.go", "*/*.go", "../*.go", "../graphsdk/*.go", "../managedidentity/*.go", "../../*_test.go", "../../tests/*/*_test.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, names...)
	}
	var sources []string
	for _, name := range files {
		sources = append(sources, flat(readFile(t, name)))
	}
	fence := regexp.MustCompile("(?ms)^```go\n(.*?)^```")
	var snippets [][]string
	for _, doc := range []string{readme, recipes, liveSDK, proofs} {
		found := fence.FindAllStringSubmatch(readFile(t, doc), -1)
		if len(found) < 5 {
			t.Fatalf("%s: %d snippets found", doc, len(found))
		}
		snippets = append(snippets, found...)
	}
	for _, snippet := range snippets {
		// A comment between a snippet's parts may stand for others.
		for part := range strings.SplitSeq(snippet[1], "// ...\n") {
			text := strings.TrimPrefix(flat(part), "package main\n")
			if !slices.ContainsFunc(sources, func(source string) bool { return strings.Contains(source, text) }) {
				t.Errorf("not in any of %d files:\n%s", len(files), part)
			}
		}
	}
}

// The table of settings has a row for each field of Config, in its order.
func TestSettings(t *testing.T) {
	t.Parallel()
	_, section, _ := strings.Cut(readFile(t, readme), "\n## Settings\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var got, want []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*`) \\|").FindAllStringSubmatch(section, -1) {
		for _, name := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[1], -1) {
			got = append(got, name[1])
		}
	}
	for field := range reflect.TypeFor[msauth.Config]().Fields() {
		want = append(want, field.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("settings\n%q, want\n%q", got, want)
	}
}

// The README's program, and one with metrics, outside this repository: made by the
// commands of the documentation, beside a clone that is called msauth.
func TestOutsideTheRepository(t *testing.T) {
	t.Parallel()
	_, program, _ := strings.Cut(readFile(t, readme), "```go\npackage main\n")
	program, _, _ = strings.Cut(program, "```")
	for _, test := range []struct{ name, doc, program string }{
		{"the program", readme, "package main\n" + program},
		{"metrics", metrics, "package main\n\nimport _ \"example.com/msauth/otelmsauth\"\n\nfunc main() {}\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			commands := regexp.MustCompile(`(?m)(?:^    go mod .*\n)+`).FindString(readFile(t, test.doc))
			commands = strings.ReplaceAll(commands, " && go run .", "") // it would not end
			if commands == "" {
				t.Fatalf("%s has no command that makes a module", test.doc)
			}
			home := t.TempDir()
			clone, err := filepath.Abs("../..")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(clone, filepath.Join(home, "msauth")); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(home, "hello")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(test.program), 0o600); err != nil {
				t.Fatal(err)
			}
			run := func(variables []string, name string, args ...string) (string, error) {
				cmd := exec.CommandContext(t.Context(), name, args...)
				cmd.Dir = dir
				cmd.Env = append(cmd.Environ(), "GOWORK=off", "GOFLAGS=", "MSAUTH_KEY=", "AZURE_CLIENT_ID=", "AZURE_CLIENT_SECRET=", "AZURE_AUTHORITY_HOST=")
				cmd.Env = append(cmd.Env, variables...)
				out, err := cmd.CombinedOutput()
				return string(out), err
			}
			if out, err := run(nil, "sh", "-ec", commands+"go build -o hello ."); err != nil {
				t.Fatalf("%s: %v\n%s", commands, err, out)
			}
			if test.doc != readme {
				return
			}
			// What the program says if a variable was not exported, or is wrong.
			app := []string{"AZURE_CLIENT_ID=id", "AZURE_CLIENT_SECRET=secret"}
			for _, wrong := range []struct {
				variables []string
				want      string
			}{
				{nil, "Config.ClientID is empty"},
				{app[:1], "Config.ClientSecret is empty"},
				{app, "Keys[0] is empty"},
				{append(app, "MSAUTH_KEY=%"), "MSAUTH_KEY: illegal base64"},
			} {
				if out, err := run(wrong.variables, "./hello"); err == nil || !strings.Contains(out, wrong.want) {
					t.Errorf("%q: %v, %s, want %s", wrong.variables, err, out, wrong.want)
				}
			}
		})
	}
}

func TestLength(t *testing.T) {
	t.Parallel()
	if lines := strings.Count(readFile(t, readme), "\n"); lines > 250 {
		t.Errorf("%d lines, want at most 250", lines)
	}
}

// recorder keeps the cookies that a site sets.
type recorder struct {
	base http.RoundTripper
	site string
	set  map[string]string // lines by cookie name, ids of attempts as *
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := r.base.RoundTrip(req)
	if err == nil && "https://"+req.URL.Host == r.site {
		for _, line := range res.Header["Set-Cookie"] {
			if c, err := http.ParseSetCookie(line); err == nil && c.MaxAge >= 0 {
				r.set[regexp.MustCompile(`-login-[0-9a-f]+$`).ReplaceAllString(c.Name, "-login-*")] = line
			}
		}
	}
	return res, err
}

// TestCookieSizes measures what the table of cookies says. Run it with -v.
func TestCookieSizes(t *testing.T) {
	t.Parallel()
	for _, account := range []struct {
		name   string
		person string
		groups bool // their ids stand in the tokens, however many
		budget int
		most   int // bytes of all lines of the session
	}{
		{name: "work", person: msauthtest.Ada, most: 3300},
		{name: "personal", person: msauthtest.Mia, most: 3000},
		{name: "200 groups, as Microsoft does it", person: msauthtest.Grace, most: 3300},
		{name: "200 groups in the tokens", person: msauthtest.Grace, groups: true, most: 3300},
		{name: "200 groups in the tokens, budget 7168", person: msauthtest.Grace, groups: true, budget: 7168, most: 7168},
	} {
		t.Run(account.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, routers.Std, func(c *msauth.Config) { c.CookieBudget, c.CookieName = account.budget, "msauth-123456" })
			s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn, b.GroupClaims = account.person, account.groups })
			rec := &recorder{base: s.browser.Transport, site: s.URL, set: map[string]string{}}
			s.browser.Transport = rec
			s.want(t, "/private", "navigate", http.StatusOK, "only")

			session := 0
			for name, line := range rec.set {
				size := len("Set-Cookie: \r\n") + len(line)
				pair, _, _ := strings.Cut(line, ";")
				t.Logf("%-33s answered %4d bytes, then sent %4d", name, size, len(pair))
				switch {
				case strings.HasSuffix(name, "-login-*"), strings.HasSuffix(name, "-ok"):
					if size > 140 {
						t.Errorf("%s takes %d bytes", name, size)
					}
				default:
					session += size
				}
			}
			if session == 0 || session > account.most {
				t.Errorf("a session of %d bytes, want at most %d", session, account.most)
			}
		})
	}
}

// prose is a document without its code.
func prose(t *testing.T, name string) string {
	t.Helper()
	return regexp.MustCompile("(?ms)^```.*?^```").ReplaceAllString(readFile(t, name), "")
}

// The files and headings that the documents send people to are there.
func TestLinks(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{
		readme, recipes, liveSDK, trouble, metrics, proofs, "../../docs/registration.md", "../../docs/proxies.md", "../../docs/operations.md",
		"../../docs/providers.md", "../../docs/check.md", "../../docs/deploy.md", "../../docs/release.md", "../../SECURITY.md", "../../CONTRIBUTING.md", "../../CHANGELOG.md",
	} {
		for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(prose(t, doc), -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			path, fragment, _ := strings.Cut(link[1], "#")
			to := doc
			if path != "" {
				to = filepath.Join(filepath.Dir(doc), path)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %v", doc, err)
				continue
			}
			if fragment != "" && !slices.Contains(fragments(prose(t, to)), fragment) {
				t.Errorf("%s: %s has no heading for #%s", doc, to, fragment)
			}
		}
	}
}

// fragments are the headings of a document as links name them.
func fragments(text string) (names []string) {
	for _, heading := range regexp.MustCompile("(?m)^#+ (.*)$").FindAllStringSubmatch(text, -1) {
		kept := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		names = append(names, strings.ReplaceAll(kept, " ", "-"))
	}
	return names
}

// What the guide names in its text is there under that name.
func TestNamesInTheGuide(t *testing.T) {
	t.Parallel()
	types := map[string]reflect.Type{
		"auth": reflect.TypeFor[*msauth.Middleware](), "s": reflect.TypeFor[*msauth.Session](),
		"AuthError": reflect.TypeFor[*msauth.AuthError](), "Config": reflect.TypeFor[msauth.Config](),
		"LoginOptions": reflect.TypeFor[msauth.LoginOptions](), "SignIn": reflect.TypeFor[msauth.SignIn](),
		"StoredTokens": reflect.TypeFor[msauth.StoredTokens](), "TokenStore": reflect.TypeFor[msauth.TokenStore](),
		"User": reflect.TypeFor[msauth.User](),
	}
	found := 0
	for _, name := range regexp.MustCompile("`[*]?(\\w+)[.]([A-Z]\\w*)").FindAllStringSubmatch(prose(t, liveSDK), -1) {
		of, ok := types[name[1]]
		if !ok || name[1]+"."+name[2] == "User.Read" { // a scope
			continue
		}
		found++
		_, method := of.MethodByName(name[2])
		if of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		field := false
		if of.Kind() == reflect.Struct {
			_, field = of.FieldByName(name[2])
		}
		if !method && !field {
			t.Errorf("there is no %s.%s", name[1], name[2])
		}
	}
	if found < 50 {
		t.Errorf("%d names found", found)
	}
}

// The README leads to everything below docs, and the page for those who look for
// a cause names every kind of page that is shown.
func TestIndex(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	_, section, _ := strings.Cut(readFile(t, readme), "\n## Documentation\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, file := range files {
		if name := filepath.Base(file); !strings.Contains(section, "](docs/"+name+")") {
			t.Errorf("the README does not lead to docs/%s", name)
		}
	}
	_, kinds, _ := strings.Cut(readFile(t, "../../page.go"), "// Kind is stable")
	kinds, _, _ = strings.Cut(kinds, "Kind string")
	text := readFile(t, trouble)
	for _, kind := range regexp.MustCompile(`"([a-z-]+)"`).FindAllStringSubmatch(kinds, -1) {
		if !strings.Contains(text, "`"+kind[1]+"`") {
			t.Errorf("no line about pages of kind %s", kind[1])
		}
	}
	for _, number := range []string{"50011", "50105", "65001", "700016", "90094", "50020", "500200", "53003", "50076", "9002327", "7000215", "7000222", "50196"} {
		if !strings.Contains(text, "| "+number) {
			t.Errorf("no line about AADSTS%s", number)
		}
	}
}
