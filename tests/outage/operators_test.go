package outage_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// wantRefusal checks that one refusal of a kind is counted, and that its line
// says what it says. attrs are texts of that line.
func wantRefusal(s *testsite.Site, t *testing.T, kind string, attrs ...string) {
	t.Helper()
	if got := s.Auth.Stats().Refused; len(got) != 1 || got[kind] != 1 {
		t.Errorf("refusals %v, want one of kind %s", got, kind)
	}
	lines := s.Log.With(" refused=" + kind + " ")
	if len(lines) != 1 {
		t.Fatalf("lines %q, want one refusal of kind %s; log:\n%s", lines, kind, s.Log)
	}
	for _, attr := range attrs {
		if !strings.Contains(lines[0], attr) {
			t.Errorf("the line %q lacks %s", lines[0], attr)
		}
	}
	if strings.Contains(lines[0], "secret-of-the-query") {
		t.Errorf("the line %q has the query of the page", lines[0])
	}
}

func TestRefusalsSayWhoWasRefusedWhereAndWhy(t *testing.T) {
	t.Parallel()
	const (
		page  = "/guarded?q=secret-of-the-query"
		group = "0b1f4ae6-0000-4000-8000-000000000001"
		ada   = " username=ada@contoso.example"
	)
	guarded := func(require func(*msauth.Middleware) func(http.Handler) http.Handler) func(*testing.T, *testsite.Site, *testsite.Browser) {
		return func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
			b.SignIn(msauthtest.Ada)
			s.Guard("/guarded", require(s.Auth))
			if res := b.Get(page); res.StatusCode != http.StatusForbidden {
				t.Errorf("status %d, page %q", res.StatusCode, res.Text)
			}
		}
	}
	here := func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		s.As(msauthtest.Ada)
		if res := b.Get(page); res.StatusCode != http.StatusForbidden {
			t.Errorf("status %d, page %q", res.StatusCode, res.Text)
		}
	}
	for _, test := range []struct {
		kind, name string
		change     func(*msauth.Config)
		behave     func(*msauthtest.Behavior)
		refuse     func(t *testing.T, s *testsite.Site, b *testsite.Browser)
		want       []string
	}{
		{kind: "on_sign_in", change: func(c *msauth.Config) {
			c.OnSignIn = func(http.ResponseWriter, *http.Request, *msauth.SignIn) error { return errors.New("no licence") }
		}, refuse: here, want: []string{`err="no licence"`, "event=sign_in_refused", ada, " path=/guarded ", " user="}},
		{kind: "tenant", name: "AllowedTenants", change: func(c *msauth.Config) { c.AllowedTenants = []string{msauthtest.TenantFabrikam} },
			refuse: here, want: []string{msauthtest.TenantContoso, "event=sign_in_refused", ada, " path=/guarded ", " user="}},
		{kind: "tenant", refuse: guarded(func(m *msauth.Middleware) func(http.Handler) http.Handler {
			return m.RequireTenant(msauthtest.TenantFabrikam)
		}), want: []string{`err="missing tenant: ` + msauthtest.TenantFabrikam, "event=access_refused", ada, " path=/guarded ", " user="}},
		{kind: "role", refuse: guarded(func(m *msauth.Middleware) func(http.Handler) http.Handler { return m.RequireRole("Admin", "Owner") }),
			want: []string{`err="missing role: Admin or Owner"`, "event=access_refused", ada, " path=/guarded ", " user="}},
		{kind: "group", refuse: guarded(func(m *msauth.Middleware) func(http.Handler) http.Handler { return m.RequireGroup(group) }),
			want: []string{`err="missing group: ` + group, "event=access_refused", ada, " path=/guarded "}},
		{kind: "scope", behave: func(b *msauthtest.Behavior) { b.WithholdScopes = []string{"Calendars.Read"} },
			refuse: guarded(func(m *msauth.Middleware) func(http.Handler) http.Handler { return m.RequireScopes("Calendars.Read") }),
			want:   []string{`err="scopes not granted: Calendars.Read"`, "event=access_refused", ada, " path=/guarded "}},
		{kind: "auth_context", behave: func(b *msauthtest.Behavior) { b.IgnoreClaims = true },
			refuse: guarded(func(m *msauth.Middleware) func(http.Handler) http.Handler { return m.RequireAuthContext("c1") }),
			want:   []string{`err="missing authentication context: `, "event=access_refused", ada, " path=/guarded "}},
		{kind: "fresh_sign_in", behave: func(b *msauthtest.Behavior) { b.OmitAuthTime = true },
			refuse: guarded(func(m *msauth.Middleware) func(http.Handler) http.Handler { return m.RequireFreshSignIn(time.Minute) }),
			want:   []string{"auth_time is missing", "event=sign_in_refused", ada, " path=/guarded "}},
		{kind: "claims", refuse: func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
			b.SignIn(msauthtest.Ada)
			s.Mux.Handle("/guarded", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s.Auth.Challenge(w, r, &msauth.AuthError{Class: msauth.ClassStepUp})
			})))
			if res := b.Get(page); res.StatusCode != http.StatusForbidden {
				t.Errorf("status %d, page %q", res.StatusCode, res.Text)
			}
		}, want: []string{"missing sign-in that a handler asked for", "event=access_refused", ada, " path=/guarded "}},
		{kind: "provider", refuse: func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
			s.MS.Set(func(b *msauthtest.Behavior) {
				b.Fail[msauthtest.Authorize] = []msauthtest.Failure{{Error: "access_denied", Description: "AADSTS50105: not assigned to a role for the application"}}
			})
			here(t, s, b)
		}, want: []string{"AADSTS50105", "event=sign_in_refused", " path=/guarded "}},
		{kind: "connect", change: testsite.OfItsOwn(testsite.NewTokens()), refuse: func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
			s.Mux.Handle("/guarded", s.Auth.Connect("/public/settings"))
			b.Request(http.MethodPost, page, "Sec-Fetch-Site", "same-origin", "Origin", s.URL)
		}, want: []string{"nobody is signed in to the app", "event=access_refused", " path=/guarded "}},
		{kind: "account_taken", change: testsite.OfItsOwn(testsite.NewTokens()), refuse: func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
			s.Mux.Handle("/connect", s.Auth.Connect(page))
			s.As(msauthtest.Ada)
			for _, user := range []string{"zoe", "yan"} {
				b.Keep("app", user)
				b.Connect()
			}
		}, want: []string{"event=sign_in_refused", ada, " path=/guarded "}},
		{kind: "junk", name: "no state", refuse: func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
			b.Get("/auth/callback?code=secret-of-the-query")
		},
			want: []string{"level=INFO", "event=sign_in_refused", " path=/auth/callback "}},
		{kind: "junk", name: "malformed", refuse: func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
			b.Get("/auth/callback?state=1&state=2&code=3")
		},
			want: []string{"level=INFO", "state is repeated"}},
		{kind: "junk", name: "not ours", refuse: func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
			b.Get("/auth/callback?state=af0ifjsldkj&code=3")
		},
			want: []string{"level=INFO", "event=sign_in_refused"}},
	} {
		t.Run(test.kind+" "+test.name, func(t *testing.T) {
			t.Parallel()
			change := test.change
			if change == nil {
				change = func(*msauth.Config) {}
			}
			s := testsite.New(t, change)
			if test.behave != nil {
				s.MS.Set(test.behave)
			}
			test.refuse(t, s, s.Browser(t))
			wantRefusal(s, t, test.kind, test.want...)
		})
	}
}

