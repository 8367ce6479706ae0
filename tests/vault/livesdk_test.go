package vault_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// What stands from here to the first test is that of docs/live-sdk.md.

// fromLive is what the constructor LiveAuthClient(clientId, clientSecret,
// redirectUri, refreshTokenHandler) was told.
func fromLive(clientID, clientSecret string, key []byte, handler msauth.TokenStore) msauth.Config {
	return msauth.Config{
		ClientID: clientID, ClientSecret: clientSecret,
		BaseURL: "https://app.example.com/auth", // the redirect URI is this and "/callback"
		Tenant:  "consumers",                    // personal accounts, as with the Live SDK
		Scopes:  []string{"User.Read", "Files.ReadWrite"},
		Keys:    [][]byte{key}, // seal the cookies, and what handler keeps
		Tokens:  handler,
	}
}

// welcome greets people, and shows those who are signed in their files.
func welcome(auth *msauth.Middleware, graph string) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("/auth/", auth) // the callback, ExchangeAuthCodeAsync, is in here
	mux.Handle("/{$}", auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, ok := msauth.FromContext(r.Context()) // InitializeWebSessionAsync
		if !ok {
			login := auth.LoginURL(msauth.LoginOptions{ReturnTo: "/files", UILocales: "fr-CA fr"}) // GetLoginUrl
			fmt.Fprintf(w, `<a href="%s">Sign in with Microsoft</a>`, html.EscapeString(login))
			return
		}
		fmt.Fprintf(w, `<p>Hello, %s. <a href="%s">Sign out</a>`, html.EscapeString(s.User.Name), auth.LogoutURL())
	})))
	mux.Handle("/files", auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		names, err := topFolder(r.Context(), s, graph)
		switch {
		case auth.Challenge(w, r, err): // only the user can help, and is asked
		case err != nil:
			http.Error(w, "OneDrive cannot be read right now.", http.StatusBadGateway)
		default:
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			fmt.Fprintln(w, strings.Join(names, "\n"))
		}
	})))
	return mux
}

// topFolder reads the name of a person, GetAsync("me"), and those of their files,
// GetAsync("me/skydrive/files").
func topFolder(ctx context.Context, s *msauth.Session, graph string) ([]string, error) {
	me, err := read[struct{ DisplayName string }](s.Client(ctx).Get(graph + "/me"))
	if err != nil {
		return nil, err
	}
	list, err := read[struct{ Value []struct{ Name string } }](s.Client(ctx).Get(graph + "/me/drive/root/children?$top=100"))
	names := []string{me.DisplayName}
	for _, item := range list.Value {
		names = append(names, item.Name)
	}
	return names, err
}

// read decodes an answer of Graph: LiveOperationResult.Result, with types.
func read[T any](res *http.Response, err error) (answer T, _ error) {
	if err != nil {
		return answer, err
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		return answer, fmt.Errorf("Graph answers %s", res.Status)
	}
	err = json.NewDecoder(res.Body).Decode(&answer)
	return answer, err
}

// move puts an item into another folder: MoveAsync.
func move(ctx context.Context, s *msauth.Session, graph, item, folder string) error {
	body, err := json.Marshal(map[string]any{"parentReference": map[string]string{"id": folder}})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, graph+"/me/drive/items/"+url.PathEscape(item), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	_, err = read[struct{}](s.Client(ctx).Do(req))
	return err
}

// memory is a TokenStore that forgets everything when the process ends.
type memory struct {
	mu      sync.Mutex
	entries map[string]msauth.StoredTokens // by user as auth.StoredUser writes it, never nil
	prefix  string                         // auth.StoredUser(""), once auth is made
}

// Load is RetrieveRefreshTokenAsync, with a user.
func (m *memory) Load(_ context.Context, user string) (msauth.StoredTokens, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.entries[user]
	if !ok {
		return t, msauth.ErrNoTokens
	}
	return t, nil
}

// Save is SaveRefreshTokenAsync. It refuses what would undo the work of another
// process, and an account that is somebody else's.
func (m *memory) Save(_ context.Context, user string, old int64, t msauth.StoredTokens) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.entries[user].Version != old {
		return msauth.ErrConflict
	}
	for other, e := range m.entries {
		if other != user && e.Account == t.Account && !e.Shared && !t.Shared {
			return msauth.ErrAccountTaken
		}
	}
	m.entries[user] = t
	return nil
}

// Delete has no counterpart in IRefreshTokenHandler.
func (m *memory) Delete(_ context.Context, user string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, user)
	return nil
}

