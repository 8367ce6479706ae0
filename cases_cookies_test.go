package msauth_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// everySetCookie walks through all that sets or deletes a cookie and returns
// the lines.
func everySetCookie(t *testing.T, s *site) (lines []string) {
	t.Helper()
	b := s.browser(t)
	still := b.still()
	add := func(res seen) seen { lines = append(lines, res.Header["Set-Cookie"]...); return res }
	s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Second })
	s.as(msauthtest.Ada)
	to := add(still.get("/a")).Header.Get("Location")
	back := still.get(to).Header.Get("Location")
	add(still.get(back))
	add(still.get("/a")) // the marker goes
	s.ms.ResetCalls()
	s.lifetime(time.Hour) // of the next token
	time.Sleep(1100 * time.Millisecond)
	add(still.get("/a")) // renewal
	add(still.get("/auth/login"))
	add(still.get("/auth/logout", sameOrigin...))
	for range 18 {
		add(still.get("/auth/login"))
	}
	b.keep(cookieName(t, s), "garbage")
	b.keep(cookieName(t, s)+"-1", "garbage")
	add(still.get("/public/"))
	return lines
}

func TestCase060_Attributes(t *testing.T) {
	c := newCase(t)
	for name, newSite := range map[string]func(*testing.T, ...func(*msauth.Config)) *site{"TLS": newSite, "in process": newSiteInProcess} {
		c.run(name, func(c *testCase) {
			s := newSite(c.T)
			kinds := map[string]int{}
			form := regexp.MustCompile(`^__Host-msauth-[A-Za-z0-9]{6}(-[1-9]|-ok|-to|-login-[0-9a-f]{16})?=[A-Za-z0-9_.-]*; Path=/; Max-Age=\d+; HttpOnly; Secure; SameSite=Lax$`)
			for _, line := range everySetCookie(c.T, s) {
				if !form.MatchString(line) {
					c.Errorf("%.60s...%s", line, line[strings.Index(line, ";"):])
				}
				kind := regexp.MustCompile(`[0-9a-f]{16}`).ReplaceAllString(line[:strings.Index(line, "=")], "ID")
				if strings.Contains(line, "Max-Age=0") {
					kind += " deleted"
				}
				kinds[kind[strings.LastIndex(kind[:min(len(kind), 21)], "msauth-"):]]++
			}
			if len(kinds) < 6 {
				c.Errorf("only these were seen: %v", kinds)
			}
			c.calls(s, msauthtest.TokenRefresh, 1)
		})
	}
}

func TestCase061_DeletionMatches(t *testing.T) {
	c := newCase(t)
	s := newSite(t, func(cfg *msauth.Config) { cfg.CookieBudget = 7168 })
	s.ms.Set(func(b *msauthtest.Behavior) { b.GroupClaims = true })
	for name, end := range map[string]func(b *browser) seen{
		"sign-out by link": func(b *browser) seen { return b.still().get("/auth/logout", sameOrigin...) },
		"sign-out by form": func(b *browser) seen { return b.still().do("POST", "/auth/logout", "Sec-Fetch-Site", "same-origin") },
		"session refused": func(b *browser) seen {
			last := b.session()[len(b.session())-1]
			b.keep(last.Name, last.Value[1:])
			return b.still().get("/public/")
		},
	} {
		b := s.browser(t)
		b.signIn(msauthtest.Grace)
		before := b.session()
		if len(before) < 2 {
			c.Fatalf("a session of %d cookies, want several", len(before))
		}
		b.attempt("/auth/login")
		res := end(b)
		deleted := map[string]bool{}
		for _, cookie := range res.Cookies() {
			if cookie.MaxAge < 0 {
				deleted[cookie.Name] = true
				if !cookie.Secure || !cookie.HttpOnly || cookie.Path != "/" || cookie.Domain != "" || cookie.SameSite != http.SameSiteLaxMode || cookie.Value != "" {
					c.Errorf("%s: %s is deleted by %s", name, cookie.Name, cookie.Raw)
				}
			}
		}
		for _, cookie := range before {
			if !deleted[cookie.Name] {
				c.Errorf("%s: %s is not deleted", name, cookie.Name)
			}
		}
		if strings.HasPrefix(name, "sign-out") && len(b.cookies()) > 0 {
			c.Errorf("%s leaves %v", name, b.cookies())
		}
		if name == "session refused" {
			c.logged(s, "reason=unreadable", 1)
		}
		c.signedOut(b)
	}
}

