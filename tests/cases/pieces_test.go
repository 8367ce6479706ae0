package cases_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestCase067_EveryByteCounts(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t, large)
	_, cookies := pieces(t, s)
	s.MS.ResetCalls()
	if got := ask(t, s, testsite.HeaderOf(cookies...)).Text; got != "hello Grace Achterberg" {
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
			if value[at] = testsite.OtherCharacter(value[at]); at == 0 && i == 0 {
				value[at] = '7' // the count of pieces
			}
			changed[i] = with(cookie, string(value))
			if res := ask(t, s, testsite.HeaderOf(changed...), testsite.Script...); res.Text != testsite.HelloNobody || res.StatusCode != 200 || len(res.Cookies()) != 0 {
				c.Fatalf("byte %d of %s changed: status %d, page %q", at, cookie.Name, res.StatusCode, res.Text)
			}
			n++
		}
	}
	c.logged(s, "reason=unreadable", n)
	c.silent(s)
}

func TestCase068_MalformedPieces(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t, large)
	_, cookies := pieces(t, s)
	_, small := testsite.AdaSession(t, s)
	s.MS.ResetCalls()
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
				req.Header["Cookie"] = []string{testsite.HeaderOf(changed...)} // past the checks of the client
				req.Header["Accept"] = []string{"*/*"}
				res := s.Browser(t).Send(req)
				if res.Text != testsite.HelloNobody || res.StatusCode != 200 {
					c.Fatalf("%.40q of %d bytes in %s: status %d, page %q", value, len(value), cookie.Name, res.StatusCode, res.Text)
				}
				n++
			}
		}
	}
	c.logged(s, "reason=unreadable", n)
	c.silent(s)
}

func TestCase069_MissingPiece(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t, large)
	_, cookies := pieces(t, s)
	s.MS.ResetCalls()
	for i := range cookies {
		left := slices.Delete(slices.Clone(cookies), i, i+1)
		before := len(s.Log.With("session cleared"))
		res := ask(t, s, testsite.HeaderOf(left...))
		if res.Text != testsite.HelloNobody {
			c.Errorf("without %s: page %q", cookies[i].Name, res.Text)
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
	if got := ask(t, s, testsite.HeaderOf(cookies...)).Text; got != "hello Grace Achterberg" {
		c.Errorf("in another order: page %q", got)
	}
	c.silent(s)
}

func TestCase071_SplicedPieces(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T, large)
		one, first := pieces(c.T, s)
		_, second := pieces(c.T, s)
		// The same person, after a renewal of the same session.
		s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Second })
		renewed, old := pieces(c.T, s)
		time.Sleep(1100 * time.Millisecond)
		renewed.Get("/")
		c.calls(s, msauthtest.TokenRefresh, 1)
		newer := renewed.Session()
		if old[0].Value == newer[0].Value {
			c.Fatal("the session was not written again")
		}
		s.MS.ResetCalls()
		n := 0
		for _, pair := range [][2][]*http.Cookie{{first, second}, {second, first}, {old, newer}, {newer, old}} {
			for i := range pair[0] {
				mixed := slices.Clone(pair[0])
				mixed[i] = pair[1][i]
				if got := ask(c.T, s, testsite.HeaderOf(mixed...), testsite.Script...).Text; got != testsite.HelloNobody {
					c.Errorf("piece %d of another session: page %q", i, got)
				}
				n++
			}
		}
		// Pieces out of their places.
		swapped := slices.Clone(first)
		swapped[0], swapped[1] = with(first[0], first[1].Value), with(first[1], first[0].Value)
		if got := ask(c.T, s, testsite.HeaderOf(swapped...), testsite.Script...).Text; got != testsite.HelloNobody {
			c.Errorf("swapped pieces: page %q", got)
		}
		c.logged(s, "reason=unreadable", n+1)
		c.silent(s)
		one.WantGreeting("hello Grace Achterberg")
	})
}

