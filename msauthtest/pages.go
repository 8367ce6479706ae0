package msauthtest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed pages
var pageFiles embed.FS

var (
	style     = mustRead("pages/style.css")
	templates = func() map[string]*template.Template {
		base := template.Must(template.ParseFS(pageFiles, "pages/layout.html"))
		all := map[string]*template.Template{}
		for _, name := range []string{"pick", "confirm", "approval", "error", "signedout", "welcome"} {
			all[name] = template.Must(template.Must(base.Clone()).ParseFS(pageFiles, "pages/"+name+".html"))
		}
		return all
	}()

	// No form-action: browsers would apply it to the redirects after the form
	// is posted, which lead to the app and wherever the app redirects.
	contentSecurityPolicy = func() string {
		sum := sha256.Sum256([]byte(style))
		return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
	}()
)

// openerPolicy has the pages that people see while they sign in. Those of Microsoft have been
// reported since February 2026 to cut a window off from the page that has opened it. Nothing
// is known of redirects without a page, of B2C or of Live Connect: these do the same here.
var openerPolicy = map[string]bool{"pick": true, "confirm": true, "approval": true, "error": true}

func mustRead(name string) string {
	b, err := pageFiles.ReadFile(name)
	if err != nil {
		panic("msauthtest: " + err.Error())
	}
	return string(b)
}

// A page is the data of the layout template.
type page struct {
	Title string
	Data  any
}

// Style returns the style element. The policy contains the hash of its content.
func (page) Style() template.HTML { return template.HTML("<style>" + style + "</style>") }

func render(w http.ResponseWriter, status int, name string, p page) {
	var b bytes.Buffer
	if err := templates[name].ExecuteTemplate(&b, "layout.html", p); err != nil {
		http.Error(w, "msauthtest: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	if name == "signedout" {
		h.Set("Content-Security-Policy", contentSecurityPolicy+"; frame-src http: https:")
	}
	h.Set("X-Frame-Options", "DENY")
	if openerPolicy[name] {
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
	}
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// A face is a person on a page.
type face struct {
	User
	Kind     string
	Initials string
	Color    string
	SignedIn bool
	Hinted   bool
}

func faceOf(u User) face {
	return face{User: u, Kind: u.kind(), Initials: initials(u), Color: tints[colorIndex(u)].css}
}

// pick shows the sign-in page.
func (e *exchange) pick(w http.ResponseWriter, req authRequest, session map[string]ssoAccount, problem string) {
	hinted, _ := e.user(req.hint)
	var faces []face
	for _, u := range e.Users() {
		f := faceOf(u)
		_, f.SignedIn = session[strings.ToLower(u.SignInName)]
		f.Hinted = u.SignInName == hinted.SignInName
		faces = append(faces, f)
	}
	rank := func(f face) int {
		switch {
		case f.Hinted:
			return 0
		case e.domainHinted(req.domain, f.User):
			return 1
		}
		return 2
	}
	slices.SortStableFunc(faces, func(a, b face) int { return cmp.Compare(rank(a), rank(b)) })
	status := http.StatusOK
	if problem != "" {
		status = http.StatusForbidden
	}
	render(w, status, "pick", page{Title: "Pick an account", Data: map[string]any{
		"Action":  "/" + e.tenant.name + "/signin",
		"Request": req.query,
		"App":     req.app(),
		"Scopes":  req.scopes,
		"Faces":   faces,
		"Problem": problem,
		"ACRS":    req.demand.acrs,
		"MFA":     req.demand.mfa,
	}})
}

// appName is the name of the app in tokens and errors.
const appName = "Local test app"

// app returns the name of the app on pages.
func (req authRequest) app() string {
	if u, err := url.Parse(req.redirect); err == nil {
		return u.Host
	}
	return req.redirect
}

// confirm asks a person for consent to permissions that they have not granted
// yet, and for a stronger sign-in if one is required.
func (e *exchange) confirm(w http.ResponseWriter, req authRequest, session map[string]ssoAccount, u User) {
	f := faceOf(u)
	account, signedIn := session[strings.ToLower(u.SignInName)]
	f.SignedIn = signedIn
	var scopes []string
	if has(req.prompt, "consent") {
		scopes = req.scopes
	} else {
		for _, p := range needsConsent(e.lacking(u, req.scopes)) {
			scopes = append(scopes, p.text())
		}
	}
	stronger := !req.demand.met(account.mfa, account.acrs)
	title := "Permissions requested"
	if len(scopes) == 0 {
		title = "Approve the sign-in"
	}
	render(w, http.StatusOK, "confirm", page{Title: title, Data: map[string]any{
		"Title":   title,
		"Action":  "/" + e.tenant.name + "/signin",
		"Request": req.query,
		"App":     req.app(),
		"Scopes":  scopes,
		"Face":    f,
		"ACRS":    req.demand.acrs,
		"MFA":     stronger,
	}})
}

// needApproval shows that only an administrator can grant the requested
// permissions.
func (e *exchange) needApproval(w http.ResponseWriter, req authRequest, u User, lacks []permission) {
	var scopes []string
	for _, p := range needsConsent(lacks) {
		if e.apis.listed(e.behavior.AdminScopes, p) {
			scopes = append(scopes, p.text())
		}
	}
	render(w, http.StatusForbidden, "approval", page{Title: "Need admin approval", Data: map[string]any{
		"Action":  "/" + e.tenant.name + "/signin",
		"Request": req.query,
		"App":     req.app(),
		"Scopes":  scopes,
		"Face":    faceOf(u),
	}})
}

func (e *exchange) domainHinted(hint string, u User) bool {
	switch hint = strings.ToLower(hint); hint {
	case "":
		return false
	case "organizations":
		return !u.personal()
	case "consumers":
		return u.personal()
	}
	return hint == u.domain()
}

// failPage shows a failure that must not, or need not, be sent to the app.
func (e *exchange) failPage(w http.ResponseWriter, _ *http.Request, f Failure) {
	switch e.tenant.family {
	case b2c:
		f = e.complete(f).asB2C()
	case live:
		f = e.asLive(f)
	default:
		f = e.complete(f)
	}
	number := ""
	if len(f.Codes) > 0 && e.tenant.family != plain {
		number = "AADSTS" + strconv.Itoa(f.Codes[0])
	}
	render(w, f.Status, "error", page{Title: "We cannot sign you in", Data: map[string]any{
		"Number":      number,
		"Text":        f.Description,
		"Trace":       newGUID(),
		"Correlation": newGUID(),
		"Time":        timestamp(time.Now()),
	}})
}

// explain serves the page that error_uri refers to.
func (e *exchange) explain(w http.ResponseWriter, r *http.Request) {
	code, _ := strconv.Atoi(r.URL.Query().Get("code"))
	known, ok := errorTable[code]
	if !ok {
		http.NotFound(w, r)
		return
	}
	render(w, http.StatusOK, "error", page{Title: "What the number means", Data: map[string]any{
		"Number": "AADSTS" + strconv.Itoa(code),
		"Text":   strings.ReplaceAll(known.text, "%s", "…"),
	}})
}

// welcome serves the page at /.
func (e *exchange) welcome(w http.ResponseWriter, _ *http.Request) {
	var faces []face
	for _, u := range e.Users() {
		faces = append(faces, faceOf(u))
	}
	render(w, http.StatusOK, "welcome", page{Title: "A local Microsoft", Data: map[string]any{
		"URL":   e.URL,
		"Faces": faces,
	}})
}