func TestCase062_Size(t *testing.T) {
	c := newCase(t)
	for _, budget := range []int{1700, 3300, 7168} {
		for _, person := range []string{msauthtest.Ada, msauthtest.Mia, msauthtest.Grace} {
			c.run(fmt.Sprint(budget, person), func(c *testCase) {
				s := newSiteInProcess(c.T, func(cfg *msauth.Config) { cfg.CookieBudget, cfg.Claims = budget, []string{"aio", "x"} })
				s.ms.Set(func(b *msauthtest.Behavior) { b.GroupClaims = true })
				s.ms.Set(claimIs("x", strings.Repeat("Zaubertrank ", 100)))
				s.as(person)
				b := s.browser(c.T)
				res := b.still().get(b.attempt("/a"))
				if res.StatusCode == http.StatusForbidden {
					c.refused(b, res, 403, "too-large", "Config.CookieBudget is")
					return
				}
				total := 0
				for _, line := range res.Header["Set-Cookie"] {
					if len("Set-Cookie: ")+len(line) > 4093 {
						c.Errorf("a line of %d bytes", len(line))
					}
					if name, _, _ := strings.Cut(line, "="); sessionCookie.MatchString(name) {
						total += len("Set-Cookie: \r\n") + len(line)
					}
				}
				if total == 0 || total > budget {
					c.Errorf("%d bytes of session cookies, want at most %d", total, budget)
				}
				if got := b.get("/a").body; !strings.HasPrefix(got, "hello ") {
					c.Errorf("page %q", got)
				}
				c.calls(s, msauthtest.TokenCode, 1)
			})
		}
	}
}

func TestCase064_FirstPageAfterSignIn(t *testing.T) {
	c := newCase(t)
	s := newSite(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	var hops []string
	b.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		hops = append(hops, r.URL.Host+r.URL.Path)
		return nil
	}
	if got := b.get("/a").body; got != helloAda {
		c.Errorf("page %q", got)
	}
	if len(hops) != 3 {
		c.Errorf("redirects to %v, want provider, callback, page", hops)
	}
	c.calls(s, msauthtest.Authorize, 1)
}

func TestCase065_PlainHTTP(t *testing.T) {
	c := newCase(t)
	cfg := leastCaseConfig()
	for _, base := range []string{"http://app.example.com/auth", "http://10.0.0.1/auth", "http://localhost.example.com/auth", "http://localhost./auth", "http://127.0.0.1.nip.io/auth", "http://[::]/auth", "http://0.0.0.0/auth", "HTTP://app.example.com/auth"} {
		cfg.BaseURL = base
		_, err := msauth.New(cfg)
		c.fails(err, "Config.BaseURL")
	}
	var log logBuffer
	cfg.BaseURL, cfg.InsecureCookies, cfg.Logger = "http://app.example.com/auth", true, slog.New(slog.NewTextHandler(&log, nil))
	if _, err := msauth.New(cfg); err != nil || len(log.with("level=WARN")) != 1 {
		c.Errorf("error %v, log %q: want a warning", err, log.String())
	}
	// Whoever claims that TLS ended before, or did not, changes no cookie.
	s := newSiteInProcess(t)
	for _, header := range [][]string{{"X-Forwarded-Proto", "http"}, {"X-Forwarded-Ssl", "off"}, {"Forwarded", "proto=http"}, {"Front-End-Https", "off"}, {"X-Url-Scheme", "http"}} {
		for _, line := range s.browser(t).still().get("/a", header...).Header["Set-Cookie"] {
			if !strings.Contains(line, "; Secure") || !strings.HasPrefix(line, "__Host-") {
				c.Errorf("%v: %s", header, line)
			}
		}
	}
}