func TestCase072_SurplusPieces(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t, large)
	_, cookies := pieces(t, s)
	b, cookie := testsite.AdaSession(t, s)
	s.MS.ResetCalls()
	for _, surplus := range append(cookies[1:], &http.Cookie{Name: cookie.Name + "-9", Value: "x"}, &http.Cookie{Name: cookie.Name + "-5", Value: ""}) {
		res := ask(t, s, testsite.HeaderOf(cookie, surplus))
		if res.Text != testsite.HelloAda {
			c.Errorf("with %s: page %q", surplus.Name, res.Text)
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
	b.SignIn(msauthtest.Ada)
	large, _ := pieces(t, s)
	large.Get(attempt2(large, msauthtest.Ada))
	if got := large.Session(); len(got) != 1 {
		c.Errorf("%d cookies after the smaller session, want 1", len(got))
	}
	large.WantGreeting(testsite.HelloAda)
	c.calls(s, msauthtest.TokenRefresh, 0)
}

// attempt2 begins a sign-in of somebody else on top of a session.
func attempt2(b *testsite.Browser, person string) string {
	b.T.Helper()
	b.Site.As(person)
	return b.Attempt("/auth/login?prompt=login")
}

func TestCase074_PlantedCookies(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t, large)
	_, mine := testsite.AdaSession(t, s)
	attacker := s.Browser(t)
	attacker.SignIn(msauthtest.Bruno)
	theirs := attacker.Session()[0]
	_, parts := pieces(t, s)
	s.MS.ResetCalls()
	for name, cookie := range map[string]string{
		"another session before":        testsite.HeaderOf(theirs, mine),
		"another session after":         testsite.HeaderOf(mine, theirs),
		"another session, several":      testsite.HeaderOf(theirs, theirs, theirs, mine),
		"nonsense before":               testsite.HeaderOf(with(mine, "1AAAA"), with(mine, ""), with(mine, "x"), mine),
		"nonsense after":                testsite.HeaderOf(mine, with(mine, "1AAAA")),
		"nonsense, many":                strings.Repeat(mine.Name+"=x; ", 50) + testsite.HeaderOf(mine),
		"in other case":                 strings.Replace(testsite.HeaderOf(theirs), "__Host-", "__host-", 1) + "; " + testsite.HeaderOf(mine),
		"in upper case":                 strings.ToUpper(theirs.Name) + "=" + theirs.Value + "; " + testsite.HeaderOf(mine),
		"with a space in the name":      theirs.Name + " =" + theirs.Value + "; " + testsite.HeaderOf(mine),
		"with a space before the value": theirs.Name + "= " + theirs.Value + "; " + testsite.HeaderOf(mine),
		"quoted":                        theirs.Name + `="` + theirs.Value + `"; ` + testsite.HeaderOf(mine),
		"without a name":                "=" + testsite.HeaderOf(theirs) + "; " + testsite.HeaderOf(mine),
		"in an attribute":               "x=y,$Path=/," + testsite.HeaderOf(theirs) + "; " + testsite.HeaderOf(mine),
		"in two lines":                  testsite.HeaderOf(mine) + "\n" + testsite.HeaderOf(theirs),
		"pieces before a single one":    testsite.HeaderOf(parts[1], mine),
		"pieces of another":             testsite.HeaderOf(parts[1:]...) + "; " + testsite.HeaderOf(mine),
		"another's first of several":    testsite.HeaderOf(parts[0], mine, parts[1]),
		"escaped":                       strings.Replace(testsite.HeaderOf(theirs), "_", "%5f", 1) + "; " + testsite.HeaderOf(mine),
	} {
		for _, where := range []string{"/public/", "/a"} {
			req, _ := http.NewRequest("GET", "https://app.test"+where, nil)
			req.Header["Cookie"] = strings.Split(cookie, "\n")
			b := s.Browser(t)
			res := b.Still().Send(req)
			switch {
			case res.Text == testsite.HelloAda, res.StatusCode == 200 && res.Text == testsite.HelloNobody:
			case res.StatusCode == 303 && strings.HasPrefix(res.Header.Get("Location"), s.MS.URL):
			default:
				c.Errorf("%s: %s gives status %d, page %q", name, where, res.StatusCode, res.Text)
			}
		}
	}
	// No loop while somebody keeps planting: a page after the first sign-in,
	// and a link that leads out of it.
	s.As(msauthtest.Ada)
	garbage := s.Browser(t)
	garbage.Still().Get(garbage.Attempt("/a"))
	marked := s.Browser(t)
	for _, planted := range []string{strings.Repeat(mine.Name+"=x; ", 9) + garbage.CookieLine(), mine.Name + "-ok=1"} {
		for range 3 {
			req, _ := http.NewRequest("GET", "https://app.test/a", nil)
			req.Header["Cookie"] = []string{planted}
			res := s.Browser(t).Still().Send(req)
			c.page(s, res, http.StatusBadRequest, "loop", "was the cookie dropped or cut")
			if !strings.Contains(res.Text, `href="/auth/login?return_to=%2Fa"`) {
				c.Errorf("no way out: %s", res.Text)
			}
		}
	}
	// Signing in asks once, as a page that sends people there would do so in
	// circles, and goes on at a click whatever is planted meanwhile.
	for range 2 {
		marked.Keep(mine.Name+"-ok", "1")
		res := marked.Still().Get("/auth/login?return_to=/a")
		c.page(s, res, http.StatusBadRequest, "loop", "was the cookie dropped or cut")
		marked.Keep(mine.Name+"-ok", "1")
		if got := marked.Get(testsite.LinksOf(res)[0]).Text; got != testsite.HelloAda {
			c.Errorf("with a planted marker, signing in gives %q", got)
		}
		marked.Keep(mine.Name, "")
	}
	c.calls(s, msauthtest.TokenRefresh, 0)
}

