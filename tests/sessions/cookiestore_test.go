package sessions_test

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/sessions"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestCookieStoreKeepsValues(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("0123456789abcdef", 300)
	tests := []struct {
		name   string
		values map[any]any
		pieces int
	}{
		{"nothing", map[any]any{}, 1},
		{"kinds", map[any]any{"text": "ü", 7: 3.5, true: []byte{0, 255}, "flag": false}, 1},
		{"much", map[any]any{"big": big}, 2},
		{"flashes", map[any]any{"_flash": []any{"saved"}}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			store, err := msauth.NewCookieStore(testsite.NewKey())
			if err != nil {
				t.Fatal(err)
			}
			jar := map[string]string{}
			r := jarOf(jar, nil)
			session, err := store.Get(r, "cart")
			if err != nil || !session.IsNew || len(session.Values) != 0 {
				t.Fatalf("%v, %+v, want a new session", err, session)
			}
			maps.Copy(session.Values, test.values)
			w := httptest.NewRecorder()
			if err := sessions.Save(r, w); err != nil { // all that Get has given out
				t.Fatal(err)
			}
			form := regexp.MustCompile(`^__Host-cart(-1)?=[A-Za-z0-9_-]+; Path=/; Max-Age=604800; HttpOnly; Secure; SameSite=Lax$`)
			for _, line := range w.Header()["Set-Cookie"] {
				if !form.MatchString(line) || len(line) > 4093 {
					t.Errorf("line of %d bytes ...%s", len(line), line[max(0, len(line)-70):])
				}
			}
			r = jarOf(jar, w.Header())
			got, err := store.New(r, "cart")
			if err != nil || got.IsNew || fmt.Sprint(got.Values) != fmt.Sprint(test.values) || len(jar) != test.pieces {
				t.Errorf("%v, new %v, %d cookies, values %.100v, want %.100v in %d", err, got.IsNew, len(jar), got.Values, test.values, test.pieces)
			}

			// Smaller again, the second piece goes; deleted, all go.
			got.Values = map[any]any{"small": 1}
			w = httptest.NewRecorder()
			if err := got.Save(r, w); err != nil {
				t.Fatal(err)
			}
			r = jarOf(jar, w.Header())
			if got, _ := store.New(r, "cart"); len(jar) != 1 || got.Values["small"] != 1 || len(got.Values) != 1 {
				t.Errorf("%d cookies, values %v", len(jar), got.Values)
			}
			got.Options.MaxAge = -1
			w = httptest.NewRecorder()
			if err := got.Save(r, w); err != nil {
				t.Fatal(err)
			}
			if jarOf(jar, w.Header()); len(jar) != 0 {
				t.Errorf("%v is left", slices.Collect(maps.Keys(jar)))
			}
		})
	}
}

func TestCookieStoreEnforcesTheAge(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		maxAge int
		line   string
		lasts  time.Duration
	}{
		{"a minute", 60, "; Max-Age=60;", time.Minute},
		{"with the browser, a week at most", 0, "", 7 * 24 * time.Hour},
		{"ten years, 400 days at most", 10 * 365 * 86400, "; Max-Age=315360000;", 400 * 24 * time.Hour},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store, _ := msauth.NewCookieStore(testsite.NewKey())
				store.Options.MaxAge = test.maxAge
				jar := map[string]string{}
				r := jarOf(jar, nil)
				session, _ := store.New(r, "cart")
				session.Values["a"] = 1
				w := httptest.NewRecorder()
				if err := session.Save(r, w); err != nil {
					t.Fatal(err)
				}
				if line := w.Header().Get("Set-Cookie"); !strings.Contains(line, test.line) || test.line == "" && strings.Contains(line, "Max-Age") {
					t.Errorf("line %s, want %q", line, test.line)
				}
				r = jarOf(jar, w.Header())
				time.Sleep(test.lasts - time.Second)
				if got, _ := store.New(r, "cart"); got.IsNew || got.Values["a"] != 1 {
					t.Errorf("a second before its end: %+v", got)
				}
				time.Sleep(time.Second)
				if got, err := store.New(r, "cart"); err != nil || !got.IsNew || len(got.Values) != 0 {
					t.Errorf("at its end: %v, %+v", err, got)
				}
			})
		})
	}
}