func leastCaseConfig() msauth.Config {
	return msauth.Config{ClientID: "id", ClientSecret: "secret", BaseURL: "https://app.example.com/auth", Keys: [][]byte{newKey()}}
}

// pieces signs Grace in with a session of several cookies.
func pieces(t *testing.T, s *site) (b *browser, cookies []*http.Cookie) {
	t.Helper()
	s.ms.Set(func(b *msauthtest.Behavior) { b.GroupClaims = true })
	b = s.browser(t)
	b.signIn(msauthtest.Grace)
	cookies = b.session()
	if len(cookies) < 2 {
		t.Fatalf("a session of %d cookies, want several", len(cookies))
	}
	return b, cookies
}

func large(cfg *msauth.Config) { cfg.CookieBudget = 7168 }

// ask sends a request with nothing but this Cookie header and returns the
// greeting of the public page.
func ask(t *testing.T, s *site, cookie string, header ...string) seen {
	t.Helper()
	b := s.browser(t)
	return b.get("/public/", append([]string{"Cookie", cookie}, header...)...)
}

// headerOf joins cookies to a header.
func headerOf(cookies ...*http.Cookie) string {
	var pairs []string
	for _, c := range cookies {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return strings.Join(pairs, "; ")
}

func with(c *http.Cookie, value string) *http.Cookie {
	return &http.Cookie{Name: c.Name, Value: value}
}

func TestCase067_EveryByteCounts(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t, large)
	_, cookies := pieces(t, s)
	s.ms.ResetCalls()
	if got := ask(t, s, headerOf(cookies...)).body; got != "hello Grace Achterberg" {
		c.Fatalf("page %q", got)
	}
	n := 0
	for i, cookie := range cookies {
		for at := 0; at < len(cookie.Value); at++ {
			if at > 40 && at < len(cookie.Value)-40 && at%17 != 0 {
				continue
			}
			changed := slices.Clone(cookies)
			value := []byte(cookie.Value)
			if value[at] = otherCharacter(value[at]); at == 0 && i == 0 {
				value[at] = '7' // the count of pieces
			}
			changed[i] = with(cookie, string(value))
			if res := ask(t, s, headerOf(changed...), script...); res.body != helloNobody || res.StatusCode != 200 || len(res.Cookies()) != 0 {
				c.Fatalf("byte %d of %s changed: status %d, page %q", at, cookie.Name, res.StatusCode, res.body)
			}
			n++
		}
	}
	c.logged(s, "reason=unreadable", n)
	c.silent(s)
}

func TestCase068_MalformedPieces(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t, large)
	_, cookies := pieces(t, s)
	_, small := adaSession(t, s)
	s.ms.ResetCalls()
	n := 0
	for _, session := range [][]*http.Cookie{cookies, {small}} {
		for i, cookie := range session {
			v := cookie.Value
			var values []string
			for at := 0; at < len(v); at += max(1, len(v)/80) {
				values = append(values, v[:at], v[at+1:])
			}
			values = append(values, "", v+"A", v+"AAAA", v+"=", v+v, "A"+v, " "+v+"!", `"`+v+`"`, strings.Repeat("A", 300<<10), "%", v[:1]+"+"+v[2:]+"/", v[:len(v)-1]+"-",
				strings.Repeat("1", len(v)), "9"+v[1:], "0"+v[1:], "-"+v[1:], "10"+v[1:], "\u0661"+v[1:], v[:1]+"\r\n"+v[1:], v[:1]+"\t"+v[1:], v[:1]+","+v[1:], "1", "2", "9")
			for _, value := range values {
				if value == v { // "9"+v[1:], where v begins with 9
					continue
				}
				changed := slices.Clone(session)
				changed[i] = with(cookie, value)
				req, _ := http.NewRequest("GET", "https://app.test/public/", nil)
				req.Header["Cookie"] = []string{headerOf(changed...)} // past the checks of the client
				req.Header["Accept"] = []string{"*/*"}
				res := s.browser(t).send(req)
				if res.body != helloNobody || res.StatusCode != 200 {
					c.Fatalf("%.40q of %d bytes in %s: status %d, page %q", value, len(value), cookie.Name, res.StatusCode, res.body)
				}
				n++
			}
		}
	}
	c.logged(s, "reason=unreadable", n)
	c.silent(s)
}

