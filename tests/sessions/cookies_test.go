package sessions_test

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
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
		s := testsite.NewInProcess(t, func(c *msauth.Config) { c.CookieBudget = 7168 })
		s.MS.Set(func(b *msauthtest.Behavior) { b.GroupClaims, b.RefreshIn = true, 30*time.Minute })
		s.As(msauthtest.Grace)
		b := s.Browser(t)
		check := func(what string, res testsite.Seen, want map[string]int) {
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
		still := b.Still()
		check("start", still.Get("/"), map[string]int{"-login": 1800})
		check("sign-in", still.Get(b.Attempt("/")), map[string]int{"-login": 0, "-ok": 20, "": week, "-1": week})
		check("first page", still.Get("/"), map[string]int{"-ok": 0})
		check("next page", still.Get("/"), map[string]int{})
		time.Sleep(31 * time.Minute)
		check("renewal", still.Get("/"), map[string]int{"": week - 31*60, "-1": week - 31*60})
		b.Attempt("/auth/login") // not finished
		check("sign-out", still.Request("POST", "/auth/logout", testsite.OwnPage...), map[string]int{"": 0, "-1": 0, "-login": 0})
		b.Keep(cookieBase(t, s), "1garbage")
		check("garbage", still.Get("/public/"), map[string]int{"": 0})
	})
}

// cookieBase is the name of a site's session cookie.
func cookieBase(t *testing.T, s *testsite.Site) string {
	t.Helper()
	for name := range lines(s.Browser(t).Still().Get("/").Header) {
		if base, _, ok := strings.Cut(name, "-login-"); ok {
			return base
		}
	}
	t.Fatal("no attempt was begun")
	return ""
}

func TestCookieNames(t *testing.T) {
	t.Parallel()
	one, two := testsite.NewInProcess(t), testsite.NewInProcess(t)
	if cookieBase(t, one) == cookieBase(t, two) {
		t.Error("two apps have the same cookie") // ports of one host share a jar
	}
	named := testsite.NewInProcess(t, func(c *msauth.Config) { c.CookieName = "shop" })
	if got := cookieBase(t, named); got != "__Host-shop" {
		t.Errorf("name %q, want __Host-shop", got)
	}
	before := cookieBase(t, one)
	one.Restart(t, func(c *msauth.Config) { c.Keys = [][]byte{testsite.NewKey()} })
	if got := cookieBase(t, one); got != before {
		t.Errorf("name %q after a restart with other keys, was %q", got, before)
	}
}

func TestCookieThatGoesWithTheBrowser(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t, func(c *msauth.Config) { c.SessionCookie = true })
		s.As(msauthtest.Ada)
		b := s.Browser(t)
		for _, line := range lines(b.Still().Get(b.Attempt("/")).Header) {
			if testsite.SessionCookie.MatchString(line[:strings.Index(line, "=")]) && (strings.Contains(line, "Max-Age") || strings.Contains(line, "Expires")) {
				t.Errorf("line ...%s, want no age", line[len(line)-60:])
			}
		}
		b.WantGreeting(testsite.HelloAda)
		time.Sleep(24 * time.Hour) // ages all the same
		b.WantGreeting(testsite.HelloNobody)
	})
}

func TestInsecureCookies(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t, func(c *msauth.Config) { c.BaseURL, c.InsecureCookies = "http://intranet.test/auth", true })
	s.URL = "http://intranet.test"
	s.Wire.(testsite.Hosts)["intranet.test"] = s
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	// The local Microsoft takes http for loopback hosts only.
	s.MS.Set(func(b *msauthtest.Behavior) { b.RedirectURIs = []string{"http://intranet.test/auth/callback"} })
	res := b.Still().Get(b.Attempt("/"))
	for name, line := range lines(res.Header) {
		if strings.HasPrefix(name, "__Host-") || strings.Contains(line, "Secure") || !strings.Contains(line, "; HttpOnly; SameSite=Lax") {
			t.Errorf("line %.20s...%s", line, line[len(line)-40:])
		}
	}
	b.WantGreeting(testsite.HelloAda)
	if len(s.Log.With("level=WARN")) != 1 || len(s.Log.With("InsecureCookies")) != 1 {
		t.Errorf("log %s, want a warning", s.Log)
	}
}

