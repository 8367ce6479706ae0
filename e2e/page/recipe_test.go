package page

import (
	_ "embed"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"example.com/msauth/e2e/internal/chrome"
	"example.com/msauth/msauthtest"
)

var (
	//go:embed recipe.js
	recipeScript string
	//go:embed recipe.html
	recipePage string
)

// The lines that docs/recipes.md tells sites to take.
func TestRecipe(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/recipes.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"recipe.js": recipeScript, "recipe.html": recipePage} {
		var code strings.Builder
		for line := range strings.Lines(text) {
			if line != "\n" {
				line = "    " + line
			}
			code.WriteString(line)
		}
		if !strings.Contains(string(doc), code.String()) {
			t.Errorf("docs/recipes.md does not have %s", name)
		}
	}

	s := newSite(t)
	s.front(func(w http.ResponseWriter, r *http.Request) bool {
		switch r.URL.Path {
		case "/recipe.js":
			w.Header().Set("Content-Type", "text/javascript")
			w.Write([]byte(recipeScript))
		case "/recipe":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Content-Security-Policy", policy)
			w.Write([]byte(`<!DOCTYPE html><link rel="icon" href="data:,"><p id="private">private</p><textarea id="draft">my draft</textarea><button id="save">Save</button><p id="saved" hidden>Saved</p>` + recipePage))
		default:
			return false
		}
		return true
	})
	b := s.person()
	b.Open(s.url + "/auth/login?return_to=/recipe")
	s.pick(b, ada)
	b.Until("document.getElementById('save')?.onclick && document.querySelector('msauth-countdown').getAttribute('role')")
	wait(t, "a look", func() bool { return s.count("GET /auth/session") > 0 })
	s.expire(b)
	b.Click("#save")
	w := s.window(b)
	b.Until(hidden)
	s.pick(w, ada)
	b.Until("!document.getElementById('saved').hidden && !" + hidden)
	if got := s.handled(); !slices.Equal(got, []string{"POST /api/drafts my draft by " + msauthtest.Ada}) {
		t.Errorf("handled %q", got)
	}
	// Somebody else.
	s.expire(b)
	chrome.Eval[any](b, "window.old = true; 0")
	b.Click("#save")
	s.pick(s.window(b), mia)
	b.Until("!window.old")
	if n := len(s.handled()); n != 1 {
		t.Errorf("%d requests handled", n)
	}
}