// A store of gorilla's takes the first cookie of a name.
func TestCase074_PlantedCookiesOfAStore(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t, func(cfg *msauth.Config) { cfg.Store = testsite.FileStore(t) })
	ada, bruno := s.Browser(t), s.Browser(t)
	ada.SignIn(msauthtest.Ada)
	bruno.SignIn(msauthtest.Bruno)
	mine, theirs := ada.Session()[0], bruno.Session()[0]
	for _, cookie := range []string{testsite.HeaderOf(theirs, mine), testsite.HeaderOf(mine, theirs), testsite.HeaderOf(with(mine, "x"), mine)} {
		if got := ask(t, s, cookie).Text; got != testsite.HelloAda && got != testsite.HelloNobody {
			c.Errorf("page %q", got)
		}
	}
	c.calls(s, msauthtest.TokenRefresh, 0)
}

func TestCase076_Rollback(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Second })
		b, old := testsite.AdaSession(c.T, s)
		time.Sleep(1100 * time.Millisecond)
		b.Get("/")
		newer := b.Session()[0]
		if old.Value == newer.Value {
			c.Fatal("the session was not written again")
		}
		if got := ask(c.T, s, testsite.HeaderOf(old)).Text; got != testsite.HelloAda {
			c.Errorf("the older cookie after a renewal: page %q", got)
		}
		c.calls(s, msauthtest.TokenRefresh, 1)
		b.Still().Get("/auth/logout", testsite.SameOrigin...)
		for _, cookie := range []*http.Cookie{old, newer} {
			res := ask(c.T, s, testsite.HeaderOf(cookie))
			if res.Text != testsite.HelloNobody {
				c.Errorf("after signing out: page %q", res.Text)
			}
		}
		c.logged(s, "reason=ended", 2)
		c.calls(s, msauthtest.TokenRefresh, 1)
		// Another process knows nothing of it: SECURITY.md says so.
		s.Restart(c.T)
		if got := ask(c.T, s, testsite.HeaderOf(newer)).Text; got != testsite.HelloAda {
			c.Errorf("in another process: page %q, and SECURITY.md says that it is accepted there", got)
		}
	})
}

