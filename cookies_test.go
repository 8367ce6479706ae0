package msauth_test

import (
	"cmp"
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
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/sessions"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// lines are the Set-Cookie lines of an answer, by name.
func lines(h http.Header) map[string]string {
	found := map[string]string{}
	for _, line := range h["Set-Cookie"] {
		name, _, _ := strings.Cut(line, "=")
		found[name] = line
	}
	return found
}

func TestEveryCookieHasTheStrictAttributes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		form := regexp.MustCompile(`^__Host-msauth-[A-Za-z0-9]{6}(|-[1-9]|-ok|-to|-login-[0-9a-f]{16})=[A-Za-z0-9_.-]*; Path=/; Max-Age=(\d+); HttpOnly; Secure; SameSite=Lax$`)
		s := newSiteInProcess(t, func(c *msauth.Config) { c.CookieBudget = 7168 })
		s.ms.Set(func(b *msauthtest.Behavior) { b.GroupClaims, b.RefreshIn = true, 30*time.Minute })
		s.as(msauthtest.Grace)
		b := s.browser(t)
		check := func(what string, res seen, want map[string]int) {
			t.Helper()
			got := map[string]int{}
			for _, line := range res.Header["Set-Cookie"] {
				m := form.FindStringSubmatch(line)
				if m == nil || len("Set-Cookie: ")+len(line) > 4096 {
					t.Errorf("%s: line of %d bytes %.100s...%s", what, len(line), line, line[max(0, len(line)-60):])
					continue
				}
				kind := m[1]
				if strings.HasPrefix(kind, "-login-") {
					kind = "-login"
				}
				got[kind], _ = strconv.Atoi(m[2])
			}
			if !maps.Equal(got, want) || len(res.Header["Set-Cookie"]) != len(want) {
				t.Errorf("%s: cookies and their ages %v, want %v", what, got, want)
			}
		}
		const week = 7 * 24 * 3600
		still := b.still()
		check("start", still.get("/"), map[string]int{"-login": 1800})
		check("sign-in", still.get(b.attempt("/")), map[string]int{"-login": 0, "-ok": 20, "": week, "-1": week})
		check("first page", still.get("/"), map[string]int{"-ok": 0})
		check("next page", still.get("/"), map[string]int{})
		time.Sleep(31 * time.Minute)
		check("renewal", still.get("/"), map[string]int{"": week - 31*60, "-1": week - 31*60})
		b.attempt("/auth/login") // not finished
		check("sign-out", still.do("POST", "/auth/logout", ownPage...), map[string]int{"": 0, "-1": 0, "-login": 0})
		b.keep(cookieBase(t, s), "1garbage")
		check("garbage", still.get("/public/"), map[string]int{"": 0})
	})
}

// cookieBase is the name of a site's session cookie.
func cookieBase(t *testing.T, s *site) string {
	t.Helper()
	for name := range lines(s.browser(t).still().get("/").Header) {
		if base, _, ok := strings.Cut(name, "-login-"); ok {
			return base
		}
	}
	t.Fatal("no attempt was begun")
	return ""
}

func TestCookieNames(t *testing.T) {
	t.Parallel()
	one, two := newSiteInProcess(t), newSiteInProcess(t)
	if cookieBase(t, one) == cookieBase(t, two) {
		t.Error("two apps have the same cookie") // ports of one host share a jar
	}
	named := newSiteInProcess(t, func(c *msauth.Config) { c.CookieName = "shop" })
	if got := cookieBase(t, named); got != "__Host-shop" {
		t.Errorf("name %q, want __Host-shop", got)
	}
	before := cookieBase(t, one)
	one.restart(t, func(c *msauth.Config) { c.Keys = [][]byte{newKey()} })
	if got := cookieBase(t, one); got != before {
		t.Errorf("name %q after a restart with other keys, was %q", got, before)
	}
}