// adaSession signs Ada in and returns her one cookie.
func adaSession(t *testing.T, s *site) (*browser, *http.Cookie) {
	t.Helper()
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	if len(b.session()) != 1 {
		t.Fatalf("a session of %d cookies, want one", len(b.session()))
	}
	return b, b.session()[0]
}

func TestCase069_MissingPiece(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t, large)
	_, cookies := pieces(t, s)
	s.ms.ResetCalls()
	for i := range cookies {
		left := slices.Delete(slices.Clone(cookies), i, i+1)
		before := len(s.log.with("session cleared"))
		res := ask(t, s, headerOf(left...))
		if res.body != helloNobody {
			c.Errorf("without %s: page %q", cookies[i].Name, res.body)
		}
		var cleared []string
		for _, cookie := range res.Cookies() {
			if cookie.MaxAge < 0 {
				cleared = append(cleared, cookie.Name)
			}
		}
		slices.Sort(cleared)
		var want []string
		for _, cookie := range left {
			want = append(want, cookie.Name)
		}
		if !slices.Equal(cleared, want) {
			c.Errorf("without %s: cleared %v, want %v", cookies[i].Name, cleared, want)
		}
		c.logged(s, "session cleared", before+1)
	}
	// In another order they are the same session.
	slices.Reverse(cookies)
	if got := ask(t, s, headerOf(cookies...)).body; got != "hello Grace Achterberg" {
		c.Errorf("in another order: page %q", got)
	}
	c.silent(s)
}

func TestCase071_SplicedPieces(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := newSiteInProcess(c.T, large)
		one, first := pieces(c.T, s)
		_, second := pieces(c.T, s)
		// The same person, after a renewal of the same session.
		s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Second })
		renewed, old := pieces(c.T, s)
		time.Sleep(1100 * time.Millisecond)
		renewed.get("/")
		c.calls(s, msauthtest.TokenRefresh, 1)
		newer := renewed.session()
		if old[0].Value == newer[0].Value {
			c.Fatal("the session was not written again")
		}
		s.ms.ResetCalls()
		n := 0
		for _, pair := range [][2][]*http.Cookie{{first, second}, {second, first}, {old, newer}, {newer, old}} {
			for i := range pair[0] {
				mixed := slices.Clone(pair[0])
				mixed[i] = pair[1][i]
				if got := ask(c.T, s, headerOf(mixed...), script...).body; got != helloNobody {
					c.Errorf("piece %d of another session: page %q", i, got)
				}
				n++
			}
		}
		// Pieces out of their places.
		swapped := slices.Clone(first)
		swapped[0], swapped[1] = with(first[0], first[1].Value), with(first[1], first[0].Value)
		if got := ask(c.T, s, headerOf(swapped...), script...).body; got != helloNobody {
			c.Errorf("swapped pieces: page %q", got)
		}
		c.logged(s, "reason=unreadable", n+1)
		c.silent(s)
		one.wantGreeting("hello Grace Achterberg")
	})
}

