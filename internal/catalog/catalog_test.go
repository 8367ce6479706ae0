package catalog

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

var placeholder = regexp.MustCompile(`\{[^}]*\}?`)

// Each language has the texts that English has, with the same placeholders, and no others.
func TestNoTextIsMissingOrSurplus(t *testing.T) {
	t.Parallel()
	entries, err := files.ReadDir(".")
	if err != nil || len(entries) != len(Languages) {
		t.Errorf("%d files for %d languages, %v", len(entries), len(Languages), err)
	}
	english := open("en")
	for _, name := range Languages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := open(name)
			for id, m := range english.messages {
				compare(t, id+".title", m.Title, c.messages[id].Title)
				compare(t, id+".text", m.Text, c.messages[id].Text)
			}
			for id, l := range english.labels {
				compare(t, "label "+id, l, c.labels[id])
			}
			for _, ids := range [][2][]string{{keys(english.messages), keys(c.messages)}, {keys(english.labels), keys(c.labels)}} {
				if !slices.Equal(ids[0], ids[1]) {
					t.Errorf("texts %v\nwant  %v", ids[1], ids[0])
				}
			}
			// A member that nothing reads would be a text that nobody sees.
			data, err := files.ReadFile(name + ".json")
			if err != nil {
				t.Fatal(err)
			}
			d := json.NewDecoder(strings.NewReader(string(data)))
			d.DisallowUnknownFields()
			var file struct {
				Messages map[string]message
				Labels   map[string]string
			}
			if err := d.Decode(&file); err != nil || d.More() {
				t.Errorf("%s.json: %v", name, err)
			}
		})
	}
}

func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func compare(t *testing.T, id, english, text string) {
	t.Helper()
	in := func(s string) []string { return slices.Sorted(slices.Values(placeholder.FindAllString(s, -1))) }
	switch {
	case text == "":
		t.Errorf("%s is missing", id)
	case strings.TrimSpace(text) != text || strings.ContainsFunc(text, unicode.IsControl) || strings.ContainsAny(text, "<>\u200e\u200f\u2066\u2067\u2068\u2069"):
		t.Errorf("%s has markup or invisible characters: %q", id, text)
	case !slices.Equal(in(english), in(text)):
		t.Errorf("%s has the placeholders %v, want %v", id, in(text), in(english))
	}
}

// Texts in another script are not English ones that somebody forgot.
func TestLanguagesDiffer(t *testing.T) {
	t.Parallel()
	english := open("en")
	for _, name := range Languages[1:] {
		c := open(name)
		for id, m := range english.messages {
			if c.messages[id].Text == m.Text {
				t.Errorf("%s: %s is in English", name, id)
			}
		}
	}
}

func TestLanguageOfAReader(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ preferred, accept, want, dir string }{
		{"", "", "en", "ltr"},
		{"", "*", "en", "ltr"},
		{"", "de", "de", "ltr"},
		{"", "de-CH,de;q=0.9,en;q=0.8", "de", "ltr"},
		{"", "da, en-GB;q=0.8, fr;q=0.7", "en", "ltr"},
		{"", "fr;q=0.3, it;q=0.9", "it", "ltr"},
		{"", "de;q=0, fr", "fr", "ltr"},
		{"", "pt-PT", "pt", "ltr"},
		{"", "zh", "zh-Hans", "ltr"},
		{"", "zh-CN", "zh-Hans", "ltr"},
		{"", "zh-TW", "zh-Hant", "ltr"},
		{"", "zh-HK,zh;q=0.9", "zh-Hant", "ltr"},
		{"", "ar-EG", "ar", "rtl"},
		{"", "uk", "en", "ltr"},
		{"", "not a language", "en", "ltr"},
		{"", "de;q=high", "en", "ltr"},
		{"", strings.Repeat("xx,", 400) + "de", "en", "ltr"}, // beyond what is read
		{"", "de," + strings.Repeat("x", 100<<10), "de", "ltr"},
		{"", strings.Repeat("de-", 100<<10), "en", "ltr"},
		{"sv", "de", "sv", "ltr"},
		{"zh-Hant-HK", "de", "zh-Hant", "ltr"},
		{"da", "de", "de", "ltr"}, // no texts in Danish
		{"nonsense!", "de", "de", "ltr"},
		{strings.Repeat("a", 1000), "", "en", "ltr"},
		{"und", "", "en", "ltr"},
	} {
		if c := For(test.preferred, test.accept); c.Language != test.want || c.Dir != test.dir {
			t.Errorf("For(%.40q, %.40q) is %s %s, want %s %s", test.preferred, test.accept, c.Language, c.Dir, test.want, test.dir)
		}
	}
}

// What is put into a text from right to left keeps its own direction.
func TestPlaceholders(t *testing.T) {
	t.Parallel()
	args := map[string]string{"from": "127.0.0.1:8080", "address": "{from}"}
	if _, text := For("en", "").Message("wrong-host-from", args); !strings.Contains(text, "You started at 127.0.0.1:8080, but this site signs people in at {from}.") {
		t.Errorf("text %q", text)
	}
	if _, text := For("ar", "").Message("wrong-host-from", args); !strings.Contains(text, "\u2068127.0.0.1:8080\u2069") || !strings.Contains(text, "\u2068{from}\u2069") {
		t.Errorf("text %q", text)
	}
	if title, text := For("en", "").Message("no such text", args); title != "" || text != "" {
		t.Errorf("%q %q", title, text)
	}
}

// A header says which language, and nothing else comes of it.
func FuzzAcceptLanguage(f *testing.F) {
	for _, s := range []string{"", "de-CH,de;q=0.9,en;q=0.8", "zh-Hant-TW", "*;q=0", "x-klingon", "i-default", "de-1996-u-co-phonebk,en-a-b-c"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, preferred, accept string) {
		if c := For(preferred, accept); !slices.Contains(Languages[:], c.Language) || len(c.messages) == 0 {
			t.Errorf("For(%q, %q) is %+v", preferred, accept, c.Language)
		}
		if tag, ok := Tag(preferred); ok && (tag.String() == "" || strings.ContainsAny(tag.String(), " &=\r\n\"<")) {
			t.Errorf("Tag(%q) is %q", preferred, tag)
		}
	})
}