func TestCookieThatGoesWithTheBrowser(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t, func(c *msauth.Config) { c.SessionCookie = true })
		s.as(msauthtest.Ada)
		b := s.browser(t)
		for _, line := range lines(b.still().get(b.attempt("/")).Header) {
			if sessionCookie.MatchString(line[:strings.Index(line, "=")]) && (strings.Contains(line, "Max-Age") || strings.Contains(line, "Expires")) {
				t.Errorf("line ...%s, want no age", line[len(line)-60:])
			}
		}
		b.wantGreeting(helloAda)
		time.Sleep(24 * time.Hour) // ages all the same
		b.wantGreeting(helloNobody)
	})
}

func TestInsecureCookies(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t, func(c *msauth.Config) { c.BaseURL, c.InsecureCookies = "http://intranet.test/auth", true })
	s.URL = "http://intranet.test"
	s.wire.(inProcess)["intranet.test"] = s
	s.as(msauthtest.Ada)
	b := s.browser(t)
	// The local Microsoft takes http for loopback hosts only.
	s.ms.Set(func(b *msauthtest.Behavior) { b.RedirectURIs = []string{"http://intranet.test/auth/callback"} })
	res := b.still().get(b.attempt("/"))
	for name, line := range lines(res.Header) {
		if strings.HasPrefix(name, "__Host-") || strings.Contains(line, "Secure") || !strings.Contains(line, "; HttpOnly; SameSite=Lax") {
			t.Errorf("line %.20s...%s", line, line[len(line)-40:])
		}
	}
	b.wantGreeting(helloAda)
	if len(s.log.with("level=WARN")) != 1 || len(s.log.with("InsecureCookies")) != 1 {
		t.Errorf("log %s, want a warning", s.log)
	}
}

// Safari's engine keeps no Secure cookie on http://localhost.
func TestCookiesGoByTheSchemeOfBaseURL(t *testing.T) {
	t.Parallel()
	names := map[string]string{}
	for _, base := range []string{"http://localhost:8080", "http://localhost:8081", "http://127.0.0.1:8080", "https://localhost:8080"} {
		s := newSiteInProcess(t, func(c *msauth.Config) { c.BaseURL = base + "/auth" })
		s.URL = base
		scheme, host, _ := strings.Cut(base, "://")
		s.wire.(inProcess)[host] = s
		s.as(msauthtest.Ada)
		b := s.browser(t)
		back := b.attempt("/")
		res := b.still().get(back)
		set := lines(res.Header)
		if len(set) != 3 { // session, marker, and the attempt's deletion
			t.Errorf("%s: %d cookies, want 3", base, len(set))
		}
		for name, line := range set {
			if strings.HasPrefix(name, "__Host-") != (scheme == "https") || strings.Contains(line, "; Secure") != (scheme == "https") ||
				!strings.Contains(line, "; HttpOnly; ") || !strings.Contains(line, "; SameSite=Lax") || !strings.Contains(line, "; Path=/; ") {
				t.Errorf("%s: line %.20s...%s", base, line, line[len(line)-60:])
			}
		}
		b.wantGreeting(helloAda)
		for _, c := range b.cookies() {
			if len(c.Value) < 500 {
				continue
			}
			plain := strings.TrimPrefix(c.Name, "__Host-")
			if other := names[plain]; other != "" {
				t.Errorf("%s and %s call their sessions %s", base, other, plain)
			}
			names[plain] = base
			// Only one form is read: "__Host-" promises nothing if the other is.
			for _, name := range []string{plain, "__Host-" + plain} {
				want := helloNobody
				if name == c.Name {
					want = helloAda
				}
				if got := s.ask(header(name, c.Value)).Body.String(); got != want {
					t.Errorf("%s: %s shows %q, want %q", base, name, got, want)
				}
			}
		}
	}
	if len(names) != 4 {
		t.Errorf("%d sessions, want 4", len(names))
	}
}