func TestCookieStoreOpensOnlyItsOwn(t *testing.T) {
	t.Parallel()
	key := testsite.NewKey()
	make := func(keys ...[]byte) *msauth.CookieStore {
		store, err := msauth.NewCookieStore(keys...)
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	save := func(store *msauth.CookieStore, name string) string {
		session := sessions.NewSession(store, name)
		session.Values["a"] = 1
		w := httptest.NewRecorder()
		if err := store.Save(httptest.NewRequest("GET", "/", nil), w, session); err != nil {
			t.Fatal(err)
		}
		c, _ := http.ParseSetCookie(w.Header().Get("Set-Cookie"))
		return c.Value
	}
	good := save(make(key), "cart")
	s := testsite.NewInProcess(t, func(c *msauth.Config) { c.Keys = [][]byte{key} })
	msauthCookie := signedInCookies(s, t, msauthtest.Ada)[0].Value
	tests := []struct {
		name  string
		store *msauth.CookieStore
		value string
		want  bool
	}{
		{"its own", make(key), good, true},
		{"key in second place", make(testsite.NewKey(), key), good, true},
		{"key in third place", make(testsite.NewKey(), testsite.NewKey(), key), good, true},
		{"another key", make(testsite.NewKey()), good, false},
		{"value of another session's name", make(key), save(make(key), "basket"), false},
		{"value of the middleware, same key", make(key), msauthCookie, false},
		{"a byte changed", make(key), testsite.Flip(good, 10), false},
		{"cut", make(key), good[:len(good)-1], false},
		{"empty", make(key), "", false},
		{"garbage", make(key), "garbage", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Cookie", "__Host-cart="+test.value)
			got, err := test.store.New(r, "cart")
			if err != nil || got.IsNew == test.want || (got.Values["a"] == 1) != test.want {
				t.Errorf("%v, new %v, values %v", err, got.IsNew, got.Values)
			}
		})
	}
	if got := s.Ask(header(signedInCookies(s, t, msauthtest.Ada)[0].Name, good)).Body.String(); got != testsite.HelloNobody {
		t.Errorf("the middleware takes a value of the store: %q", got)
	}
}