// requestLog adds to each line the id of the request that it is about, as
// handlers of the app's do that read it from the context.
type requestLog struct{ slog.Handler }

type requestID struct{}

func (h requestLog) Handle(ctx context.Context, r slog.Record) error {
	if id, ok := ctx.Value(requestID{}).(string); ok {
		r.AddAttrs(slog.String("request", id))
	}
	return h.Handler.Handle(ctx, r)
}

func TestLogLinesHaveTheContextOfTheirRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &testsite.LogBuffer{}
		kept := testsite.NewTokens()
		s := testsite.NewInProcess(t, testsite.OfItsOwn(kept), func(c *msauth.Config) {
			c.Logger = slog.New(requestLog{slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})})
		})
		s.Mux.Handle("/connect", s.Auth.Connect("/public/settings"))
		s.Guard("/admin", s.Auth.RequireRole("Admin"))
		log.Mu.Lock()
		log.B.Reset() // what is logged before is about no request
		log.Mu.Unlock()
		site := s.Mux
		counted := http.NewServeMux()
		counted.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			site.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestID{}, r.URL.Path)))
		})
		s.Current.Store(counted)

		b, other := s.Browser(t), s.Browser(t)
		b.SignIn(msauthtest.Ada)
		b.Get("/admin")
		b.Get("/auth/callback")
		b.Keep("app", "zoe")
		b.Connect()
		time.Sleep(time.Hour + 50*time.Minute)
		b.Get("/")
		kept.Set(func(string) error { return io.ErrUnexpectedEOF })
		other.Keep("app", "yan")
		other.Connect()
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{
				{Error: "invalid_client", Codes: []int{7000222}}, {Error: "invalid_grant", Codes: []int{50173}}}
		})
		time.Sleep(time.Hour + 50*time.Minute)
		b.Get("/")
		time.Sleep(time.Hour)
		b.Get("/")
		synctest.Wait()
		b.SignIn(msauthtest.Ada)
		b.Request(http.MethodPost, "/auth/logout", "Sec-Fetch-Site", "same-origin", "Origin", s.URL)

		for _, event := range []string{"sign_in", "sign_out", "access_refused", "sign_in_refused", "connected", "renewal", "session_ended", "app_misconfigured"} {
			if len(log.With("event="+event+" ")) == 0 {
				t.Errorf("no line of event %s", event)
			}
		}
		for line := range strings.Lines(log.String()) {
			if !strings.Contains(line, " request=/") {
				t.Errorf("the line is not about a request: %s", line)
			}
		}
		s.WantNoSecrets(t, "the log", log.String())
	})
}