// ask sends a Cookie header to a public page, with nothing in between.
func (s *site) ask(cookie ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "https://app.test/public/", nil)
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	for _, c := range cookie {
		r.Header.Add("Cookie", c)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// signedInCookies signs a person in and returns the cookies of the session.
func (s *site) signedInCookies(t *testing.T, person string) []*http.Cookie {
	t.Helper()
	b := s.browser(t)
	b.signIn(person)
	return b.session()
}

// header writes a Cookie header, and pairs in the same form.
func header(pairs ...string) string {
	var parts []string
	for i := 0; i < len(pairs); i += 2 {
		parts = append(parts, pairs[i]+"="+pairs[i+1])
	}
	return strings.Join(parts, "; ")
}

// splitSite has people whose session takes two cookies.
func splitSite(t *testing.T, changes ...func(*msauth.Config)) *site {
	t.Helper()
	s := newSiteInProcess(t, append(changes, func(c *msauth.Config) { c.CookieBudget = 7168 })...)
	s.ms.Set(func(b *msauthtest.Behavior) { b.GroupClaims = true })
	return s
}

const helloGrace = "hello Grace Achterberg"

func TestEveryByteOfTheCookieCounts(t *testing.T) {
	t.Parallel()
	s := splitSite(t)
	for _, person := range []string{msauthtest.Ada, msauthtest.Grace} {
		cookies := s.signedInCookies(t, person)
		if want := map[string]int{msauthtest.Ada: 1, msauthtest.Grace: 2}[person]; len(cookies) != want {
			t.Fatalf("%s has %d cookies, want %d", person, len(cookies), want)
		}
		write := func(change func(piece int, value string) string) string {
			var pairs []string
			for i, c := range cookies {
				pairs = append(pairs, c.Name, change(i, c.Value))
			}
			return header(pairs...)
		}
		whole := write(func(_ int, v string) string { return v })
		if got := s.ask(whole).Body.String(); got == helloNobody {
			t.Fatal("the unchanged session does not open")
		}
		bad := func(what string, cookie string) {
			t.Helper()
			w := s.ask(cookie)
			if w.Code != 200 || w.Body.String() != helloNobody {
				t.Fatalf("%s: status %d, page %q", what, w.Code, w.Body)
			}
			if len(lines(w.Header())) == 0 && strings.Contains(cookie, "=") {
				t.Fatalf("%s: nothing is cleared", what)
			}
		}
		for i, c := range cookies {
			for at := range c.Value {
				bad(fmt.Sprintf("piece %d, byte %d", i, at), write(func(piece int, v string) string {
					if piece != i {
						return v
					}
					return flip(v, at)
				}))
			}
			for _, n := range append([]int{0, 1, 2, 27, 28, 29, 37, 38, 39, 40}, len(c.Value)/2, len(c.Value)-4, len(c.Value)-3, len(c.Value)-2, len(c.Value)-1) {
				bad(fmt.Sprintf("piece %d cut to %d", i, n), write(func(piece int, v string) string {
					if piece != i {
						return v
					}
					return v[:n]
				}))
			}
			for _, extra := range []string{"A", "AA", "AAAA", "=", "==", "%3D", ".", " A", strings.Repeat("A", 64<<10)} {
				bad(fmt.Sprintf("piece %d extended by %.5q", i, extra), write(func(piece int, v string) string {
					if piece != i {
						return v
					}
					return v + extra
				}))
			}
			for _, other := range []string{"", "1", "9", "0", "x", "*", "1!", strings.Repeat("A", 64<<10), "1" + strings.Repeat("A", 64<<10), "\"" + c.Value + "\"", "%31" + c.Value[1:], "1" + c.Value} {
				bad(fmt.Sprintf("piece %d replaced by %.10q", i, other), write(func(piece int, v string) string {
					if piece != i {
						return v
					}
					return other
				}))
			}
		}
		for count := '0'; count <= '9'; count++ {
			if byte(count) != cookies[0].Value[0] {
				bad("count "+string(count), write(func(piece int, v string) string {
					if piece > 0 {
						return v
					}
					return string(count) + v[1:]
				}))
			}
		}
	}
	if n := len(s.log.with("level=ERROR")); n != 0 {
		t.Errorf("%d lines at level Error", n)
	}
}

func TestPiecesOfTheCookie(t *testing.T) {
	t.Parallel()
	s := splitSite(t)
	a, b := s.signedInCookies(t, msauthtest.Grace), s.signedInCookies(t, msauthtest.Grace)
	ada, mia := s.signedInCookies(t, msauthtest.Ada), s.signedInCookies(t, msauthtest.Mia)
	if len(a) != 2 || len(b) != 2 || len(ada) != 1 || len(mia) != 1 {
		t.Fatalf("%d, %d and %d cookies", len(a), len(b), len(ada))
	}
	base, name1 := a[0].Name, a[1].Name
	tests := []struct {
		name    string
		cookies []string // Cookie lines
		want    string
		cleared string // numbers of the pieces, "0" for the first
	}{
		{"as it should be", []string{header(base, a[0].Value, name1, a[1].Value)}, helloGrace, ""},
		{"other order", []string{header(name1, a[1].Value, base, a[0].Value)}, helloGrace, ""},
		{"a line each", []string{header(base, a[0].Value), header(name1, a[1].Value)}, helloGrace, ""},
		{"no space between", []string{base + "=" + a[0].Value + ";" + name1 + "=" + a[1].Value}, helloGrace, ""},
		{"much space and tabs between", []string{" \t" + base + "=" + a[0].Value + " \t ;\t\t" + name1 + "=" + a[1].Value + " ;;; "}, helloGrace, ""},
		{"among others", []string{header("x", "1", base, a[0].Value, "y", "2", name1, a[1].Value, "z", "3")}, helloGrace, ""},
		{"first missing", []string{header(name1, a[1].Value)}, helloNobody, "1"},
		{"last missing", []string{header(base, a[0].Value)}, helloNobody, "0"},
		{"exchanged", []string{header(base, a[1].Value, name1, a[0].Value)}, helloNobody, "0 1"},
		{"first of one, last of another session", []string{header(base, a[0].Value, name1, b[1].Value)}, helloNobody, "0 1"},
		{"first of another", []string{header(base, b[0].Value, name1, a[1].Value)}, helloNobody, "0 1"},
		{"first of another person", []string{header(base, ada[0].Value, name1, a[1].Value)}, "hello Ada Lindqvist", "1"},
		{"one too many", []string{header(base, a[0].Value, name1, a[1].Value, base+"-2", "stale")}, helloGrace, "2"},
		{"many too many", []string{header(base, a[0].Value, name1, a[1].Value, base+"-2", "stale", base+"-9", "x")}, helloGrace, "2 9"},
		{"piece 0", []string{header(base, a[0].Value, name1, a[1].Value, base+"-0", "x")}, helloGrace, ""},
		{"piece 10", []string{header(base, a[0].Value, name1, a[1].Value, base+"-10", "x")}, helloGrace, ""},
		{"piece 1 again", []string{header(base, a[0].Value, name1, a[1].Value, name1, "evil")}, helloGrace, ""},
		{"piece 1 planted before", []string{header(base, a[0].Value, name1, "evil", name1, a[1].Value)}, helloNobody, "0 1"},
		{"piece number in another script", []string{header(base, a[0].Value, base+"-١", a[1].Value)}, helloNobody, "0"},
		{"number with a zero", []string{header(base, a[0].Value, base+"-01", a[1].Value)}, helloNobody, "0"},

		{"one, planted before", []string{header(base, "1evil", base, ada[0].Value)}, helloAda, ""},
		{"three planted before", []string{header(base, "1a", base, "", base, "2", base, ada[0].Value)}, helloAda, ""},
		{"four planted before", []string{header(base, "1a", base, "1b", base, "1c", base, "1d", base, ada[0].Value)}, helloNobody, "0"},
		{"planted after", []string{header(base, ada[0].Value, base, "1evil")}, helloAda, ""},
		{"planted on a line of its own", []string{header(base, "1evil"), header(base, ada[0].Value)}, helloAda, ""},
		{"session of another person planted before", []string{header(base, ada[0].Value, base, a[0].Value, name1, a[1].Value)}, helloAda, "1"},
		{"session of another person beside it", []string{header(base, ada[0].Value, base, mia[0].Value)}, helloNobody, "0"},
		{"session of another person beside it, after garbage", []string{header(base, "1evil", base, mia[0].Value), header(base, ada[0].Value)}, helloNobody, "0"},
		{"the same session twice", []string{header(base, ada[0].Value, base, ada[0].Value)}, helloAda, ""},
		{"pieces do not join a later first one", []string{header(base, "1evil", base, a[0].Value, name1, a[1].Value)}, helloNobody, "0 1"},

		{"name in lower case", []string{header(strings.ToLower(base), ada[0].Value)}, helloNobody, ""},
		{"name in upper case", []string{header(strings.ToUpper(base), ada[0].Value)}, helloNobody, ""},
		{"name without its prefix", []string{header(strings.TrimPrefix(base, "__Host-"), ada[0].Value)}, helloNobody, ""},
		{"name with a space", []string{base + " =" + ada[0].Value}, helloNobody, ""},
		{"name that begins with it", []string{header(base+"x", ada[0].Value)}, helloNobody, ""},
		{"name alone", []string{base}, helloNobody, ""},
		{"quoted", []string{header(base, `"`+ada[0].Value+`"`)}, helloNobody, "0"},
		{"preceded by a vertical tab", []string{"\v" + header(base, ada[0].Value)}, helloNobody, ""},
		{"nothing", nil, helloNobody, ""},
		{"only separators", []string{";;; ; =;="}, helloNobody, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := s.ask(test.cookies...)
			if got := w.Body.String(); w.Code != 200 || got != test.want {
				t.Errorf("status %d, page %q, want %q", w.Code, got, test.want)
			}
			var cleared []string
			for name, line := range lines(w.Header()) {
				if strings.Contains(line, "Max-Age=0;") {
					cleared = append(cleared, cmp.Or(strings.TrimPrefix(strings.TrimPrefix(name, base), "-"), "0"))
				}
			}
			slices.Sort(cleared)
			if got := strings.Join(cleared, " "); got != test.cleared {
				t.Errorf("cleared %q, want %q", got, test.cleared)
			}
		})
	}
}