// UserOf is the user whose account it is, not shared, or msauth.ErrNoTokens. What
// is stored begins with the app's registration, which is cut off.
func (m *memory) UserOf(_ context.Context, account string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for stored, e := range m.entries {
		if user, ok := strings.CutPrefix(stored, m.prefix); ok && e.Account == m.prefix+account && !e.Shared {
			return user, nil
		}
	}
	return "", msauth.ErrNoTokens
}

// forEach does work in the name of each user, whether they are there or not:
// InitializeSessionAsync, which took no request either. It tells those who must
// sign in again.
func forEach(ctx context.Context, auth *msauth.Middleware, users []string, work func(context.Context, *msauth.Session) error, notify func(user string)) error {
	var failures []error
	for _, user := range users {
		s, err := auth.Offline(ctx, user)
		if err == nil {
			err = work(ctx, s)
		}
		switch {
		case errors.Is(err, msauth.ErrNoTokens): // has disconnected
		case errors.Is(err, msauth.ErrSignInRequired):
			notify(user)
		case err != nil: // the next run may succeed
			failures = append(failures, fmt.Errorf("user %s: %w", user, err))
		}
	}
	return errors.Join(failures...)
}

// connecting adds to a site with users of its own what connects a Microsoft
// account to them and disconnects it. userOf is Config.User too.
func connecting(mux *http.ServeMux, auth *msauth.Middleware, userOf func(*http.Request) string) {
	members := func(h func(w http.ResponseWriter, r *http.Request, user string)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			user := userOf(r)
			if user == "" { // nobody: nothing is kept under that
				http.Error(w, "Sign in to this site first.", http.StatusForbidden)
				return
			}
			h(w, r, user)
		}
	}
	mux.Handle("POST /connect", auth.Connect("/settings"))
	disconnect := members(func(w http.ResponseWriter, r *http.Request, user string) {
		if err := auth.Disconnect(r.Context(), user); err != nil {
			http.Error(w, "Nothing has changed. Try again in a moment.", http.StatusServiceUnavailable)
			return
		}
		http.Redirect(w, r, "/settings", http.StatusSeeOther)
	})
	mux.Handle("POST /disconnect", http.NewCrossOriginProtection().Handler(disconnect))
	mux.HandleFunc("GET /settings", members(func(w http.ResponseWriter, r *http.Request, user string) {
		status, err := connection(r.Context(), auth, user)
		if err != nil {
			http.Error(w, "Your settings cannot be read right now.", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, `<p>Microsoft account: %s`, html.EscapeString(status))
	}))
}

// connection is the LiveConnectSessionStatus of one of the app's users.
func connection(ctx context.Context, auth *msauth.Middleware, user string) (string, error) {
	s, err := auth.Offline(ctx, user)
	switch {
	case errors.Is(err, msauth.ErrNoTokens):
		return "not connected", nil
	case errors.Is(err, msauth.ErrSignInRequired):
		return "connect it again", nil
	case err != nil:
		return "", err
	}
	return s.User.Username, nil
}

// link is for Config.OnSignIn: it finds the app's user who has connected the
// account that signs in.
func link(userOf func(ctx context.Context, account string) (user string, err error)) func(http.ResponseWriter, *http.Request, *msauth.SignIn) error {
	return func(_ http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
		if in.Connecting {
			return nil // UserKey is the app's user, who is still there
		}
		user, err := userOf(r.Context(), in.Session.User.Key())
		if err != nil {
			return err // msauth.ErrNoTokens: nobody here has connected this account
		}
		in.UserKey, in.AppData = user, user
		return nil
	}
}

// leave forgets the refresh token of a person, and signs them out here and at
// Microsoft: ClearSession and GetLogoutUrl.
func leave(auth *msauth.Middleware) http.Handler {
	forget := func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		if err := auth.Disconnect(r.Context(), s.User.Key()); err != nil {
			http.Error(w, "Nothing has changed. Try again in a moment.", http.StatusServiceUnavailable)
			return
		}
		auth.Logout(w, r) // what the link LogoutURL does
	}
	return http.NewCrossOriginProtection().Handler(auth.Require(http.HandlerFunc(forget)))
}

func TestLiveSDKGuideIsTheCodeThatIsTested(t *testing.T) {
	t.Parallel()
	testsite.WantInDocument(t, "docs/live-sdk.md", "livesdk_test.go", 15)
}

// live makes a site as docs/live-sdk.md does, in process.
func live(t *testing.T, changes ...func(*msauth.Config)) (*testsite.Site, *memory) {
	t.Helper()
	kept := &memory{entries: map[string]msauth.StoredTokens{}}
	s := testsite.NewInProcess(t, append([]func(*msauth.Config){func(c *msauth.Config) {
		guide := fromLive(c.ClientID, c.ClientSecret, c.Keys[0], kept)
		guide.BaseURL, guide.Authority, guide.HTTPClient, guide.Logger = c.BaseURL, c.Authority, c.HTTPClient, c.Logger
		*c = guide
	}}, changes...)...)
	kept.prefix = s.Auth.StoredUser("")
	s.Mux = welcome(s.Auth, liveGraph)
	s.Current.Store(s.Mux)
	return s, kept
}

