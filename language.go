package msauth

import (
	"net/http"
	"strings"

	"example.com/msauth/internal/catalog"
	"example.com/msauth/internal/web"
)

// textsFor returns what pages say in the language of whoever reads them, and names it in
// the headers of the response.
func (m *Middleware) textsFor(w http.ResponseWriter, r *http.Request) *catalog.Catalog {
	texts := catalog.For(m.language(r), strings.Join(r.Header["Accept-Language"], ","))
	w.Header().Set("Content-Language", texts.Language)
	web.Vary(w.Header(), "Accept-Language")
	return texts
}

// language returns the tag that Config.Language gives for a request, "" if it gives none.
func (m *Middleware) language(r *http.Request) (tag string) {
	if m.cfg.Language == nil {
		return ""
	}
	defer func() {
		if p := recover(); p != nil {
			m.log.ErrorContext(r.Context(), "msauth: Config.Language panicked", "panic", p)
			tag = ""
		}
	}()
	if wanted, ok := catalog.Tag(m.cfg.Language(r)); ok {
		return wanted.String()
	}
	return ""
}

// write puts the texts that p names into it.
func (p *Page) write(texts *catalog.Catalog) {
	p.Language, p.Dir, p.IDLabel = texts.Language, texts.Dir, texts.Label("reference", nil)
	if len(p.Fields) > 0 {
		p.FieldsLabel = texts.Label("what-you-wrote", nil)
	}
	p.Title, p.Text = texts.Message(p.TextID, p.Args)
	for i := range p.Notes {
		p.Notes[i].Text = texts.Label(p.Notes[i].TextID, p.Args)
	}
	for i := range p.Links {
		p.Links[i].Label = texts.Label(p.Links[i].TextID, p.Args)
	}
}