func TestCookiesOfOthersReachTheApp(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t)
	ada := s.signedInCookies(t, msauthtest.Ada)[0]
	var pairs []string
	for i := range 50 {
		pairs = append(pairs, fmt.Sprintf("theirs%d", i), strconv.Itoa(i))
	}
	pairs = append(pairs, ada.Name+"x", "1", ada.Name+"-a", "2", ada.Name+"-login", "3", ada.Name, ada.Value)
	sent := header(pairs...)
	s.mux.Handle("/public/cookies", s.auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Cookie"); got != sent {
			t.Errorf("the app sees %.200q", got)
		}
		hello(w, r)
	})))
	r := httptest.NewRequest("GET", "https://app.test/public/cookies", nil)
	r.Header.Set("Cookie", sent)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Body.String() != helloAda || len(w.Header()["Set-Cookie"]) != 0 {
		t.Errorf("page %q, cookies %v", w.Body, w.Header()["Set-Cookie"])
	}
}

func TestCookieBudget(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		person string
		budget int
		claims int    // bytes of a claim that the app keeps
		want   string // what is left out; "too large" for a page
		pieces int
	}{
		{"work account", msauthtest.Ada, 0, 0, "", 1},
		{"personal account", msauthtest.Mia, 0, 0, "", 1},
		{"200 groups", msauthtest.Grace, 0, 0, "access token, groups", 1},
		{"200 groups, larger budget", msauthtest.Grace, 7168, 0, "access token", 2},
		{"smallest budget", msauthtest.Mia, 1024, 0, "access token", 1},
		{"smallest budget, work account", msauthtest.Ada, 1024, 0, "too large", 0},
		{"large claim", msauthtest.Ada, 0, 3000, "access token, claims", 1},
		{"large claim, larger budget", msauthtest.Ada, 7168, 3000, "", 2},
		{"huge claim", msauthtest.Grace, 7168, 100_000, "access token, groups, claims", 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSiteInProcess(t, func(c *msauth.Config) { c.CookieBudget, c.Claims = test.budget, []string{"big"} })
				s.routeTokens()
				s.ms.Set(func(b *msauthtest.Behavior) { b.GroupClaims = true })
				if test.claims > 0 {
					s.ms.Set(claim("big", strings.Repeat("c", test.claims/2)+fmt.Sprintf("%0*d", test.claims/2, 7)))
				}
				s.as(test.person)
				b := s.browser(t)
				res := b.still().get(b.attempt("/page"))
				if test.want == "too large" {
					b.wantRefused(res, 403, "too-large", "session too large")
					if line := s.log.with("page=too-large")[0]; !strings.Contains(line, "Config.CookieBudget is 1024") || !strings.Contains(line, "Config.Store") {
						t.Errorf("log line %s", line)
					}
					return
				}
				size, budget := 0, test.budget
				if budget == 0 {
					budget = 3300
				}
				for name, line := range lines(res.Header) {
					if sessionCookie.MatchString(name) {
						if size += len("Set-Cookie: ") + len(line) + len("\r\n"); len(line) > 4093 {
							t.Errorf("a line of %d bytes", len(line))
						}
					}
				}
				if size > budget || size < 500 || len(b.session()) != test.pieces {
					t.Errorf("%d bytes in %d cookies, want at most %d in %d", size, len(b.session()), budget, test.pieces)
				}
				logged := s.log.with("left_out")
				if len(logged) != min(len(test.want), 1) || len(logged) > 0 && !strings.Contains(logged[0], fmt.Sprintf("left_out=%q", test.want)) && !strings.Contains(logged[0], "left_out="+test.want+"\n") {
					t.Errorf("log lines %q, want one with %q", logged, test.want)
				}
				u := b.user("/user")
				if got, want := len(u.Groups) == 0 && u.GroupsOverage, strings.Contains(test.want, "groups"); got != want {
					t.Errorf("%d groups, overage %v", len(u.Groups), u.GroupsOverage)
				}
				if got, want := len(u.Claims) == 0, strings.Contains(test.want, "claims") || test.claims == 0; got != want {
					t.Errorf("claims left out: %v", got)
				}

				// A token that was left out is at hand all the same, and is never
				// a reason to ask for another.
				s.ms.ResetCalls()
				first := b.token()
				for range 3 {
					b.get("/page")
				}
				if len(first) < 1000 || b.token() != first {
					t.Errorf("Token: %.40q", first)
				}
				s.wantNoCalls(t)
				s.restart(t)
				s.routeTokens()
				for range 3 {
					if res := b.get("/page"); !strings.HasPrefix(res.body, "hello ") {
						t.Errorf("page %q", res.body)
					}
				}
				s.wantNoCalls(t)
				again := b.token()
				if shed := strings.Contains(test.want, "access token"); shed != (again != first) || len(again) < 1000 || b.token() != again {
					t.Errorf("Token after a restart: %.40q", again)
				} else if want := map[bool]int{true: 1}[shed]; s.ms.Count(msauthtest.TokenRefresh) != want {
					t.Errorf("%d renewals, want %d", s.ms.Count(msauthtest.TokenRefresh), want)
				}
				// Renewed when it is due, like any other.
				time.Sleep(90 * time.Minute)
				s.ms.ResetCalls()
				b.get("/page")
				if got := b.token(); got == again || len(got) < 1000 {
					t.Errorf("Token after a renewal: %.40q", got)
				}
				s.wantCalls(t, msauthtest.TokenRefresh, 1)
				if n := len(s.log.with("left_out")); n != min(len(test.want), 1) {
					t.Errorf("%d log lines about it, want one per sign-in", n)
				}
			})
		})
	}
}