func TestStatsAreACopy(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.Browser(t).Get("/auth/callback")
	before := s.Auth.Stats().Refused
	s.Browser(t).Get("/auth/callback")
	if before["junk"] != 1 || !slices.Equal(slices.Collect(maps.Keys(before)), []string{"junk"}) {
		t.Errorf("counts %v, want one of junk", before)
	}
	clear(s.Auth.Stats().Refused)
	if got := s.Auth.Stats().Refused["junk"]; got != 2 {
		t.Errorf("%d of junk, want 2", got)
	}
}

// Two replicas with different keys: the page and the log name what may be wrong,
// and the lines of their starts can be compared.
func TestReplicasWithDifferentKeys(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	back := b.Attempt("/a")
	first := s.Cfg.Keys[0]
	other := testsite.NewKey()
	s.Restart(t, func(c *msauth.Config) { c.Keys = [][]byte{other} })
	res := b.Get(back)
	b.WantRefused(res, 400, "start-again", "a key that this server lacks")
	if !strings.Contains(res.Text, "do not share their keys") {
		t.Errorf("page %q", res.Text)
	}
	wantRefusal(s, t, "foreign_state", "level=INFO")
	// What does not look like one of ours gets no such hint.
	for _, state := range []string{"af0ifjsldkj", strings.Repeat("a%20", 100), strings.Repeat("A", 2000)} {
		res := b.Get("/auth/callback?code=1&state=" + state)
		if strings.Contains(res.Text, "keys") != (len(state) == 2000) {
			t.Errorf("state of %d characters: page %q", len(state), res.Text)
		}
	}

	s.Restart(t, func(c *msauth.Config) { c.Keys = [][]byte{other, first} })
	if res := b.Get(back); res.Kind() != "start-again" && res.Text != testsite.HelloAda {
		t.Errorf("page %q", res.Text)
	}
	starts := s.Log.With("event=start ")
	if len(starts) != 3 {
		t.Fatalf("lines %q, want one for each start", starts)
	}
	ids := regexp.MustCompile(`key_ids="?([0-9a-f]{8}(?: [0-9a-f]{8})*)"?\n`)
	var got []string
	for _, line := range starts {
		match := ids.FindStringSubmatch(line)
		if match == nil || !strings.Contains(line, "level=INFO") {
			t.Fatalf("the line %q names no keys", line)
		}
		got = append(got, match[1])
	}
	if got[0] == got[1] || got[2] != got[1]+" "+got[0] {
		t.Errorf("the keys are called %q", got)
	}
	// The id is no part of a key, nor of what a plain digest of one begins with.
	for _, key := range s.Cfg.Keys {
		sum := sha256.Sum256(key)
		for _, text := range []string{hex.EncodeToString(key), hex.EncodeToString(sum[:])} {
			for _, id := range strings.Fields(got[2]) {
				if strings.Contains(text, id) {
					t.Errorf("the id %s tells of the key", id)
				}
			}
		}
	}
}