const (
	liveGraph = "http://localhost:9/v1.0"
	mias      = "Mia Müller\nAttachments\nDocuments\n"
)

// href is the first link of a page.
func href(t *testing.T, page string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, `href="`)
	link, _, _ := strings.Cut(rest, `"`)
	if !ok {
		t.Fatalf("no link in %q", page)
	}
	return html.UnescapeString(link)
}

func TestLiveSDKSignInLeadsToTheFiles(t *testing.T) {
	t.Parallel()
	s, kept := live(t)
	s.As(msauthtest.Mia)
	b := s.Browser(t)
	res := b.Get(href(t, b.Get("/").Text))
	if res.Request.URL.Path != "/files" || !strings.HasPrefix(res.Text, mias) {
		t.Fatalf("page %.200q at %s; log:\n%s", res.Text, res.Request.URL, s.Log)
	}
	if asked := s.Asked(t); asked.Get("ui_locales") != "fr-CA fr" || !strings.Contains(asked.Get("scope"), "Files.ReadWrite") {
		t.Errorf("asked for %q", asked)
	}
	if got, want := b.Get("/").Text, `<p>Hello, Mia Müller. <a href="/auth/logout">Sign out</a>`; got != want {
		t.Errorf("page %q, want %q", got, want)
	}
	if len(kept.entries) != 1 {
		t.Errorf("kept: %d entries", len(kept.entries))
	}
	// Graph is out of order, and then wants more of the person.
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.Fail[msauthtest.Graph] = []msauthtest.Failure{{Status: 500}}
	})
	if res := b.Get("/files"); res.StatusCode != http.StatusBadGateway {
		t.Errorf("out of order: status %d", res.StatusCode)
	}
	s.MS.Revoke(msauthtest.Mia)
	s.MS.Challenge(msauthtest.Challenge{})
	if res := b.Still().Get("/files"); res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(res.Header.Get("Location"), s.MS.URL) {
		t.Errorf("revoked: status %d, to %q; log:\n%s", res.StatusCode, res.Header.Get("Location"), s.Log)
	}
}

func TestLiveSDKMovesAFile(t *testing.T) {
	t.Parallel()
	s, _ := live(t)
	s.As(msauthtest.Mia)
	s.Browser(t).Get("/files")
	ctx := context.Background()
	mia := offline(s, t, only(s, t))
	find := func(path string) string {
		t.Helper()
		item, err := read[struct{ ID string }](mia.Client(ctx).Get(liveGraph + "/me/drive/root:/" + path))
		if err != nil {
			t.Fatal(err)
		}
		return item.ID
	}
	if err := move(ctx, mia, liveGraph, find("Measurements.csv"), find("Documents")); err != nil {
		t.Fatal(err)
	}
	find("Documents/Measurements.csv")
	if err := move(ctx, mia, liveGraph, "nothing", find("Documents")); err == nil {
		t.Error("nothing was moved, without an error")
	}
}

// only is the one user for whom tokens are kept.
func only(s *testsite.Site, t *testing.T) string {
	t.Helper()
	kept := s.Cfg.Tokens.(*memory)
	for stored := range kept.entries {
		return strings.TrimPrefix(stored, kept.prefix)
	}
	t.Fatalf("nothing is kept; log:\n%s", s.Log)
	return ""
}

func TestLiveSDKSignsOut(t *testing.T) {
	t.Parallel()
	s, kept := live(t)
	s.Mux.Handle("POST /leave", leave(s.Auth))
	s.As(msauthtest.Mia)
	b := s.Browser(t)
	b.Get("/files")
	if res := b.Request(http.MethodPost, "/leave", "Sec-Fetch-Site", "cross-site"); res.StatusCode != http.StatusForbidden || len(kept.entries) != 1 {
		t.Errorf("for another site: status %d, %d entries", res.StatusCode, len(kept.entries))
	}
	if res := b.Request(http.MethodPost, "/leave", "Sec-Fetch-Site", "same-origin"); res.Kind() != "signed-out" {
		t.Errorf("page %.200q at %s", res.Text, res.Request.URL)
	}
	s.WantCalls(t, msauthtest.Logout, 1)
	if len(kept.entries) != 0 || len(b.Session()) != 0 {
		t.Errorf("left: %d entries, %d cookies", len(kept.entries), len(b.Session()))
	}
}