func TestCookieKeysCanBeRotated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		old, fresh := newKey(), newKey()
		keys := func(keys ...[]byte) func(*msauth.Config) { return func(c *msauth.Config) { c.Keys = keys } }
		s := newSiteInProcess(t, keys(old))
		s.as(msauthtest.Ada)
		b, lazy := s.browser(t), s.browser(t)
		b.signIn(msauthtest.Ada)
		lazy.signIn(msauthtest.Ada)
		attempt := b.attempt("/auth/login?return_to=/there")

		s.restart(t, keys(old, fresh)) // everywhere first
		b.wantGreeting(helloAda)
		s.restart(t, keys(fresh, old))
		b.wantGreeting(helloAda)
		if got := b.get(attempt).Request.URL.Path; got != "/there" {
			t.Errorf("a sign-in begun before ends at %s", got)
		}
		time.Sleep(2 * time.Hour) // written anew
		b.wantGreeting(helloAda)
		s.restart(t, keys(fresh))
		b.wantGreeting(helloAda)
		// Who was not seen in between signs in again, without an error page.
		if res := lazy.still().get("/"); res.StatusCode != http.StatusSeeOther || len(s.log.with("level=ERROR"))+len(s.log.with("level=WARN")) > 0 {
			t.Errorf("status %d; log:\n%s", res.StatusCode, s.log)
		}
	})
}

