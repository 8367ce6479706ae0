package routers

import (
	"cmp"
	"net/http"
	"strings"

	"example.com/msauth"
)

// danish are texts for pages of msauth, by their TextID.
var danish = map[string]struct{ title, text string }{
	"signed-out": {"Du er logget ud", "Luk også browseren på en delt computer."},
	// ...
}

var danishLabels = map[string]string{"sign-in": "Log på", "home": "Startside"}

// inDanish shows the pages that have Danish texts in Danish, and all others as they are.
func inDanish(w http.ResponseWriter, r *http.Request, p msauth.Page) {
	texts, ok := danish[p.TextID]
	if ok && strings.HasPrefix(r.Header.Get("Accept-Language"), "da") {
		p.Language, p.Dir, p.IDLabel = "da", "ltr", "Reference:"
		p.Title, p.Text = texts.title, texts.text
		for name, value := range p.Args {
			p.Text = strings.ReplaceAll(p.Text, "{"+name+"}", value)
		}
		for i, link := range p.Links {
			p.Links[i].Label = cmp.Or(danishLabels[link.TextID], link.Label)
		}
		for i, note := range p.Notes {
			p.Notes[i].Text = cmp.Or(danishLabels[note.TextID], note.Text)
		}
	}
	p.ServeHTTP(w, r)
}

// InDanish configures pages in Danish too, and a site on which people choose a language.
func InDanish(cfg *msauth.Config) { cfg.Page, cfg.Language = inDanish, chosen }

// chosen is the language that somebody has picked on this site.
func chosen(r *http.Request) string {
	if c, err := r.Cookie("language"); err == nil {
		return c.Value
	}
	return "" // as the browser asks
}
