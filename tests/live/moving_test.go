package live_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// What stands from here to the first test is that of docs/live-sdk.md.

// A mover takes users of Live Connect along to today's sign-in. live and today have
// different BaseURLs, such as /live and /auth.
type mover struct {
	live, today *msauth.Middleware
	users       interface { // the site's table of users
		// ByAccount returns the user of an account of today, "" if there is none.
		ByAccount(ctx context.Context, account string) (user string, err error)
		// ByLive returns the user of an account of Live Connect, "" if there is none.
		ByLive(ctx context.Context, uid string) (user string, err error)
		// Link notes that an account of today is a user's. It fails if the user has
		// another one.
		Link(ctx context.Context, user, account string) error
	}
}

// onSignIn is Config.OnSignIn of today. It knows people by today's account or, the first
// time, by the session of Live Connect that the same browser has.
func (m *mover) onSignIn(_ http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
	user, err := m.users.ByAccount(r.Context(), in.Session.User.Key())
	if err != nil {
		return err
	}
	if user == "" && in.AppState != "" {
		before, ok := m.live.FromContext(r.Context())
		if !ok || in.AppState != "moving "+before.User.Subject {
			return errors.New("whom the link is for is not signed in at Live Connect")
		}
		if user, err = m.users.ByLive(r.Context(), before.User.Subject); err != nil {
			return err
		}
		if user != "" {
			if err := m.users.Link(r.Context(), user, in.Session.User.Key()); err != nil {
				return err
			}
		}
	}
	if user == "" {
		return errors.New("no user has this account")
	}
	in.AppData = user
	return nil
}

// routes mounts both. Whoever comes to /move signs in at Live Connect, is asked, and
// signs in once more at today's service, usually without a password.
func (m *mover) routes(mux *http.ServeMux) {
	mux.Handle("/live/", m.live)
	mux.Handle("/auth/", m.live.Load(m.today)) // onSignIn sees the session of Live Connect
	mux.Handle("/move", m.live.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := m.live.FromContext(r.Context())
		link := m.today.LoginURL(msauth.LoginOptions{ReturnTo: "/", AppState: "moving " + s.User.Subject, Prompt: "select_account"})
		fmt.Fprintf(w, `<p>Choose the same account once more. <a href="%s">Continue</a>`, strings.ReplaceAll(link, "&", "&amp;"))
	})))
}

// table is the site's table of users.
type table struct {
	mu              sync.Mutex
	byLive, byToday map[string]string
}

func (u *table) ByAccount(_ context.Context, account string) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.byToday[account], nil
}

func (u *table) ByLive(_ context.Context, uid string) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.byLive[uid], nil
}

func (u *table) Link(_ context.Context, user, account string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	for other, has := range u.byToday {
		if has == user && other != account {
			return errors.New("the user has another account")
		}
	}
	u.byToday[account] = user
	return nil
}

// A user whom the site knows by a uid of Live Connect signs in there once more, and from
// then on at today's service alone.
func TestUsersOfLiveConnectAreTakenAlong(t *testing.T) {
	t.Parallel()
	users := &table{byLive: map[string]string{}, byToday: map[string]string{}}
	m := &mover{users: users}
	s := testsite.New(t, func(c *msauth.Config) { c.OnSignIn = m.onSignIn })
	cfg := s.Cfg
	cfg.OnSignIn, cfg.Authority, cfg.BaseURL, cfg.MaxAge = nil, s.MS.LiveAuthority(), s.URL+"/live", 10*time.Minute
	var err error
	if m.live, err = msauth.New(cfg); err != nil {
		t.Fatal(err)
	}
	m.today = s.Auth
	mux := http.NewServeMux()
	m.routes(mux)
	mux.Handle("/{$}", m.today.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := m.today.FromContext(r.Context())
		fmt.Fprint(w, "user ", session.AppData)
	})))
	s.Current.Store(mux)

	token := s.MS.AuthenticationToken(msauthtest.Mia, "127.0.0.1", nil)
	u, err := m.live.VerifyAuthenticationToken(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	users.byLive[u.Subject] = "user 7"

	// Before: the account of today is nobody's.
	s.As(msauthtest.Mia)
	s.WantPage(t, s.Browser(t).Get("/"), http.StatusForbidden, "not-allowed", "no user has this account")

	linkFor := func(b *testsite.Browser) string {
		_, link, _ := strings.Cut(b.Get("/move").Text, `<a href="`)
		link, _, _ = strings.Cut(link, `"`)
		return strings.ReplaceAll(link, "&amp;", "&")
	}
	move := func(b *testsite.Browser) testsite.Seen { return b.Get(linkFor(b)) }
	const notFor = "whom the link is for is not signed in at Live Connect"

	// Nor does Eve's link, which a page of hers opens while Mia is signed in at Live
	// Connect.
	s.MS.SetUser(msauthtest.User{SignInName: "eve@outlook.example", Name: "Eve", TenantID: msauthtest.TenantPersonal})
	s.As("eve@outlook.example")
	link := linkFor(s.Browser(t))
	s.As(msauthtest.Mia)
	b := s.Browser(t)
	b.Get("/move")
	s.WantPage(t, b.Get(link), http.StatusForbidden, "not-allowed", notFor)

	b = s.Browser(t)
	if res := move(b); res.Text != "user user 7" {
		t.Fatalf("status %d, page %.200q; log:\n%s", res.StatusCode, res.Text, s.Log)
	}
	// Another browser, later, without Live Connect.
	s.MS.ResetCalls()
	if res := s.Browser(t).Get("/"); res.Text != "user user 7" {
		t.Errorf("later: status %d, page %.200q", res.StatusCode, res.Text)
	}
	for _, call := range s.MS.Calls(msauthtest.Authorize) {
		if strings.Contains(call.Path, "login.live.com") {
			t.Error("asks Live Connect again")
		}
	}

	// The link alone moves nobody: it needs a session at Live Connect in the same browser.
	s.As(msauthtest.Mia)
	link = linkFor(s.Browser(t))
	s.As("eve@outlook.example")
	s.WantPage(t, s.Browser(t).Get(link), http.StatusForbidden, "not-allowed", notFor)
	// A user who has an account of today gets no second one.
	s.As(msauthtest.Mia)
	again := s.Browser(t)
	link = linkFor(again)
	s.As("eve@outlook.example")
	s.WantPage(t, again.Get(link), http.StatusForbidden, "not-allowed", "the user has another account")
	// Nor does somebody whom the site did not know there.
	s.WantPage(t, move(s.Browser(t)), http.StatusForbidden, "not-allowed", "no user has this account")
	if len(users.byToday) != 1 {
		t.Errorf("links %v", users.byToday)
	}
}