func TestCookieNeverRepeats(t *testing.T) {
	t.Parallel()
	store, _ := msauth.NewCookieStore(newKey())
	seen := map[string]bool{}
	for range 100 {
		w := httptest.NewRecorder()
		session := sessions.NewSession(store, "x")
		session.Values["a"] = "the same"
		if err := store.Save(httptest.NewRequest("GET", "/", nil), w, session); err != nil {
			t.Fatal(err)
		}
		seen[w.Header().Get("Set-Cookie")] = true
	}
	if len(seen) != 100 {
		t.Errorf("%d different cookies of 100 with the same content", len(seen))
	}
}

// jarOf sends to next what an answer sets.
func jarOf(jar map[string]string, h http.Header) *http.Request {
	for _, line := range h["Set-Cookie"] {
		c, _ := http.ParseSetCookie(line)
		if c.MaxAge < 0 {
			delete(jar, c.Name)
		} else {
			jar[c.Name] = c.Value
		}
	}
	r := httptest.NewRequest("GET", "https://app.test/", nil)
	for name, value := range jar {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return r
}

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
			store, err := msauth.NewCookieStore(newKey())
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
				store, _ := msauth.NewCookieStore(newKey())
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
	key := newKey()
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
	s := newSiteInProcess(t, func(c *msauth.Config) { c.Keys = [][]byte{key} })
	msauthCookie := s.signedInCookies(t, msauthtest.Ada)[0].Value
	tests := []struct {
		name  string
		store *msauth.CookieStore
		value string
		want  bool
	}{
		{"its own", make(key), good, true},
		{"key in second place", make(newKey(), key), good, true},
		{"key in third place", make(newKey(), newKey(), key), good, true},
		{"another key", make(newKey()), good, false},
		{"value of another session's name", make(key), save(make(key), "basket"), false},
		{"value of the middleware, same key", make(key), msauthCookie, false},
		{"a byte changed", make(key), flip(good, 10), false},
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
	if got := s.ask(header(s.signedInCookies(t, msauthtest.Ada)[0].Name, good)).Body.String(); got != helloNobody {
		t.Errorf("the middleware takes a value of the store: %q", got)
	}
}

func TestCookieStoreLimitsAndOptions(t *testing.T) {
	t.Parallel()
	save := func(name string, value any, change func(*msauth.CookieStore, *sessions.Session)) (http.Header, error) {
		store, err := msauth.NewCookieStore(newKey())
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
		{"name like a piece of another's", "cart-1", 1, nothing, "error: not end like"},
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
	for name, keys := range map[string][][]byte{"no key": nil, "short key": {newKey()[:16]}, "key of zeros": {newKey(), make([]byte, 32)}} {
		if _, err := msauth.NewCookieStore(keys...); err == nil || !strings.HasPrefix(err.Error(), "msauth: the list of keys ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCookiesOfTheStoreAndOfTheMiddlewareLiveSideBySide(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	store, _ := msauth.NewCookieStore(s.cfg.Keys...)
	s.mux.Handle("/count", s.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cart, err := store.Get(r, "cart")
		if err != nil {
			t.Error(err)
		}
		n, _ := cart.Values["n"].(int)
		cart.Values["n"] = n + 1
		if err := cart.Save(r, w); err != nil {
			t.Error(err)
		}
		hello(w, r)
		fmt.Fprintf(w, " %d", n+1)
	})))
	b := s.browser(t)
	s.as(msauthtest.Ada)
	for i := range 3 {
		if got, want := b.get("/count").body, fmt.Sprintf("%s %d", helloAda, i+1); got != want {
			t.Errorf("page %q, want %q", got, want)
		}
	}
	b.do("POST", "/auth/logout", ownPage...)
	s.as(msauthtest.Ada)
	if got, want := b.get("/count").body, helloAda+" 4"; got != want {
		t.Errorf("page %q after signing out and in, want %q", got, want)
	}
}

// What is opened only when somebody asks for a token is vouched for all the
// same whenever the session is read.
func TestHeadAndTailOfTwoSessionsNeverJoin(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t)
	ada, other := s.signedInCookies(t, msauthtest.Ada)[0], s.signedInCookies(t, msauthtest.Ada)[0]
	bruno := s.signedInCookies(t, msauthtest.Bruno)[0]
	if got := s.ask(header(ada.Name, ada.Value)).Body.String(); got != helloAda {
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
		"first byte of the tail":  head + "." + string(otherCharacter(tail[0])) + tail[1:],
		"middle of the tail":      head + "." + tail[:900] + string(otherCharacter(tail[900])) + tail[901:],
		"last byte of the tail":   head + "." + tail[:len(tail)-2] + string(otherCharacter(tail[len(tail)-2])) + tail[len(tail)-1:],
	} {
		if got := s.ask(header(ada.Name, value)).Body.String(); got != helloNobody {
			t.Errorf("%s: page %q", name, got)
		}
	}
}

