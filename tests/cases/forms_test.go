package cases_test

import (
	"html"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// aForm has what a page would do if it were taken for HTML.
const aForm = "note=%22%3E%3C%2Fform%3E%3Cscript%3Ealert%28%29%3C%2Fscript%3E%0D%0A%F0%9F%98%80&note=2&_charset_=UTF-8"

// sendForm posts aForm as a page of the site does; headers replace its own.
func sendForm(b *testsite.Browser, target string, header ...string) testsite.Seen {
	b.T.Helper()
	r, err := http.NewRequestWithContext(b.T.Context(), http.MethodPost, b.Site.URL+target, strings.NewReader(aForm))
	if err != nil {
		b.T.Fatal(err)
	}
	for all := slices.Concat(testsite.SameOrigin, []string{"Content-Type", "application/x-www-form-urlencoded"}, header); len(all) > 0; all = all[2:] {
		r.Header.Set(all[0], all[1])
	}
	return b.Send(r)
}

// orders serves /order, and returns what it gets.
func orders(s *testsite.Site) *[]string {
	var got []string
	s.Mux.Handle("/order", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		session, _ := msauth.FromContext(r.Context())
		got = append(got, session.User.Username+" "+r.RequestURI+" "+string(body))
	})))
	return &got
}

var formAction = regexp.MustCompile(`<form method="post" action="(/auth/again\?form=[^"]*)"`)

// timedOut posts aForm after the end of Ada's session and returns the page, and where it
// sends the form.
func timedOut(c *testCase, s *testsite.Site) (b *testsite.Browser, page testsite.Seen, again string) {
	b = s.Browser(c.T)
	b.SignIn(msauthtest.Ada)
	time.Sleep(25 * time.Hour)
	s.MS.ResetCalls()
	page = sendForm(b, "/order?x=1")
	action := formAction.FindStringSubmatch(page.Text)
	if page.StatusCode != 401 || action == nil {
		c.Fatalf("status %d, page %s", page.StatusCode, page.Text)
	}
	c.silent(s)
	return b, page, html.UnescapeString(action[1])
}

func TestCase150_FormSurvives(t *testing.T) {
	newCase(t).bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		got := orders(s)
		b, page, again := timedOut(c, s)
		if strings.Count(page.Text, "<script") != 1 || !strings.Contains(page.Text, `<script type="module" src="/auth/msauth.js?v=`) || strings.Count(page.Text, "</form>") != 1 || strings.Count(page.Text, `<input type="hidden"`) != 3 || len(page.Header["Set-Cookie"]) != 0 {
			c.Errorf("page %s", page.Text)
		}
		if strings.Contains(s.Log.String(), "alert") || strings.Contains(again, "alert") {
			c.Error("what was written is in the log or in the address")
		}
		b.SignIn(msauthtest.Ada)
		if sendForm(b, again); !slices.Equal(*got, []string{msauthtest.Ada + " /order?x=1 " + aForm}) {
			c.Errorf("the handler got %q", *got)
		}
	})
}

func TestCase151_OtherSendersOfAKeptForm(t *testing.T) {
	newCase(t).bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		got := orders(s)
		b, _, again := timedOut(c, s)
		b.SignIn(msauthtest.Ada)
		for _, header := range [][]string{
			{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Sec-Fetch-Site", "none"}, {"Sec-Fetch-Site", ""},
			{"Sec-Fetch-Dest", "iframe"}, {"Sec-Fetch-Dest", "empty"}, {"Sec-Fetch-Mode", "cors"},
		} {
			res := sendForm(b, again, header...)
			c.page(s, res, 403, "bad-request", "not sent by a page of this site")
		}
		if len(*got) != 0 {
			c.Errorf("the handler got %q", *got)
		}
	})
}

func TestCase152_KeptFormOfAnotherAccount(t *testing.T) {
	newCase(t).bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		got := orders(s)
		b, _, again := timedOut(c, s)
		b.SignIn(msauthtest.Bruno)
		s.MS.ResetCalls()
		page := sendForm(b, again)
		action := formAction.FindStringSubmatch(page.Text)
		if page.StatusCode != 409 || action == nil || !strings.Contains(page.Text, "in as "+msauthtest.Ada+". You are signed in as "+msauthtest.Bruno) || len(*got) != 0 {
			c.Fatalf("status %d, page %s; the handler got %q", page.StatusCode, page.Text, *got)
		}
		if sendForm(b, html.UnescapeString(action[1])); !slices.Equal(*got, []string{msauthtest.Bruno + " /order?x=1 " + aForm}) {
			c.Errorf("the handler got %q", *got)
		}
		c.silent(s)
	})
}

func TestCase153_AddressesOfKeptForms(t *testing.T) {
	newCase(t).bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		got := orders(s)
		other := testsite.NewInProcess(c.T, withKeysOf(s), func(cfg *msauth.Config) { cfg.ClientID = "another" })
		foreign := formAction.FindStringSubmatch(sendForm(other.Browser(c.T), "/order").Text)[1]
		b, _, again := timedOut(c, s)
		b.SignIn(msauthtest.Ada)
		refused := func(address string) {
			c.Helper()
			res := sendForm(b, address)
			c.page(s, res, 400, "form-expired", "damaged or too old")
			if strings.Contains(res.Text, "<form") || !strings.Contains(res.Text, "<textarea readonly>\n&#34;&gt;&lt;/form&gt;&lt;script&gt;") {
				c.Errorf("page %s", res.Text)
			}
		}
		for i := len("/auth/again?form="); i < len(again); i += 7 {
			refused(again[:i] + string(testsite.OtherCharacter(again[i])) + again[i+1:])
		}
		refused("/auth/again")
		refused(html.UnescapeString(foreign))
		time.Sleep(48 * time.Hour)
		refused(again)
		if len(*got) != 0 {
			c.Errorf("the handler got %q", *got)
		}
	})
}