// Safari's engine keeps no Secure cookie on http://localhost.
func TestCookiesGoByTheSchemeOfBaseURL(t *testing.T) {
	t.Parallel()
	names := map[string]string{}
	for _, base := range []string{"http://localhost:8080", "http://localhost:8081", "http://127.0.0.1:8080", "https://localhost:8080"} {
		s := testsite.NewInProcess(t, func(c *msauth.Config) { c.BaseURL = base + "/auth" })
		s.URL = base
		scheme, host, _ := strings.Cut(base, "://")
		s.Wire.(testsite.Hosts)[host] = s
		s.As(msauthtest.Ada)
		b := s.Browser(t)
		back := b.Attempt("/")
		res := b.Still().Get(back)
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
		b.WantGreeting(testsite.HelloAda)
		for _, c := range b.Cookies() {
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
				want := testsite.HelloNobody
				if name == c.Name {
					want = testsite.HelloAda
				}
				if got := s.Ask(header(name, c.Value)).Body.String(); got != want {
					t.Errorf("%s: %s shows %q, want %q", base, name, got, want)
				}
			}
		}
	}
	if len(names) != 4 {
		t.Errorf("%d sessions, want 4", len(names))
	}
}

// signedInCookies signs a person in and returns the cookies of the session.
func signedInCookies(s *testsite.Site, t *testing.T, person string) []*http.Cookie {
	t.Helper()
	b := s.Browser(t)
	b.SignIn(person)
	return b.Session()
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
func splitSite(t *testing.T, changes ...func(*msauth.Config)) *testsite.Site {
	t.Helper()
	s := testsite.NewInProcess(t, append(changes, func(c *msauth.Config) { c.CookieBudget = 7168 })...)
	s.MS.Set(func(b *msauthtest.Behavior) { b.GroupClaims = true })
	return s
}

const helloGrace = "hello Grace Achterberg"

func TestEveryByteOfTheCookieCounts(t *testing.T) {
	t.Parallel()
	s := splitSite(t)
	for _, person := range []string{msauthtest.Ada, msauthtest.Grace} {
		cookies := signedInCookies(s, t, person)
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
		if got := s.Ask(whole).Body.String(); got == testsite.HelloNobody {
			t.Fatal("the unchanged session does not open")
		}
		bad := func(what string, cookie string) {
			t.Helper()
			w := s.Ask(cookie)
			if w.Code != 200 || w.Body.String() != testsite.HelloNobody {
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
					return testsite.Flip(v, at)
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
	if n := len(s.Log.With("level=ERROR")); n != 0 {
		t.Errorf("%d lines at level Error", n)
	}
}

func TestPiecesOfTheCookie(t *testing.T) {
	t.Parallel()
	s := splitSite(t)
	a, b := signedInCookies(s, t, msauthtest.Grace), signedInCookies(s, t, msauthtest.Grace)
	ada, mia := signedInCookies(s, t, msauthtest.Ada), signedInCookies(s, t, msauthtest.Mia)
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
		{"first missing", []string{header(name1, a[1].Value)}, testsite.HelloNobody, "1"},
		{"last missing", []string{header(base, a[0].Value)}, testsite.HelloNobody, "0"},
		{"exchanged", []string{header(base, a[1].Value, name1, a[0].Value)}, testsite.HelloNobody, "0 1"},
		{"first of one, last of another session", []string{header(base, a[0].Value, name1, b[1].Value)}, testsite.HelloNobody, "0 1"},
		{"first of another", []string{header(base, b[0].Value, name1, a[1].Value)}, testsite.HelloNobody, "0 1"},
		{"first of another person", []string{header(base, ada[0].Value, name1, a[1].Value)}, "hello Ada Lindqvist", "1"},
		{"one too many", []string{header(base, a[0].Value, name1, a[1].Value, base+"-2", "stale")}, helloGrace, "2"},
		{"many too many", []string{header(base, a[0].Value, name1, a[1].Value, base+"-2", "stale", base+"-9", "x")}, helloGrace, "2 9"},
		{"piece 0", []string{header(base, a[0].Value, name1, a[1].Value, base+"-0", "x")}, helloGrace, ""},
		{"piece 10", []string{header(base, a[0].Value, name1, a[1].Value, base+"-10", "x")}, helloGrace, ""},
		{"piece 1 again", []string{header(base, a[0].Value, name1, a[1].Value, name1, "evil")}, helloGrace, ""},
		{"piece 1 planted before", []string{header(base, a[0].Value, name1, "evil", name1, a[1].Value)}, testsite.HelloNobody, "0 1"},
		{"piece number in another script", []string{header(base, a[0].Value, base+"-١", a[1].Value)}, testsite.HelloNobody, "0"},
		{"number with a zero", []string{header(base, a[0].Value, base+"-01", a[1].Value)}, testsite.HelloNobody, "0"},

		{"one, planted before", []string{header(base, "1evil", base, ada[0].Value)}, testsite.HelloAda, ""},
		{"three planted before", []string{header(base, "1a", base, "", base, "2", base, ada[0].Value)}, testsite.HelloAda, ""},
		{"four planted before", []string{header(base, "1a", base, "1b", base, "1c", base, "1d", base, ada[0].Value)}, testsite.HelloNobody, "0"},
		{"planted after", []string{header(base, ada[0].Value, base, "1evil")}, testsite.HelloAda, ""},
		{"planted on a line of its own", []string{header(base, "1evil"), header(base, ada[0].Value)}, testsite.HelloAda, ""},
		{"session of another person planted before", []string{header(base, ada[0].Value, base, a[0].Value, name1, a[1].Value)}, testsite.HelloAda, "1"},
		{"session of another person beside it", []string{header(base, ada[0].Value, base, mia[0].Value)}, testsite.HelloNobody, "0"},
		{"session of another person beside it, after garbage", []string{header(base, "1evil", base, mia[0].Value), header(base, ada[0].Value)}, testsite.HelloNobody, "0"},
		{"the same session twice", []string{header(base, ada[0].Value, base, ada[0].Value)}, testsite.HelloAda, ""},
		{"pieces do not join a later first one", []string{header(base, "1evil", base, a[0].Value, name1, a[1].Value)}, testsite.HelloNobody, "0 1"},

		{"name in lower case", []string{header(strings.ToLower(base), ada[0].Value)}, testsite.HelloNobody, ""},
		{"name in upper case", []string{header(strings.ToUpper(base), ada[0].Value)}, testsite.HelloNobody, ""},
		{"name without its prefix", []string{header(strings.TrimPrefix(base, "__Host-"), ada[0].Value)}, testsite.HelloNobody, ""},
		{"name with a space", []string{base + " =" + ada[0].Value}, testsite.HelloNobody, ""},
		{"name that begins with it", []string{header(base+"x", ada[0].Value)}, testsite.HelloNobody, ""},
		{"name alone", []string{base}, testsite.HelloNobody, ""},
		{"quoted", []string{header(base, `"`+ada[0].Value+`"`)}, testsite.HelloNobody, "0"},
		{"preceded by a vertical tab", []string{"\v" + header(base, ada[0].Value)}, testsite.HelloNobody, ""},
		{"nothing", nil, testsite.HelloNobody, ""},
		{"only separators", []string{";;; ; =;="}, testsite.HelloNobody, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := s.Ask(test.cookies...)
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
	s := testsite.NewInProcess(t)
	ada := signedInCookies(s, t, msauthtest.Ada)[0]
	var pairs []string
	for i := range 50 {
		pairs = append(pairs, fmt.Sprintf("theirs%d", i), strconv.Itoa(i))
	}
	pairs = append(pairs, ada.Name+"x", "1", ada.Name+"-a", "2", ada.Name+"-login", "3", ada.Name, ada.Value)
	sent := header(pairs...)
	s.Mux.Handle("/public/cookies", s.Auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Cookie"); got != sent {
			t.Errorf("the app sees %.200q", got)
		}
		testsite.Hello(w, r)
	})))
	r := httptest.NewRequest("GET", "https://app.test/public/cookies", nil)
	r.Header.Set("Cookie", sent)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Body.String() != testsite.HelloAda || len(w.Header()["Set-Cookie"]) != 0 {
		t.Errorf("page %q, cookies %v", w.Body, w.Header()["Set-Cookie"])
	}
}
