package page

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"
	"testing"
	"time"
)

type link struct {
	URL, Label string
	Post       bool
	Token      string
	NewTab     bool
}

type note struct {
	Text, TextID string
	Hidden       bool
}

type field struct{ Name, Value string }

type content struct {
	Kind, Title, Text, ID  string
	Script                 string
	Language, Dir, IDLabel string
	Notes                  []note
	Links                  []link
	Fields                 []field
	FieldsLabel            string
}

func written(t *testing.T, c content, refresh time.Duration, reload bool) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, c, refresh, reload); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What a page says may come from outside, and is text whatever it looks like.
func TestTextsAreEscaped(t *testing.T) {
	t.Parallel()
	const evil = `<script>alert(1)</script>"'`
	got := written(t, content{evil, evil, evil, evil, "", evil, evil, evil, []note{{evil, evil, true}}, []link{{URL: "javascript:alert(1)", Label: evil}, {URL: "/x", Label: evil, Post: true, Token: evil}}, []field{{evil, evil}}, evil}, 0, false)
	if strings.Contains(got, "<script") || strings.Contains(got, `"'`) || strings.Contains(got, `href="javascript:`) {
		t.Errorf("page %s", got)
	}
}

// Texts come from the catalogue.
func TestTemplateHasNoWords(t *testing.T) {
	t.Parallel()
	if words := strings.TrimSpace(regexp.MustCompile(`(?s)\{\{.*?\}\}|<[^>]*>`).ReplaceAllString(html, "")); words != "" {
		t.Errorf("the template says %q", strings.Fields(words))
	}
}

// The policy allows the one style sheet that the page has.
func TestStyleSourceIsThatOfThePage(t *testing.T) {
	t.Parallel()
	_, rest, _ := strings.Cut(written(t, content{Title: "x"}, 0, false), "<style>")
	style, _, ok := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	if want := "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !ok || StyleSource != want {
		t.Errorf("StyleSource is %s, that of the page %s", StyleSource, want)
	}
}

func TestPartsOfAPage(t *testing.T) {
	t.Parallel()
	with := content{Kind: "wait", Title: "T", Text: "X", ID: "c0abc214dba1", IDLabel: "Reference:", Links: []link{{URL: "/on", Label: "Continue"}, {URL: "/form", Label: "Do it", Post: true, Token: "tok"}}}
	for _, test := range []struct {
		name  string
		page  string
		has   []string
		lacks []string
	}{
		{"plain", written(t, content{Kind: "not-found", Title: "T", Text: "X"}, 0, false), []string{`id="msauth-not-found"`, "<title>T</title>", "<p>X</p>"}, []string{"<ul>", "<script", "refresh", "Reference", "turbo"}},
		{"links", written(t, with, 0, false), []string{`<a href="/on" target="_top">Continue</a>`, `<form method="post" action="/form">`, `name="msauth_token" value="tok"`, "Reference: <code>c0abc214dba1</code>"}, []string{"http-equiv"}},
		{"at once", written(t, with, time.Millisecond, false), []string{`content="0; url=/on"`}, nil},
		{"later", written(t, with, 5*time.Second, false), []string{`content="5; url=/on"`}, nil},
		{"a kept form", written(t, content{Links: []link{{URL: "/login", Label: "Sign in", NewTab: true}, {URL: "/again", Label: "Again", Post: true}}, Fields: []field{{"a", "1"}, {"<b>", "\"\r\n"}}}, 0, false),
			[]string{`<a href="/login" target="_blank" rel="noopener">Sign in</a>`, `<form method="post" action="/again" accept-charset="utf-8"><input type="hidden" name="a" value="1"><input type="hidden" name="&lt;b&gt;" value="&#34;` + "\r\n" + `"><button type="submit">Again</button></form>`}, []string{"<details>", "<textarea"}},
		{"a form that cannot be sent", written(t, content{Links: []link{{URL: "/", Label: "Home"}}, Fields: []field{{"<b>", "\n</textarea>"}}}, 0, false),
			[]string{"<label>&lt;b&gt;<textarea readonly>\n\n&lt;/textarea&gt;</textarea></label>"}, []string{"<form", "<input"}},
		{"for Turbo", written(t, with, 0, true), []string{`<meta name="turbo-visit-control" content="reload">`}, nil},
		{"with a script", written(t, content{Kind: "done", Title: "T", Script: "/auth/msauth.js?v=a-_b"}, 0, false), []string{`<script type="module" src="/auth/msauth.js?v=a-_b"></script>`}, []string{"<ul>"}},
	} {
		for _, part := range test.has {
			if !strings.Contains(test.page, part) {
				t.Errorf("%s: no %q in %s", test.name, part, test.page)
			}
		}
		for _, part := range test.lacks {
			if strings.Contains(test.page, part) {
				t.Errorf("%s: %q in %s", test.name, part, test.page)
			}
		}
	}
}
