package requests_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/msauth"
	"example.com/msauth/internal/catalog"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// Each page is in the language that the browser asks for.
func TestPagesInEachLanguage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, b, _ := testsite.Pages(t)
		seen := map[string]string{}
		for _, lang := range catalog.Languages {
			res := b.Get("/auth/signed-out", "Accept-Language", lang+", en;q=0.5")
			dir := "ltr"
			if lang == "ar" {
				dir = "rtl"
			}
			if want := `<html lang="` + lang + `" dir="` + dir + `">`; !strings.Contains(res.Text, want) || res.Header.Get("Content-Language") != lang || res.Header.Get("Vary") != "Accept-Language" {
				t.Errorf("%s: Content-Language %q, Vary %q, %.120s", lang, res.Header.Get("Content-Language"), res.Header["Vary"], res.Text)
			}
			if other := seen[res.Text]; other != "" {
				t.Errorf("%s says what %s says", lang, other)
			}
			seen[res.Text] = lang
		}
	})
}

// Whatever the header holds, there is a page.
func TestAcceptLanguageOfAnySize(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	for header, want := range map[string]string{
		"":                               "en",
		"de-CH,de;q=0.9":                 "de",
		"tlh":                            "en",
		strings.Repeat("de-", 30<<10):    "en",
		"fr," + strings.Repeat("x", 9e4): "fr",
		"\x80\xff;q=":                    "en",
	} {
		if res := s.Browser(t).Get("/auth/signed-out", "Accept-Language", header); res.StatusCode != 200 || res.Header.Get("Content-Language") != want {
			t.Errorf("%.20q: status %d in %q, want %q", header, res.StatusCode, res.Header.Get("Content-Language"), want)
		}
	}
}

// Scripts show what they are told to people, too.
func TestProblemDocumentsInTheReadersLanguage(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	script := []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Accept", "application/json", "Accept-Language", "de"}
	res := b.Get("/", script...)
	if p := b.WantProblem(res, http.StatusUnauthorized); p.Title != "Sie sind nicht angemeldet" || res.Header.Get("Content-Language") != "de" {
		t.Errorf("%+v in %q", p, res.Header.Get("Content-Language"))
	}
	if vary := strings.Join(res.Header["Vary"], ", "); !strings.Contains(vary, "Accept-Language") {
		t.Errorf("Vary %q", vary)
	}
	// The app's own pages are its own matter.
	b.SignIn(msauthtest.Ada)
	if res := b.Get("/", "Accept-Language", "de"); res.Text != testsite.HelloAda || res.Header.Get("Content-Language") != "" || strings.Contains(strings.Join(res.Header["Vary"], ", "), "Accept-Language") {
		t.Errorf("Content-Language %q, Vary %q on a page of the app", res.Header.Get("Content-Language"), res.Header["Vary"])
	}
}

// A site whose visitors choose a language says which, and Microsoft is told so.
func TestLanguageOfTheSite(t *testing.T) {
	t.Parallel()
	chosen := ""
	s := testsite.New(t, func(c *msauth.Config) {
		c.Language = func(r *http.Request) string {
			if chosen == "panic" {
				panic("no language")
			}
			return chosen
		}
	})
	b := s.Browser(t)
	for _, test := range []struct{ chosen, page, asked string }{
		{"", "fr", ""},
		{"it", "it", "it"},
		{"pt-br", "pt", "pt-BR"},
		{"da", "fr", "da"}, // Microsoft has Danish
		{"not a tag", "fr", ""},
		{"it&prompt=none", "fr", ""},
		{strings.Repeat("a-", 1000), "fr", ""},
		{"panic", "fr", ""},
	} {
		chosen = test.chosen
		if got := b.Get("/auth/signed-out", "Accept-Language", "fr").Header.Get("Content-Language"); got != test.page {
			t.Errorf("%.20q: a page in %q, want %q", chosen, got, test.page)
		}
		asked := b.AuthorizeQuery("/auth/login", "Accept-Language", "fr")
		if got := []string{asked.Get("ui_locales"), asked.Get("mkt")}; !slices.Equal(got, []string{test.asked, test.asked}) {
			t.Errorf("%.20q: asked for %q, want %q", chosen, got, test.asked)
		}
	}
	chosen = "it"
	if got := b.AuthorizeQuery(s.Auth.LoginURL(msauth.LoginOptions{UILocales: "sv fi"})); got.Get("ui_locales") != "sv fi" || got.Get("mkt") != "sv" {
		t.Errorf("a login link with locales of its own asks for %q and %q", got.Get("ui_locales"), got.Get("mkt"))
	}
	if s.Log.With("Config.Language panicked") == nil {
		t.Errorf("no log line says that Language panicked: %s", s.Log)
	}
}

// The hook Page changes one page, adds a language to all, and leaves the rest as it is.
func TestPageHookAddsALanguage(t *testing.T) {
	t.Parallel()
	danish := map[string][2]string{
		"signed-out": {"Du er logget ud", "Luk også browseren på en delt computer."},
		"wrong-host": {"Dette websted bruger en anden adresse", "Du begyndte på en anden adresse end {address}."},
	}
	labels := map[string]string{"sign-in": "Log på", "home": "Startside", "start-again": "Begynd forfra"}
	s := testsite.New(t, func(c *msauth.Config) {
		c.Page = func(w http.ResponseWriter, r *http.Request, p msauth.Page) {
			if texts, ok := danish[p.TextID]; ok && strings.HasPrefix(r.Header.Get("Accept-Language"), "da") {
				p.Language, p.Dir, p.IDLabel = "da", "ltr", "Reference:"
				p.Title, p.Text = texts[0], texts[1]
				for name, value := range p.Args {
					p.Text = strings.ReplaceAll(p.Text, "{"+name+"}", value)
				}
				for i := range p.Links {
					p.Links[i].Label = labels[p.Links[i].TextID]
				}
			}
			p.ServeHTTP(w, r)
		}
	})
	b := s.Browser(t)
	res := b.Get("/auth/signed-out", "Accept-Language", "da")
	for _, want := range []string{`<html lang="da" dir="ltr">`, "<h1>Du er logget ud</h1>", ">Log på</a>", ">Startside</a>"} {
		if !strings.Contains(res.Text, want) {
			t.Errorf("no %s in %s", want, res.Text)
		}
	}
	if got := res.Header.Values("Content-Language"); !slices.Equal(got, []string{"da"}) {
		t.Errorf("Content-Language %q", got)
	}
	plain := testsite.New(t).Browser(t)
	for _, accept := range []string{"en", "de"} {
		if one, two := b.Get("/auth/nothing", "Accept-Language", accept), plain.Get("/auth/nothing", "Accept-Language", accept); one.Text != two.Text || one.StatusCode != 404 {
			t.Errorf("%s: the page is %s, want the default %s", accept, one.Text, two.Text)
		}
	}
	if res := b.Request(http.MethodHead, "/auth/signed-out"); res.Text != "" || res.StatusCode != 200 {
		t.Errorf("HEAD: %d %q", res.StatusCode, res.Text)
	}
}
