// Command signin is a site whose pages depend on the status of the visitor's Live
// Connect session, as those of the sample AuthWithMSAccount of the Live SDK for
// ASP.NET did. It also shows single sign-on to another part of the site.
//
//	go run ./example/live/signin
//
// Without configuration it runs on a local stand-in for Live Connect, so that you
// can try it without an account. If LIVE_CLIENT_ID and the other variables described
// in package livesite are set, it runs on https://login.live.com.
//
// What to copy is in this file (pages that branch on the status) and in token.go
// (another part of the site, which is brought an authentication token). The Live
// Connect data API, apis.live.net/v5.0, ended on 1 November 2018: the pages show what
// the tokens say, and do not call it.
package main

import (
	"embed"
	"log/slog"
	"net/http"

	"example.com/msauth"
	"example.com/msauth/example/live/internal/livesite"
)

//go:embed templates
var files embed.FS

var pages = livesite.NewPages(files, "home", "skydrive", "calendar", "token")

var program = livesite.Program{Name: "Signing in with Live Connect", Command: "go run ./example/live/signin", Site: newSite}

func main() { program.Main() }

type site struct {
	livesite.Site
	other string // URL of the other part of the site
}

// newSite returns the handler of the whole site, and the Middleware in it.
func newSite(set *livesite.Settings, log *slog.Logger) (http.Handler, *msauth.Middleware, error) {
	// set.Auth has the Authority "https://login.live.com" and, while the client
	// secret is being changed, two Credentials with their versions. The scopes are
	// the default: wl.basic, wl.signin and wl.offline_access.
	auth, err := msauth.New(set.Auth)
	if err != nil {
		return nil, nil, err
	}
	other, err := newOther(set.Auth, log)
	if err != nil {
		return nil, nil, err
	}
	s := &site{livesite.Site{Set: set, Auth: auth, Log: log, Pages: pages}, set.HomeURL() + "other"}

	mux := http.NewServeMux()
	mux.Handle(set.Mount, auth) // "/auth/": login, callback, logout, signed-out

	// Pages for everybody, which ask for the status.
	mux.Handle("GET /{$}", auth.Load(s.Page(s.home)))
	mux.Handle("GET /skydrive", auth.Load(s.Page(s.skydrive)))

	// Pages that send visitors to Microsoft: to sign in, or to grant a scope.
	mux.Handle("GET /calendar", auth.RequireScopes("wl.calendars")(s.Page(s.calendar)))
	mux.Handle("GET /token", auth.Require(s.Page(s.tokenPage)))
	mux.Handle("POST /token", http.NewCrossOriginProtection().Handler(auth.Require(s.Page(s.bringToken))))

	mux.Handle("POST /other", other)
	return s.Handler(mux, ""), auth, nil
}

// links are where a page leads people to sign in.
type links struct {
	Status   msauth.SessionStatus
	LoginURL string
}

// login returns a link that leads to Microsoft and back to a page, also if the person
// declines. The page must be for everybody.
func (s *site) login(page string, scopes ...string) string {
	return s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: page, ReturnDeclined: true, Scopes: scopes})
}

// home is what default.aspx was: it branches on the LiveConnectSessionStatus.
func (s *site) home(w http.ResponseWriter, r *http.Request) error {
	status, title := s.Auth.Status(r), ""
	switch status {
	case msauth.StatusConnected:
		title = "You are signed in"
	case msauth.StatusExpired: // as this request brought it: the next one may be StatusUnknown
		title = "Your session has ended"
	case msauth.StatusNotConnected:
		title = "You did not connect"
	case msauth.StatusUnknown:
		title = "Sign in"
	}
	return s.Show(w, r, http.StatusOK, livesite.View{Page: "home", Title: title, Data: links{status, s.login("/")}})
}

// skydrive needs one more scope. The page asks for it by a link, and goes on
// without it.
func (s *site) skydrive(w http.ResponseWriter, r *http.Request) error {
	return s.Show(w, r, http.StatusOK, livesite.View{Page: "skydrive", Title: "SkyDrive",
		Data: links{s.Auth.Status(r, "wl.skydrive"), s.login("/skydrive", "wl.skydrive")}})
}

// calendar needs one more scope, too. RequireScopes asks for it before the page is
// shown at all, and shows a page of its own to people who decline.
func (s *site) calendar(w http.ResponseWriter, r *http.Request) error {
	return s.Show(w, r, http.StatusOK, livesite.View{Page: "calendar", Title: "Calendar"})
}
