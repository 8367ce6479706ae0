// Command script is a page whose script shows who is signed in, as that of the sample
// AjaxClient of the Live SDK for ASP.NET did. The Live SDK's library for scripts read
// the tokens from a cookie; here, no token ever reaches the script. It asks the site,
// which answers in JSON with the statuses of that library: connected, notConnected,
// unknown, expired.
//
//	go run ./example/live/script
//
// Without configuration it runs on a local stand-in for Live Connect, so that you
// can try it without an account. If LIVE_CLIENT_ID and the other variables described
// in package livesite are set, it runs on https://login.live.com.
//
// What to copy is in this file and in static/script.js. The Live Connect data API,
// apis.live.net/v5.0, ended on 1 November 2018, and with it the name that the sample
// greeted people by: the tokens have an ID only.
package main

import (
	"embed"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"example.com/msauth"
	"example.com/msauth/example/live/internal/livesite"
)

//go:embed templates static
var files embed.FS

var pages = livesite.NewPages(files, "home")

var program = livesite.Program{Name: "A script and Live Connect", Command: "go run ./example/live/script", Site: newSite}

func main() { program.Main() }

type site struct{ livesite.Site }

// newSite returns the handler of the whole site, and the Middleware in it.
func newSite(set *livesite.Settings, log *slog.Logger) (http.Handler, *msauth.Middleware, error) {
	auth, err := msauth.New(set.Auth)
	if err != nil {
		return nil, nil, err
	}
	s := &site{livesite.Site{Set: set, Auth: auth, Log: log, Pages: pages}}

	mux := http.NewServeMux()
	mux.Handle(set.Mount, auth) // "/auth/": login, callback, logout, signed-out

	// The page is the same for everybody. It is not inside Load, which would delete
	// the cookie of a session that is over before the script could ask for its status.
	mux.Handle("GET /{$}", s.Page(s.home))

	// Load answers always, Require with 401 and login_url if nobody is signed in.
	mux.Handle("GET /api/status", auth.Load(http.HandlerFunc(s.status)))
	mux.Handle("GET /api/me", auth.Require(http.HandlerFunc(s.me)))
	return s.Handler(mux, ""), auth, nil
}

// links are those of the page.
type links struct{ LoginURL, LogoutURL string }

func (s *site) home(w http.ResponseWriter, r *http.Request) error {
	return s.Show(w, r, http.StatusOK, livesite.View{Page: "home", Data: links{
		s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/", ReturnDeclined: true}), s.Auth.LogoutURL(),
	}})
}

// status is what WL.getLoginStatus asked for.
func (s *site) status(w http.ResponseWriter, r *http.Request) {
	answer := struct {
		Status msauth.SessionStatus `json:"status"`
		User   string               `json:"user,omitempty"`
	}{Status: s.Auth.Status(r)}
	if session, ok := msauth.FromContext(r.Context()); ok && answer.Status == msauth.StatusConnected {
		answer.User = session.User.Subject
	}
	write(w, answer)
}

// me is for people who are signed in: WL.getSession, without the tokens.
func (s *site) me(w http.ResponseWriter, r *http.Request) {
	session, _ := msauth.FromContext(r.Context())
	write(w, struct {
		User   string    `json:"user"`
		Scopes []string  `json:"scopes"`
		Ends   time.Time `json:"ends"`
	}{session.User.Subject, session.Scopes(), session.Ends()})
}

func write(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(answer)
}
