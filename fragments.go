package msauth

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"

	"example.com/msauth/internal/catalog"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/web"
)

// fragmentScript takes the fragment of the address, which no server sees, to the link of
// fragmentPage. It leaves no entry in the history. What is too long to return to stays away:
// the link has the address without it.
var fragmentScript = fmt.Sprintf(`"use strict";
const login = new URL(document.links[0].href), place = location.pathname + location.search + location.hash;
if (location.hash && place.length <= %d) login.searchParams.set("return_to", place);
location.replace(login);`, web.MaxReturnPath)

// fragmentPolicy allows that script and nothing else.
var fragmentPolicy = func() string {
	sum := sha256.Sum256([]byte(fragmentScript))
	return "default-src 'none'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

// fragmentPage goes on to a login link: by its script, or without one at once, as a
// redirect would. Nobody sees it, so Config.Page has no say in it.
var fragmentPage = template.Must(template.New("fragment").Parse(`<!DOCTYPE html>
<html lang="{{.Texts.Language}}" dir="{{.Texts.Dir}}">
<meta charset="utf-8">
<meta name="robots" content="noindex">
<title>{{.Title}}</title>
<noscript><meta http-equiv="refresh" content="0; url={{.Login}}"></noscript>
<main id="msauth-wait"><a href="{{.Login}}" target="_top">{{.Texts.Label "continue" nil}}</a></main>
<script>` + fragmentScript + `</script>
`))

// keepsFragment answers a page load that would be redirected to Microsoft with a page that
// keeps the fragment of the address, if [Config.KeepFragments] is set, and reports whether
// it did. d is what the sign-in must meet.
func (m *Middleware) keepsFragment(w http.ResponseWriter, r *http.Request, d provider.Requirement) bool {
	if !m.cfg.KeepFragments || r.Method != http.MethodGet || !web.IsPageLoad(r) {
		return false
	}
	h := w.Header()
	h.Set("Content-Security-Policy", fragmentPolicy)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	web.Vary(h, "Cookie", "Sec-Fetch-Mode", "Sec-Fetch-Dest")
	texts := m.textsFor(w, r)
	title, _ := texts.Message("signing-in", nil)
	w.WriteHeader(http.StatusUnauthorized)
	_ = fragmentPage.Execute(w, struct {
		Texts        *catalog.Catalog
		Title, Login string
	}{texts, title, m.loginURL(LoginOptions{ReturnTo: web.RequestPath(r)}, d)})
	return true
}