func TestCookieStoreLimitsAndOptions(t *testing.T) {
	t.Parallel()
	save := func(name string, value any, change func(*msauth.CookieStore, *sessions.Session)) (http.Header, error) {
		store, err := msauth.NewCookieStore(testsite.NewKey())
		if err != nil {
			t.Fatal(err)
		}
		session, _ := store.New(httptest.NewRequest("GET", "/", nil), name)
		session.Values["v"] = value
		change(store, session)
		w := httptest.NewRecorder()
		return w.Header(), store.Save(httptest.NewRequest("GET", "/", nil), w, session)
	}
	nothing := func(*msauth.CookieStore, *sessions.Session) {}
	type unknown struct{ A int }
	tests := []struct {
		name    string
		session string
		value   any
		change  func(*msauth.CookieStore, *sessions.Session)
		want    string // in the line, or in the error after "error: "
	}{
		{"as it is", "cart", 1, nothing, "; Path=/; Max-Age=604800; HttpOnly; Secure; SameSite=Lax"},
		{"strict", "cart", 1, func(_ *msauth.CookieStore, s *sessions.Session) { s.Options.SameSite = http.SameSiteStrictMode }, "; Secure; SameSite=Strict"},
		{"none is not for us", "cart", 1, func(_ *msauth.CookieStore, s *sessions.Session) { s.Options.SameSite = http.SameSiteNoneMode }, "; Secure; SameSite=Lax"},
		{"weak options are ignored", "cart", 1, func(_ *msauth.CookieStore, s *sessions.Session) {
			s.Options = &sessions.Options{MaxAge: 60, Path: "/x", Domain: "example.com"}
		}, "; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax"},
		{"no options", "cart", 1, func(_ *msauth.CookieStore, s *sessions.Session) { s.Options = nil }, "; Max-Age=604800;"},
		{"insecure", "cart", 1, func(store *msauth.CookieStore, _ *sessions.Session) { store.InsecureCookies = true }, "; Path=/; Max-Age=604800; HttpOnly; SameSite=Lax"},
		{"too much", "cart", strings.Repeat("x", 5300), nothing, "error: where 7168 may be used"},
		{"not quite too much", "cart", strings.Repeat("x", 5000), nothing, "; SameSite=Lax"},
		{"a kind that gob does not know", "cart", unknown{1}, nothing, "error: gob"},
		{"no name", "", 1, nothing, "error: must be 1 to 40"},
		{"name with an equals sign", "a=b", 1, nothing, "error: must be 1 to 40"},
		{"name with a line break", "a\r\nSet-Cookie: b", 1, nothing, "error: must be 1 to 40"},
		{"long name", strings.Repeat("a", 41), 1, nothing, "error: must be 1 to 40"},
		{"name like a piece of another's", "cart-1", 1, nothing, "error: must not end in -1 to -9"},
		{"name that ends in a number", "cart-10", 1, nothing, "; SameSite=Lax"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h, err := save(test.session, test.value, test.change)
			if want, ok := strings.CutPrefix(test.want, "error: "); ok {
				if err == nil || !strings.Contains(err.Error(), want) || len(h["Set-Cookie"]) != 0 {
					t.Errorf("%v, %d lines, want an error with %q", err, len(h["Set-Cookie"]), want)
				}
				if strings.Contains(want, "7168") && !errors.Is(err, msauth.ErrCookieTooLarge) {
					t.Errorf("%v does not wrap ErrCookieTooLarge", err)
				}
				return
			}
			if line := h.Get("Set-Cookie"); err != nil || !strings.Contains(line, test.want) || strings.Contains(line, "Domain") {
				t.Errorf("%v, line ...%s, want %q", err, line[max(0, len(line)-70):], test.want)
			}
		})
	}
	for name, keys := range map[string][][]byte{"no key": nil, "short key": {testsite.NewKey()[:16]}, "key of zeros": {testsite.NewKey(), make([]byte, 32)}} {
		if _, err := msauth.NewCookieStore(keys...); err == nil || !strings.HasPrefix(err.Error(), "msauth: the list of keys ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCookiesOfTheStoreAndOfTheMiddlewareLiveSideBySide(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	store, _ := msauth.NewCookieStore(s.Cfg.Keys...)
	s.Mux.Handle("/count", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cart, err := store.Get(r, "cart")
		if err != nil {
			t.Error(err)
		}
		n, _ := cart.Values["n"].(int)
		cart.Values["n"] = n + 1
		if err := cart.Save(r, w); err != nil {
			t.Error(err)
		}
		testsite.Hello(w, r)
		fmt.Fprintf(w, " %d", n+1)
	})))
	b := s.Browser(t)
	s.As(msauthtest.Ada)
	for i := range 3 {
		if got, want := b.Get("/count").Text, fmt.Sprintf("%s %d", testsite.HelloAda, i+1); got != want {
			t.Errorf("page %q, want %q", got, want)
		}
	}
	b.Request("POST", "/auth/logout", testsite.OwnPage...)
	s.As(msauthtest.Ada)
	if got, want := b.Get("/count").Text, testsite.HelloAda+" 4"; got != want {
		t.Errorf("page %q after signing out and in, want %q", got, want)
	}
}

// What is opened only when somebody asks for a token is vouched for all the
// same whenever the session is read.
func TestHeadAndTailOfTwoSessionsNeverJoin(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	ada, other := signedInCookies(s, t, msauthtest.Ada)[0], signedInCookies(s, t, msauthtest.Ada)[0]
	bruno := signedInCookies(s, t, msauthtest.Bruno)[0]
	if got := s.Ask(header(ada.Name, ada.Value)).Body.String(); got != testsite.HelloAda {
		t.Fatalf("page %q", got)
	}
	head, tail, parted := strings.Cut(ada.Value, ".")
	_, otherTail, _ := strings.Cut(other.Value, ".")
	_, brunosTail, _ := strings.Cut(bruno.Value, ".")
	if !parted || len(head) > 700 || len(tail) < 1500 {
		t.Fatalf("a head of %d and a tail of %d characters", len(head), len(tail))
	}
	for name, value := range map[string]string{
		"tail of another session": head + "." + otherTail,
		"tail of another person":  head + "." + brunosTail,
		"no tail":                 head,
		"an empty tail":           head + ".",
		"two dots":                head + ".." + tail,
		"two tails":               head + "." + tail + "." + tail,
		"tail alone":              "1" + tail,
		"tail as the head":        "1" + tail + "." + head[1:],
		"tail cut":                head + "." + tail[:len(tail)-1],
		"tail longer":             head + "." + tail + "AAAA",
		"first byte of the tail":  head + "." + string(testsite.OtherCharacter(tail[0])) + tail[1:],
		"middle of the tail":      head + "." + tail[:900] + string(testsite.OtherCharacter(tail[900])) + tail[901:],
		"last byte of the tail":   head + "." + tail[:len(tail)-2] + string(testsite.OtherCharacter(tail[len(tail)-2])) + tail[len(tail)-1:],
	} {
		if got := s.Ask(header(ada.Name, value)).Body.String(); got != testsite.HelloNobody {
			t.Errorf("%s: page %q", name, got)
		}
	}
}

