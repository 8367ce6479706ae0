package msauth

import (
	"net/http"
	"strings"
	"time"

	"example.com/msauth/internal/script"
	"example.com/msauth/internal/web"
)

// ScriptURL returns the address of a JavaScript module for the site's own pages, as a path
// on this site with a version: browsers keep it for a year, and load it anew when this
// package has changed. The same path without the version works too; browsers then ask
// each time whether it has changed. Use one of them: two addresses are two modules.
//
//	import { fetch, session } from "/auth/msauth.js"
//
// Its fetch is that of the browser, but when a request is answered 401 or 403 with a
// login_url, it asks for a sign-in in a window of its own, and then repeats the request.
// A request that may change something (POST and the like) is repeated only if
// session.repeat agrees, and none if another person has signed in. session has the events
// "signin", "ending" and "change", and the methods look, stay and signIn;
// <msauth-countdown> shows how long the session lasts. docs/recipes.md has the lines that a
// page needs, and the module's source, internal/script/msauth.js, each name.
//
// The page's Content-Security-Policy needs script-src and connect-src 'self', and nothing
// more; Trusted Types may be required. Browsers from 2023 on can run it.
func (m *Middleware) ScriptURL() string {
	return m.base.EscapedPath() + "/msauth.js?v=" + script.Version
}

// scriptFile serves BaseURL + "/msauth.js". It is the same for everybody: it reads no
// cookie, and nothing of the query but whether it is that of ScriptURL.
func (m *Middleware) scriptFile(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		m.wrongMethod(w, r, "GET, HEAD")
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	if r.URL.RawQuery == "v="+script.Version {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("ETag", `"`+script.Version+`"`)
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(script.Module))
}

// donePage is the one page of ours that a sign-in may lead to, below BaseURL.
const donePage = "/done"

// done serves BaseURL + "/done", where a sign-in ends that [Middleware.ScriptURL] has
// opened a window for. Its script tells the other tabs to look who is signed in, and closes
// the window.
func (m *Middleware) done(w http.ResponseWriter, r *http.Request) {
	web.Vary(w.Header(), "Cookie")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		m.wrongMethod(w, r, "GET, HEAD")
		return
	}
	if m.current(r) == nil {
		m.showPage(w, r, Page{
			Kind: "done", Status: http.StatusOK,
			TextID: "done-signed-out",
			Links:  []Link{{URL: m.LoginURL(LoginOptions{ReturnTo: m.base.EscapedPath() + donePage}), TextID: "sign-in"}, m.home()},
		})
		return
	}
	m.showPage(w, r, Page{
		Kind: "done", Status: http.StatusOK,
		TextID: "done",
		Links:  []Link{m.home()}, Script: m.ScriptURL(),
	})
}