func TestCase072_SurplusPieces(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t, large)
	_, cookies := pieces(t, s)
	b, cookie := adaSession(t, s)
	s.ms.ResetCalls()
	for _, surplus := range append(cookies[1:], &http.Cookie{Name: cookie.Name + "-9", Value: "x"}, &http.Cookie{Name: cookie.Name + "-5", Value: ""}) {
		res := ask(t, s, headerOf(cookie, surplus))
		if res.body != helloAda {
			c.Errorf("with %s: page %q", surplus.Name, res.body)
		}
		var deleted bool
		for _, set := range res.Cookies() {
			deleted = deleted || set.Name == surplus.Name && set.MaxAge < 0
		}
		if !deleted {
			c.Errorf("%s is left: %v", surplus.Name, res.Header["Set-Cookie"])
		}
	}
	// As it happens: Grace signs out of many groups and in as Ada.
	b.signIn(msauthtest.Ada)
	large, _ := pieces(t, s)
	large.get(large.attempt2(msauthtest.Ada))
	if got := large.session(); len(got) != 1 {
		c.Errorf("%d cookies after the smaller session, want 1", len(got))
	}
	large.wantGreeting(helloAda)
	c.calls(s, msauthtest.TokenRefresh, 0)
}

// attempt2 begins a sign-in of somebody else on top of a session.
func (b *browser) attempt2(person string) string {
	b.t.Helper()
	b.site.as(person)
	return b.attempt("/auth/login?prompt=login")
}

func TestCase074_PlantedCookies(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t, large)
	_, mine := adaSession(t, s)
	attacker := s.browser(t)
	attacker.signIn(msauthtest.Bruno)
	theirs := attacker.session()[0]
	_, parts := pieces(t, s)
	s.ms.ResetCalls()
	for name, cookie := range map[string]string{
		"another session before":        headerOf(theirs, mine),
		"another session after":         headerOf(mine, theirs),
		"another session, several":      headerOf(theirs, theirs, theirs, mine),
		"nonsense before":               headerOf(with(mine, "1AAAA"), with(mine, ""), with(mine, "x"), mine),
		"nonsense after":                headerOf(mine, with(mine, "1AAAA")),
		"nonsense, many":                strings.Repeat(mine.Name+"=x; ", 50) + headerOf(mine),
		"in other case":                 strings.Replace(headerOf(theirs), "__Host-", "__host-", 1) + "; " + headerOf(mine),
		"in upper case":                 strings.ToUpper(theirs.Name) + "=" + theirs.Value + "; " + headerOf(mine),
		"with a space in the name":      theirs.Name + " =" + theirs.Value + "; " + headerOf(mine),
		"with a space before the value": theirs.Name + "= " + theirs.Value + "; " + headerOf(mine),
		"quoted":                        theirs.Name + `="` + theirs.Value + `"; ` + headerOf(mine),
		"without a name":                "=" + headerOf(theirs) + "; " + headerOf(mine),
		"in an attribute":               "x=y,$Path=/," + headerOf(theirs) + "; " + headerOf(mine),
		"in two lines":                  headerOf(mine) + "\n" + headerOf(theirs),
		"pieces before a single one":    headerOf(parts[1], mine),
		"pieces of another":             headerOf(parts[1:]...) + "; " + headerOf(mine),
		"another's first of several":    headerOf(parts[0], mine, parts[1]),
		"escaped":                       strings.Replace(headerOf(theirs), "_", "%5f", 1) + "; " + headerOf(mine),
	} {
		for _, where := range []string{"/public/", "/a"} {
			req, _ := http.NewRequest("GET", "https://app.test"+where, nil)
			req.Header["Cookie"] = strings.Split(cookie, "\n")
			b := s.browser(t)
			res := b.still().send(req)
			switch {
			case res.body == helloAda, res.StatusCode == 200 && res.body == helloNobody:
			case res.StatusCode == 303 && strings.HasPrefix(res.Header.Get("Location"), s.ms.URL):
			default:
				c.Errorf("%s: %s gives status %d, page %q", name, where, res.StatusCode, res.body)
			}
		}
	}
	// No loop while somebody keeps planting: a page after the first sign-in,
	// and a link that leads out of it.
	s.as(msauthtest.Ada)
	garbage := s.browser(t)
	garbage.still().get(garbage.attempt("/a"))
	marked := s.browser(t)
	for _, planted := range []string{strings.Repeat(mine.Name+"=x; ", 9) + garbage.cookieLine(), mine.Name + "-ok=1"} {
		for range 3 {
			req, _ := http.NewRequest("GET", "https://app.test/a", nil)
			req.Header["Cookie"] = []string{planted}
			res := s.browser(t).still().send(req)
			c.page(s, res, http.StatusBadRequest, "loop", "was the cookie dropped or cut")
			if !strings.Contains(res.body, `href="/auth/login?return_to=%2Fa"`) {
				c.Errorf("no way out: %s", res.body)
			}
		}
	}
	// Signing in asks once, as a page that sends people there would do so in
	// circles, and goes on at a click whatever is planted meanwhile.
	for range 2 {
		marked.keep(mine.Name+"-ok", "1")
		res := marked.still().get("/auth/login?return_to=/a")
		c.page(s, res, http.StatusBadRequest, "loop", "was the cookie dropped or cut")
		marked.keep(mine.Name+"-ok", "1")
		if got := marked.get(linksOf(res)[0]).body; got != helloAda {
			c.Errorf("with a planted marker, signing in gives %q", got)
		}
		marked.keep(mine.Name, "")
	}
	c.calls(s, msauthtest.TokenRefresh, 0)
}

