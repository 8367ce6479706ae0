package catalog

import (
	"embed"
	"encoding/json"
	"strings"
	"sync"

	"golang.org/x/text/language"
)

// A Catalog is all texts in one language.
type Catalog struct {
	Language string // the tag of BCP 47, such as "zh-Hant"
	Dir      string // "ltr" or "rtl", for the attribute dir of HTML
	messages map[string]message
	labels   map[string]string
}

type message struct{ Title, Text string }

//go:embed *.json
var files embed.FS

// Languages are the languages, the one for everybody else first.
var Languages = [...]string{"en", "ar", "cs", "de", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt", "sv", "tr", "zh-Hans", "zh-Hant"}

// A file is read when somebody reads that language.
var catalogs = func() (all [len(Languages)]func() *Catalog) {
	for i, name := range Languages {
		all[i] = sync.OnceValue(func() *Catalog { return open(name) })
	}
	return all
}()

var matcher = sync.OnceValue(func() language.Matcher {
	var tags []language.Tag
	for _, name := range Languages {
		tags = append(tags, language.Make(name))
	}
	return language.NewMatcher(tags)
})

func open(name string) *Catalog {
	var file struct {
		Messages map[string]message
		Labels   map[string]string
	}
	data, _ := files.ReadFile(name + ".json") // part of the program: the tests read each
	_ = json.Unmarshal(data, &file)
	c := &Catalog{name, "ltr", file.Messages, file.Labels}
	if name == "ar" {
		c.Dir = "rtl"
	}
	return c
}

// maxPreferences is how much of a header is looked at, in bytes: each language in it
// costs time, and anybody can send it. Browsers rarely send more than 100.
const maxPreferences = 300

// For returns the catalog for a reader who wants preferred, a tag, or else one of the
// languages of acceptLanguage, a header. Either may be empty, and what makes no sense is
// passed over. If there is none, it is English.
//
// The languages are tried one by one: looked at together, "zh-HK,zh" is matched to the
// second, which is in another script.
func For(preferred, acceptLanguage string) *Catalog {
	if tag, ok := Tag(preferred); ok {
		if c := of(tag); c != nil {
			return c
		}
	}
	if len(acceptLanguage) > maxPreferences {
		acceptLanguage = acceptLanguage[:maxPreferences]
		acceptLanguage = acceptLanguage[:max(0, strings.LastIndexByte(acceptLanguage, ','))]
	}
	if tags, _, err := language.ParseAcceptLanguage(acceptLanguage); err == nil {
		for _, tag := range tags {
			if c := of(tag); c != nil {
				return c
			}
		}
	}
	return catalogs[0]()
}

// of returns the catalog in a language that readers of tag understand, or nil.
func of(tag language.Tag) *Catalog {
	if _, i, confidence := matcher().Match(tag); confidence >= language.High {
		return catalogs[i]()
	}
	return nil
}

// maxTag is longer than any tag that means anything, in bytes.
const maxTag = 35 // RFC 5646 section 4.4.1

// Tag parses a tag of BCP 47.
func Tag(s string) (language.Tag, bool) {
	if s == "" || len(s) > maxTag {
		return language.Und, false
	}
	tag, err := language.Parse(s)
	return tag, err == nil && tag != language.Und
}

// Message returns the title and the text of a page. args are the values for
// placeholders such as {address}.
func (c *Catalog) Message(id string, args map[string]string) (title, text string) {
	m := c.messages[id]
	return c.fill(m.Title, args), c.fill(m.Text, args)
}

// Label returns the text of a link or a button, or a single sentence.
func (c *Catalog) Label(id string, args map[string]string) string {
	return c.fill(c.labels[id], args)
}

func (c *Catalog) fill(text string, args map[string]string) string {
	if !strings.Contains(text, "{") {
		return text
	}
	var pairs []string
	for name, value := range args {
		if c.Dir == "rtl" {
			value = "\u2068" + value + "\u2069" // in its own direction (Unicode Standard Annex 9)
		}
		pairs = append(pairs, "{"+name+"}", value)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}