func TestCase077_SecretRotation(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		old := s.Cfg.Keys[0]
		b, first := testsite.AdaSession(c.T, s)
		attempt := b.Attempt("/auth/login")
		key := testsite.NewKey()
		s.Restart(c.T, func(cfg *msauth.Config) { cfg.Keys = [][]byte{key, old} })
		b.WantGreeting(testsite.HelloAda)
		time.Sleep(2 * time.Hour) // the next step in which use is noted
		b.Get("/public/")
		second := b.Session()[0]
		if first.Value == second.Value {
			c.Error("the session was not written with the new key")
		}
		s.Restart(c.T, func(cfg *msauth.Config) { cfg.Keys = [][]byte{key} })
		s.MS.ResetCalls()
		b.WantGreeting(testsite.HelloAda)
		res := ask(c.T, s, testsite.HeaderOf(first))
		if res.Text != testsite.HelloNobody || res.StatusCode != 200 {
			c.Errorf("a cookie of the dropped key: status %d, page %q", res.StatusCode, res.Text)
		}
		c.logged(s, "reason=unreadable", 1)
		c.silent(s)
		stranger := s.Browser(c.T)
		stranger.Keep(first.Name, first.Value)
		c.signedOut(stranger)
		c.refused(stranger, stranger.Get(attempt), 400, "start-again", "state is missing, altered")
	})
}

func TestCase079_CiphertextNeverRepeats(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) { // where time stands still
		s := testsite.NewInProcess(c.T)
		seen := map[string]bool{}
		parts := map[string]bool{}
		_, cookie := testsite.AdaSession(c.T, s)
		for range 30 {
			time.Sleep(time.Hour + time.Second) // the same session, used
			b := s.Browser(c.T)
			b.Keep(cookie.Name, cookie.Value)
			s.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 500} })
			b.Get("/public/")
			got := b.Session()
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
		b := s.Browser(c.T)
		for range 30 {
			state := b.AuthorizeQuery("/same").Get("state")
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
	s := testsite.NewInProcess(t)
	b, mine := testsite.AdaSession(t, s)
	got := make(chan string, 2)
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got <- strings.Join(r.Header["Cookie"], "\n") })
	s.Mux.Handle("/echo", s.Auth.Require(echo))
	s.Mux.Handle("/public/echo", s.Auth.Load(echo))
	s.MS.ResetCalls()
	var foreign []string
	for i := range 50 {
		foreign = append(foreign, fmt.Sprintf("c%d=%s", i, strings.Repeat("v", i)))
	}
	for _, name := range []string{mine.Name + "2", mine.Name + "-", mine.Name + "-x", mine.Name + "-10", mine.Name + "-0", mine.Name[:len(mine.Name)-1], "__Host-", "__Host-msauth", mine.Name + "-login", mine.Name + "-login-x", mine.Name + "-okay", "msauth-session", " odd"} {
		foreign = append(foreign, name+"=1")
	}
	foreign = append(foreign, `q="a b"`, "=novalue", "noname", "x=a=b", "")
	cookie := strings.Join(foreign[:30], "; ") + "; " + testsite.HeaderOf(mine) + "; " + strings.Join(foreign[30:], "; ")
	for _, where := range []string{"/echo", "/public/echo"} {
		req, _ := http.NewRequest("GET", "https://app.test"+where, nil)
		req.Header["Cookie"] = []string{cookie}
		res := s.Browser(t).Send(req)
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
		b.Keep(name, value+"x")
	}
	b.Still().Get("/auth/logout", testsite.SameOrigin...)
	if n := len(b.Cookies()); n != 50 {
		c.Errorf("%d cookies after signing out, want the 50 of others", n)
	}
	c.silent(s)
}