// A store's own limit is no fault of the person who signs in.
func TestStoreLimitIsTheSitesFault(t *testing.T) {
	t.Parallel()
	store := testsite.NewFiles(t)
	store.MaxLength(4096) // gorilla's default
	s := testsite.New(t, func(c *msauth.Config) { c.Store = store })
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	res := b.Get("/")
	b.WantRefused(res, 500, "app-error", "MaxLength(0)")
	if strings.Contains(res.Text, "account") || !strings.Contains(res.Text, "You did nothing wrong") {
		t.Errorf("page %q blames the person", res.Text)
	}
	if line := s.Log.With("page=app-error")[0]; !strings.Contains(line, "SetMaxLength(0)") || !strings.Contains(line, "level=ERROR") {
		t.Errorf("the line %q does not name the cure", line)
	}
	store.MaxLength(0)
	b.SignIn(msauthtest.Ada)
}

func TestNewSpeaksPlainly(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*msauth.Config){
		"msauth: Config.Keys cannot be used: Keys[0] has 31 bytes, want 32 random bytes (is it still encoded?)": func(c *msauth.Config) { c.Keys = [][]byte{testsite.NewKey()[:31]} },
		"msauth: Config.Keys cannot be used: Keys[1] is the same byte 32 times, want 32 random bytes":           func(c *msauth.Config) { c.Keys = append(c.Keys, make([]byte, 32)) },
		"msauth: Config.Keys is empty: want at least one key of 32 random bytes, or set KeyFiles":               func(c *msauth.Config) { c.Keys = nil },
		"msauth: Config.MaxAge is 401 days: must be at most 400 days":                                           func(c *msauth.Config) { c.MaxAge = 401 * 24 * time.Hour },
		"msauth: Config.MaxAge is 1 second: must be at least 1 minute":                                          func(c *msauth.Config) { c.MaxAge = time.Second },
		"msauth: Config.IdleTimeout is 30 seconds: must be at least 1 minute":                                   func(c *msauth.Config) { c.IdleTimeout = 30 * time.Second },
		"msauth: Config.RecheckAfter is 1.5s: must be at least 1 minute":                                        func(c *msauth.Config) { c.RecheckAfter = 1500 * time.Millisecond },
		"msauth: Config.IdleTimeout is negative: must be at least 1 minute":                                     func(c *msauth.Config) { c.IdleTimeout = -time.Hour },
	} {
		cfg := testsite.LeastConfig()
		change(&cfg)
		if _, err := msauth.New(cfg); err == nil || err.Error() != want {
			t.Errorf("New returns %v, want %s", err, want)
		}
	}
}