// A session that must be written smaller than it came, because the budget was
// lowered, gives up nothing that is not at hand afterwards.
func TestLoweredBudgetLosesNoToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t)
		s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 24 * time.Hour })
		s.routeTokens()
		b := s.browser(t)
		b.signIn(msauthtest.Ada)
		token := b.token()
		s.restart(t, func(c *msauth.Config) { c.CookieBudget = 2000 })
		s.routeTokens()
		s.ms.ResetCalls()
		time.Sleep(2 * time.Hour) // its use is noted
		if res := b.get("/"); res.body != helloAda || len(res.Cookies()) != 1 || len(res.Cookies()[0].Value) > 2000 {
			t.Fatalf("page %q, cookies %v", res.body, res.Cookies())
		}
		if got := b.token(); got != token {
			t.Errorf("Token: %.40q, want the one of before", got)
		}
		s.wantNoCalls(t)
		time.Sleep(22 * time.Hour) // and the refresh token renews
		b.wantGreeting(helloAda)
		s.wantCalls(t, msauthtest.TokenRefresh, 1)
	})
}

func TestCookieStoreTakesAnyAge(t *testing.T) {
	t.Parallel()
	for _, age := range []int{400*86400 + 1, 1<<31 - 1, int(min(uint64(math.MaxInt), 300*365*86400)), math.MaxInt} {
		store, _ := msauth.NewCookieStore(newKey())
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
		store, _ := msauth.NewCookieStore(newKey())
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