// A session that must be written smaller than it came, because the budget was
// lowered, gives up nothing that is not at hand afterwards.
func TestLoweredBudgetLosesNoToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 24 * time.Hour })
		s.RouteTokens()
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		token := b.Token()
		s.Restart(t, func(c *msauth.Config) { c.CookieBudget = 2000 })
		s.RouteTokens()
		s.MS.ResetCalls()
		time.Sleep(2 * time.Hour) // its use is noted
		if res := b.Get("/"); res.Text != testsite.HelloAda || len(res.Cookies()) != 1 || len(res.Cookies()[0].Value) > 2000 {
			t.Fatalf("page %q, cookies %v", res.Text, res.Cookies())
		}
		if got := b.Token(); got != token {
			t.Errorf("Token: %.40q, want the one of before", got)
		}
		s.WantNoCalls(t)
		time.Sleep(22 * time.Hour) // and the refresh token renews
		b.WantGreeting(testsite.HelloAda)
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
	})
}

func TestCookieStoreTakesAnyAge(t *testing.T) {
	t.Parallel()
	for _, age := range []int{400*86400 + 1, 1<<31 - 1, int(min(uint64(math.MaxInt), 300*365*86400)), math.MaxInt} {
		store, _ := msauth.NewCookieStore(testsite.NewKey())
		session, _ := store.New(httptest.NewRequest("GET", "/", nil), "cart")
		session.Values["v"], session.Options.MaxAge = 1, age
		w := httptest.NewRecorder()
		if err := store.Save(httptest.NewRequest("GET", "/", nil), w, session); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("; Max-Age=%d;", min(int64(age), 100*365*86400))
		if line := w.Header().Get("Set-Cookie"); !strings.Contains(line, want) {
			t.Errorf("age %d: the line is %s, want %s", age, line, want)
		}
		if got, _ := store.New(jarOf(map[string]string{}, w.Header()), "cart"); got.IsNew || got.Values["v"] != 1 {
			t.Errorf("age %d: the session does not come back", age)
		}
	}
}

// A handler may save more than once before it answers: what counts is the last.
func TestCookieStoreSavesTwiceInOneAnswer(t *testing.T) {
	t.Parallel()
	text := make([]byte, 2500)
	rand.Read(text)
	long := hex.EncodeToString(text) // two pieces
	for name, values := range map[string][]string{
		"shorter": {long, "short"}, "longer": {"short", long}, "deleted": {long, ""}, "deleted and saved": {long, "", "short"},
	} {
		store, _ := msauth.NewCookieStore(testsite.NewKey())
		r := httptest.NewRequest("GET", "/", nil)
		session, _ := store.New(r, "cart")
		w := httptest.NewRecorder()
		for _, value := range values {
			if session.Values["v"], session.Options.MaxAge = value, 600; value == "" {
				session.Options.MaxAge = -1
			}
			if err := store.Save(r, w, session); err != nil {
				t.Fatal(err)
			}
		}
		jar := map[string]string{}
		got, _ := store.New(jarOf(jar, w.Header()), "cart")
		last := values[len(values)-1]
		if want := map[bool]int{true: 2, false: min(len(last), 1)}[last == long]; len(jar) != want {
			t.Errorf("%s: the browser keeps %d cookies, want %d", name, len(jar), want)
		}
		if value, _ := got.Values["v"].(string); value != last {
			t.Errorf("%s: %.10q comes back, want %.10q", name, value, last)
		}
	}
}
