package e2e

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/e2e/internal/chrome"
	"example.com/msauth/internal/catalog"
)

// texts are the ids of all messages and labels.
func texts(t *testing.T) (messages, labels []string) {
	t.Helper()
	data, err := os.ReadFile("../internal/catalog/en.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Messages, Labels map[string]any }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(file.Messages)), slices.Sorted(maps.Keys(file.Labels))
}

// pageIn is a page with the message id, and with all labels.
func pageIn(c *catalog.Catalog, id string, labels []string) msauth.Page {
	args := map[string]string{
		"minutes": "30", "seconds": "5", "address": "https://expenses.corp.example:8443", "from": "127.0.0.1:8080",
		"before": "ada.lovelace@contoso.example", "now": "bruno@fabrikam.example",
	}
	p := msauth.Page{
		Kind: "text", Status: http.StatusOK, Language: c.Language, Dir: c.Dir,
		ID: "c0abc214dba1", IDLabel: c.Label("reference", nil),
	}
	p.Title, p.Text = c.Message(id, args)
	for _, label := range labels {
		p.Links = append(p.Links, msauth.Link{URL: "/", Label: c.Label(label, args), Post: label == "send-as"})
	}
	return p
}

// Texts of each language fit on a phone, and suit everybody.
func TestPagesInEachLanguage(t *testing.T) {
	parallel(t)
	messages, labels := texts(t)
	auth, err := msauth.New(msauth.Config{ClientID: "id", ClientSecret: "secret", BaseURL: "http://localhost/auth", Keys: [][]byte{[]byte("0123456789abcdef0123456789abcdef")}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{language}/{id}", func(w http.ResponseWriter, r *http.Request) {
		headers := httptest.NewRecorder()
		auth.ServeHTTP(headers, httptest.NewRequest(http.MethodGet, "/auth/nothing", nil))
		maps.Copy(w.Header(), headers.Header()) // those of a page of msauth
		c := catalog.For(r.PathValue("language"), "")
		if id := r.PathValue("id"); id != "all" {
			pageIn(c, id, labels).ServeHTTP(w, r)
			return
		}
		var head, mains, foot string
		for _, id := range messages {
			one := httptest.NewRecorder()
			pageIn(c, id, labels).ServeHTTP(one, r)
			before, rest, _ := strings.Cut(one.Body.String(), "<main")
			main, after, _ := strings.Cut(rest, "</main>")
			head, foot = before, after
			mains += "<main" + main + "</main>"
		}
		io.WriteString(w, head+mains+foot)
	})
	site := httptest.NewServer(mux)
	t.Cleanup(site.Close)

	b := newPerson(t)
	for _, language := range catalog.Languages {
		b.open(site.URL + "/" + language + "/sign-in")
		if got := eval[string](b, "document.documentElement.lang + ' ' + getComputedStyle(document.querySelector('p')).direction"); got != language+" "+catalog.For(language, "").Dir {
			t.Errorf("%s: the page is in %s", language, got)
		}
		b.look("language-" + language)
		b.size(320, 640, true)
		b.open(site.URL + "/" + language + "/all")
		b.checkWidth("all texts of " + language + " on a small phone")
		if n := eval[int](b, "document.querySelectorAll('main').length"); n != len(messages) {
			t.Fatalf("%s: %d pages, want %d", language, n, len(messages))
		}
		b.size(1280, 800, false)
		if chrome.Pictures && slices.Contains([]string{"ar", "de", "ja"}, language) {
			for _, id := range messages {
				b.open(site.URL + "/" + language + "/" + id)
				b.look("language-" + language + "-" + id)
			}
		}
	}
}
