package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

// note saves a note, and returns its ID.
func (b *browser) note(text string) string {
	t := b.site.t
	t.Helper()
	a := b.submit("/notes", url.Values{"text": {text}}).want(http.StatusOK, "<h1>Notes</h1>")
	id, ok := strings.CutPrefix(a.Request.URL.Fragment, "note/")
	if a.Request.URL.Path != "/notes" || !ok || !strings.Contains(a.body, `data-note="`+id+`"`) {
		t.Fatalf("saving a note leads to %s with\n%s", a.Request.URL, a.body)
	}
	return id
}

// navigation are the headers of a form that a person sends: msauth keeps it.
var navigation = []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}

func TestNotes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn()
	b.get("/notes").want(http.StatusOK, "None yet.") // the permission is asked for on the way
	b.get("/session").want(http.StatusOK, "Files.ReadWrite")

	const text = "a/b: \"Süß\" <i>\r\n\r\n\tsecond & last"
	id := b.note("\r\n " + text + " \r\n")
	list := b.get("/notes").want(http.StatusOK, `<a href="/files/`+id+`/content" data-note="`+id+`">a b Süß i</a>`).lack("None yet.")
	at, err := time.Parse(time.RFC3339, list.href(`<time datetime="([^"]+)">`))
	if age := time.Since(at); err != nil || age < -time.Second || age > time.Minute {
		t.Errorf("the note is from %v: %v", at, err)
	}
	want := strings.ReplaceAll(text, "\r\n", "\n")
	if got := b.get("/files/" + id + "/content").want(http.StatusOK).body; got != want {
		t.Errorf("the file has %q, want %q", got, want)
	}
	var got struct {
		Title, Text string
		Time        time.Time
	}
	if err := json.Unmarshal([]byte(b.get("/api/notes/"+id, s.script()...).want(http.StatusOK).body), &got); err != nil {
		t.Fatal(err)
	}
	if got.Title != "a b Süß i" || got.Text != want || !got.Time.Equal(at) {
		t.Errorf("the script gets %q", got)
	}

	// Two of the same name, in the same second, are two.
	same, again := b.note("Same"), b.note("Same")
	if same == again {
		t.Error("the second note has replaced the first")
	}
	if n := strings.Count(b.get("/notes").body, "data-note="); n != 3 {
		t.Errorf("%d notes in the list, want 3", n)
	}
}

func TestNotesInAnyScript(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.writer(msauthtest.Ada)
	for _, text := range []string{strings.Repeat("記", 5000), strings.Repeat("😀", 2500), strings.Repeat("é\r\n", 2500)} { // 5000 characters, as browsers count
		id := b.note(text)
		if got, want := b.get("/files/"+id+"/content").want(http.StatusOK).body, strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n")); got != want {
			t.Errorf("%d bytes of %.9q were saved, want %d", len(got), text, len(want))
		}
	}
}

func TestNotesThatAreNone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.writer(msauthtest.Ada)
	for text, problem := range map[string]string{
		"":                          "Write something first.",
		" \r\n\t ":                  "Write something first.",
		strings.Repeat("x", 15_001): "A note has at most 5000 characters.",
		"not UTF-8: \xff":           "This is not a text in UTF-8.",
	} {
		a := b.submit("/notes", url.Values{"text": {text}}).want(http.StatusBadRequest, `id="problem" role="alert">`+problem, `aria-invalid="true" aria-describedby="problem"`)
		if kept := strings.ToValidUTF8(strings.TrimSpace(text), "\uFFFD"); !strings.Contains(a.body, ">\n"+kept+"</textarea>") {
			t.Errorf("%.20q: what was typed is lost", text)
		}
	}
	b.submit("/notes", url.Values{"text": {strings.Repeat("x", 70_000)}}).want(http.StatusBadRequest, "The form could not be read")
	b.get("/notes").want(http.StatusOK, "None yet.")
}

// The address of a note is no way to other files.
func TestNoteOfAnotherFolder(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.writer(msauthtest.Ada)
	list := b.get("/files")
	note := b.note("A note")
	notes := b.get("/files").id("Notes")
	b.get("/api/notes/"+note, s.script()...).want(http.StatusOK)
	for name, id := range map[string]string{
		"a text elsewhere": list.id("Shopping list.txt"), "a folder": list.id("Documents"), "the folder": notes,
		"nothing": "NOSUCHID", "a path": "..%2F..%2Fme",
	} {
		a := b.get("/api/notes/"+id, s.script()...)
		if a.StatusCode != http.StatusNotFound || strings.Contains(a.body, `"text"`) {
			t.Errorf("%s: status %d, %s", name, a.StatusCode, a.body)
		}
	}
	// Nor are files that are no texts, or too large, in the folder itself.
	b.submit("/files/"+note+"/rename", url.Values{"name": {"picture.png"}}).want(http.StatusOK)
	b.get("/api/notes/"+note, s.script()...).want(http.StatusNotFound)
	b.get("/notes").want(http.StatusOK, "None yet.")
	// A text under a name of its own is a note.
	b.submit("/files/"+note+"/rename", url.Values{"name": {"From elsewhere.txt"}}).want(http.StatusOK)
	b.get("/notes").want(http.StatusOK, ">From elsewhere</a>")
	b.get("/api/notes/"+note, s.script()...).want(http.StatusOK, `"title":"From elsewhere"`)
}

