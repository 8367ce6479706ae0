// Command connect is a site with users of its own, who connect a Microsoft account, so
// that the site can act for them while they are away. The sample
// ConnectAppUserWithMSAccount of the Live SDK for ASP.NET did the same.
//
//	go run ./example/live/connect
//
// Without configuration it runs on a local stand-in for Live Connect, so that you
// can try it without an account. If LIVE_CLIENT_ID and the other variables described
// in package livesite are set, it runs on https://login.live.com.
//
// What to copy is in this file (connecting, disconnecting, acting for somebody) and in
// store.go (what IRefreshTokenHandler was). The users in users.go are two, and keep
// nothing: the program forgets everything when it ends. The Live Connect data API,
// apis.live.net/v5.0, ended on 1 November 2018: the pages show what the tokens say, and
// do not call it.
package main

import (
	"context"
	"embed"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"example.com/msauth"
	"example.com/msauth/example/live/internal/livesite"
)

//go:embed templates
var files embed.FS

var pages = livesite.NewPages(files, "home", "sign-in")

var program = livesite.Program{Name: "Connecting a Microsoft account", Command: "go run ./example/live/connect", Site: newSite}

func main() { program.Main() }

type site struct {
	livesite.Site
	users *users
}

// newSite returns the handler of the whole site, and the Middleware in it.
func newSite(set *livesite.Settings, log *slog.Logger) (http.Handler, *msauth.Middleware, error) {
	users, err := newUsers(set)
	if err != nil {
		return nil, nil, err
	}
	c := set.Auth
	c.Tokens = &memory{entries: map[string]msauth.StoredTokens{}}
	c.User = users.of
	// Users sign in to this site by its own means. Without this hook, anybody could
	// sign in with Microsoft at /auth/login, to a session that the site ignores.
	c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
		if !in.Connecting {
			return errors.New("this site has no sign-in with Microsoft")
		}
		return nil
	}
	auth, err := msauth.New(c)
	if err != nil {
		return nil, nil, err
	}
	microsoft, err := url.Parse(c.Authority)
	if err != nil {
		return nil, nil, err
	}
	s := &site{livesite.Site{Set: set, Auth: auth, Log: log, Pages: pages}, users}

	mux := http.NewServeMux()
	mux.Handle(set.Mount, auth) // "/auth/": the way back from Microsoft
	mux.Handle("POST /connect", auth.Connect("/"))
	mux.Handle("GET /{$}", s.Page(s.home))
	for pattern, h := range map[string]func(http.ResponseWriter, *http.Request) error{
		"POST /sign-in": s.signIn, "POST /sign-out": s.signOut,
		"POST /disconnect": s.member(s.disconnect), "POST /away": s.member(s.actWhileAway),
	} {
		mux.Handle(pattern, http.NewCrossOriginProtection().Handler(s.Page(h)))
	}
	// The answer to the form "connect" redirects to Microsoft, to which browsers apply
	// form-action.
	return s.Handler(mux, microsoft.Scheme+"://"+microsoft.Host), auth, nil
}

// member is for what only users of the site can do.
func (s *site) member(h func(w http.ResponseWriter, r *http.Request, user string) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if user := s.users.of(r); user != "" {
			return h(w, r, user)
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return nil
	}
}

// A connection is how a user of the site stands towards Microsoft.
type connection struct {
	Status  string          // "connected", "not connected" or "connect again"
	Session *msauth.Session // of a user who is connected
	Work    *work           // what has just been done for the user
}

// work is what was done without the person.
type work struct{ Begins, Until time.Time }

// connection asks the store, and not Microsoft: a connection that Microsoft no longer
// accepts is noticed when somebody uses it.
func (s *site) connection(ctx context.Context, user string) (c connection, err error) {
	session, err := s.Auth.Offline(ctx, user)
	switch {
	case errors.Is(err, msauth.ErrNoTokens):
		return connection{Status: "not connected"}, nil
	case errors.Is(err, msauth.ErrSignInRequired):
		return connection{Status: "connect again"}, nil
	}
	return connection{Status: "connected", Session: session}, err
}

func (s *site) home(w http.ResponseWriter, r *http.Request) error {
	user := s.users.of(r)
	if user == "" {
		return s.signInPage(w, r, http.StatusOK, "")
	}
	c, err := s.connection(r.Context(), user)
	if err != nil {
		return err
	}
	return s.Show(w, r, http.StatusOK, livesite.View{Page: "home", Title: "Hello, " + user, User: user, Data: c})
}

func (s *site) disconnect(w http.ResponseWriter, r *http.Request, user string) error {
	if err := s.Auth.Disconnect(r.Context(), user); err != nil {
		return err
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

// actWhileAway does what a worker would do at night: it takes nothing of the request
// but the user's name.
func (s *site) actWhileAway(w http.ResponseWriter, r *http.Request, user string) error {
	done, err := act(r.Context(), s.Auth, user)
	if err != nil && !errors.Is(err, msauth.ErrNoTokens) && !errors.Is(err, msauth.ErrSignInRequired) {
		return err
	}
	c, err := s.connection(r.Context(), user) // says what the person has to do, if anything
	if err != nil {
		return err
	}
	c.Work = done
	return s.Show(w, r, http.StatusOK, livesite.View{Page: "home", Title: "Hello, " + user, User: user, Data: c})
}

// act gets an access token for a user, which is renewed first if it is due. With it,
// a worker called the Live Connect data API.
func act(ctx context.Context, auth *msauth.Middleware, user string) (*work, error) {
	session, err := auth.Offline(ctx, user)
	if err != nil {
		return nil, err
	}
	token, err := session.Token(ctx)
	if err != nil {
		return nil, err
	}
	return &work{Begins: time.Now(), Until: token.Expiry}, nil
}