// A store of gorilla's takes the first cookie of a name.
func TestCase074_PlantedCookiesOfAStore(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t, func(cfg *msauth.Config) { cfg.Store = fileStore(t) })
	ada, bruno := s.browser(t), s.browser(t)
	ada.signIn(msauthtest.Ada)
	bruno.signIn(msauthtest.Bruno)
	mine, theirs := ada.session()[0], bruno.session()[0]
	for _, cookie := range []string{headerOf(theirs, mine), headerOf(mine, theirs), headerOf(with(mine, "x"), mine)} {
		if got := ask(t, s, cookie).body; got != helloAda && got != helloNobody {
			c.Errorf("page %q", got)
		}
	}
	c.calls(s, msauthtest.TokenRefresh, 0)
}

func TestCase076_Rollback(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := newSiteInProcess(c.T)
		s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Second })
		b, old := adaSession(c.T, s)
		time.Sleep(1100 * time.Millisecond)
		b.get("/")
		newer := b.session()[0]
		if old.Value == newer.Value {
			c.Fatal("the session was not written again")
		}
		if got := ask(c.T, s, headerOf(old)).body; got != helloAda {
			c.Errorf("the older cookie after a renewal: page %q", got)
		}
		c.calls(s, msauthtest.TokenRefresh, 1)
		b.still().get("/auth/logout", sameOrigin...)
		for _, cookie := range []*http.Cookie{old, newer} {
			res := ask(c.T, s, headerOf(cookie))
			if res.body != helloNobody {
				c.Errorf("after signing out: page %q", res.body)
			}
		}
		c.logged(s, "reason=ended", 2)
		c.calls(s, msauthtest.TokenRefresh, 1)
		// Another process knows nothing of it: SECURITY.md says so.
		s.restart(c.T)
		if got := ask(c.T, s, headerOf(newer)).body; got != helloAda {
			c.Errorf("in another process: page %q, and SECURITY.md says that it is accepted there", got)
		}
	})
}

func TestCase077_SecretRotation(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := newSiteInProcess(c.T)
		old := s.cfg.Keys[0]
		b, first := adaSession(c.T, s)
		attempt := b.attempt("/auth/login")
		key := newKey()
		s.restart(c.T, func(cfg *msauth.Config) { cfg.Keys = [][]byte{key, old} })
		b.wantGreeting(helloAda)
		time.Sleep(2 * time.Hour) // the next step in which use is noted
		b.get("/public/")
		second := b.session()[0]
		if first.Value == second.Value {
			c.Error("the session was not written with the new key")
		}
		s.restart(c.T, func(cfg *msauth.Config) { cfg.Keys = [][]byte{key} })
		s.ms.ResetCalls()
		b.wantGreeting(helloAda)
		res := ask(c.T, s, headerOf(first))
		if res.body != helloNobody || res.StatusCode != 200 {
			c.Errorf("a cookie of the dropped key: status %d, page %q", res.StatusCode, res.body)
		}
		c.logged(s, "reason=unreadable", 1)
		c.silent(s)
		stranger := s.browser(c.T)
		stranger.keep(first.Name, first.Value)
		c.signedOut(stranger)
		c.refused(stranger, stranger.get(attempt), 400, "start-again", "state is missing, altered")
	})
}