func TestNotesOfOtherPeopleAndSites(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ada := s.writer(msauthtest.Ada)
	id := ada.note("Ada's")
	bruno := s.writer(msauthtest.Bruno)
	bruno.get("/notes").want(http.StatusOK, "None yet.")
	bruno.get("/api/notes/"+id, s.script()...).want(http.StatusNotFound)

	ada.submit("/notes", url.Values{"text": {"Forged"}}, "Sec-Fetch-Site", "cross-site").want(http.StatusForbidden, "The form was posted by another site")
	ada.submit("/notes", url.Values{"text": {"Forged"}}, "Sec-Fetch-Site", "", "Origin", "https://evil.example").want(http.StatusForbidden)
	ada.get("/notes").want(http.StatusOK).lack("Forged")

	s.browser().submit("/notes", url.Values{"text": {"Nobody's"}}, navigation...).want(http.StatusUnauthorized, "what you wrote is still here")
}

// Without the permission for changes, nothing is read or written, but asked for.
func TestNotesWithoutPermission(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn()
	b.submit("/notes", url.Values{"text": {"Too early"}}, navigation...).want(http.StatusUnauthorized, "what you wrote is still here")
	login := b.get("/api/notes/NOSUCHID", s.script()...).loginURL()
	b.get(login).want(http.StatusOK, "Files.ReadWrite")
	b.get("/api/notes/NOSUCHID", s.script()...).want(http.StatusNotFound)
	b.get("/notes").want(http.StatusOK, "None yet.")
}

func TestTitleOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"One\nTwo":                        "One",
		` "*:<>?/\|#%~&{} `:               "Note",
		"\n":                              "Note",
		"...":                             "Note",
		"a.\x7f\x00b":                     "a. b",
		" to  be. ":                       "to be",
		strings.Repeat("ß", 31):           strings.Repeat("ß", 30),
		strings.Repeat("x", 59) + "記":     strings.Repeat("x", 59),
		strings.Repeat("x", 59) + " tail": strings.Repeat("x", 59),
	} {
		if got := titleOf(text); got != want {
			t.Errorf("titleOf(%q) = %q, want %q", text, got, want)
		}
	}
}

// languageOf is that of a page.
func (a *answer) languageOf() string {
	a.t.Helper()
	return a.href(`<html lang="([^"]+)"`)
}

func TestLanguage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser()
	a := b.submit("/language", url.Values{"language": {"de"}, "back": {"/?x=%2F&y"}}).want(http.StatusOK, `<option value="de" selected lang="de">Deutsch</option>`)
	if a.Request.URL.RequestURI() != "/?x=%2F&y" || a.languageOf() != "en" { // the app's own
		t.Errorf("it leads to %s in %s", a.Request.URL, a.languageOf())
	}
	if n := len(regexp.MustCompile(`<option[^>]* selected`).FindAllString(a.body, -1)); n != 1 {
		t.Errorf("%d languages are selected", n)
	}
	if got := b.get("/auth/signed-out", "Accept-Language", "fr").want(http.StatusOK).languageOf(); got != "de" {
		t.Errorf("a page of msauth is in %q", got)
	}
	b.get("/session").want(http.StatusOK, `id="who"`)
	if calls := s.ms.Calls(msauthtest.Authorize); len(calls) != 1 || calls[0].Query.Get("ui_locales") != "de" || calls[0].Query.Get("mkt") == "" || !strings.HasPrefix(calls[0].Query.Get("mkt"), "de") {
		t.Errorf("Microsoft is asked %v", calls)
	}

	// Others that are not in the list change nothing; none is the browser's.
	for _, other := range []string{"xx", "de\r\nSet-Cookie: a=b", "DE"} {
		b.submit("/language", url.Values{"language": {other}}).want(http.StatusOK, `<option value="de" selected`)
	}
	b.submit("/language", url.Values{"language": {""}}).want(http.StatusOK, `<option value="" selected>`)
	if got := b.get("/auth/signed-out", "Accept-Language", "fr").languageOf(); got != "fr" {
		t.Errorf("without a choice a page of msauth is in %q", got)
	}
	b.submit("/language", url.Values{"language": {"de"}}, "Sec-Fetch-Site", "cross-site").want(http.StatusForbidden)
}

// What is in the cookie does no harm.
func TestLanguageOfABadCookie(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser()
	for _, value := range []string{"xx", "<b>", "../../de", "de; q=1", strings.Repeat("d", 3000), "%64%65", ""} {
		a := b.get("/auth/signed-out", "Cookie", "language="+value, "Accept-Language", "fr").want(http.StatusOK)
		if got := a.languageOf(); got != "fr" && got != "en" && got != "de" {
			t.Errorf("%.20q: a page in %q", value, got)
		}
		b.get("/", "Cookie", "language="+value).want(http.StatusOK, `id="language"`)
	}
}

// The form leads nowhere else.
func TestLanguageLeadsBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser()
	b.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for back, want := range map[string]string{
		"/files/ABC?next=a%2Fb": "/files/ABC?next=a%2Fb",
		"/notes#note/1":         "/notes#note/1",
		"":                      "/",
		"files":                 "/",
		"//evil.example":        "/",
		"///evil.example":       "/",
		`/\evil.example`:        "/",
		`\\evil.example`:        "/",
		"https:evil.example":    "/",
		"https://evil.example/": "/",
		"javascript:alert(1)":   "/",
		"/\t/evil.example":      "/",
		"/\n/evil.example":      "/",
		" //evil.example":       "/",
		"/.//evil.example":      "/evil.example",
		"/x/..//evil.example":   "/evil.example",
	} {
		a := b.submit("/language", url.Values{"language": {"de"}, "back": {back}}).want(http.StatusSeeOther)
		if got := a.Header.Get("Location"); got != want {
			t.Errorf("back %q leads to %q, want %q", back, got, want)
		}
	}
}