func TestCase079_CiphertextNeverRepeats(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) { // where time stands still
		s := newSiteInProcess(c.T)
		seen := map[string]bool{}
		parts := map[string]bool{}
		_, cookie := adaSession(c.T, s)
		for range 30 {
			time.Sleep(time.Hour + time.Second) // the same session, used
			b := s.browser(c.T)
			b.keep(cookie.Name, cookie.Value)
			s.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 500} })
			b.get("/public/")
			got := b.session()
			if len(got) != 1 || seen[got[0].Value] {
				c.Fatal("written twice alike, or not at all")
			}
			seen[got[0].Value] = true
			if nonce := got[0].Value[1:17]; parts[nonce] {
				c.Error("a nonce comes twice")
			} else {
				parts[nonce] = true
			}
			if strings.Contains(got[0].Value, cookie.Value[40:60]) {
				c.Error("ciphertext that stays the same")
			}
			if len(seen) == 20 {
				break
			}
		}
		states := map[string]bool{}
		b := s.browser(c.T)
		for range 30 {
			state := b.authorizeQuery("/same").Get("state")
			if states[state[:16]] {
				c.Error("a nonce of state comes twice")
			}
			states[state[:16]] = true
		}
		c.calls(s, msauthtest.TokenCode, 1)
	})
}

func TestCase081_OtherCookiesUntouched(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t)
	b, mine := adaSession(t, s)
	got := make(chan string, 2)
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got <- strings.Join(r.Header["Cookie"], "\n") })
	s.mux.Handle("/echo", s.auth.Require(echo))
	s.mux.Handle("/public/echo", s.auth.Load(echo))
	s.ms.ResetCalls()
	var foreign []string
	for i := range 50 {
		foreign = append(foreign, fmt.Sprintf("c%d=%s", i, strings.Repeat("v", i)))
	}
	for _, name := range []string{mine.Name + "2", mine.Name + "-", mine.Name + "-x", mine.Name + "-10", mine.Name + "-0", mine.Name[:len(mine.Name)-1], "__Host-", "__Host-msauth", mine.Name + "-login", mine.Name + "-login-x", mine.Name + "-okay", "msauth-session", " odd"} {
		foreign = append(foreign, name+"=1")
	}
	foreign = append(foreign, `q="a b"`, "=novalue", "noname", "x=a=b", "")
	cookie := strings.Join(foreign[:30], "; ") + "; " + headerOf(mine) + "; " + strings.Join(foreign[30:], "; ")
	for _, where := range []string{"/echo", "/public/echo"} {
		req, _ := http.NewRequest("GET", "https://app.test"+where, nil)
		req.Header["Cookie"] = []string{cookie}
		res := s.browser(t).send(req)
		if res.StatusCode != 200 {
			c.Fatalf("status %d", res.StatusCode)
		}
		if header := <-got; header != cookie {
			c.Errorf("the app sees %q, want %q", header, cookie)
		}
		if set := res.Header["Set-Cookie"]; len(set) != 0 {
			c.Errorf("foreign cookies make us set %v", set)
		}
	}
	// Signing out leaves them.
	for _, pair := range foreign[:50] {
		name, value, _ := strings.Cut(pair, "=")
		b.keep(name, value+"x")
	}
	b.still().get("/auth/logout", sameOrigin...)
	if n := len(b.cookies()); n != 50 {
		c.Errorf("%d cookies after signing out, want the 50 of others", n)
	}
	c.silent(s)
}
