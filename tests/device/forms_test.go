package device_test

import (
	"html"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

var formAction = regexp.MustCompile(`<form method="post" action="(/auth/again\?form=[^"]*)"`)

// sendForm posts a form as a page of the site does, and shows the answer.
func sendForm(b *testsite.Browser, target string) (res testsite.Seen, again string) {
	b.T.Helper()
	r, err := http.NewRequestWithContext(b.T.Context(), http.MethodPost, b.Site.URL+target, strings.NewReader("note=1"))
	if err != nil {
		b.T.Fatal(err)
	}
	for all := slices.Concat(testsite.SameOrigin, []string{"Content-Type", "application/x-www-form-urlencoded"}); len(all) > 0; all = all[2:] {
		r.Header.Set(all[0], all[1])
	}
	res = b.Still().Send(r)
	if action := formAction.FindStringSubmatch(res.Text); action != nil {
		again = html.UnescapeString(action[1])
	}
	return res, again
}

// Whoever has copied a bound session learns nothing of it by posting a form. Its owner
// sends the form again.
func TestFormOfASessionWithoutItsProof(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		m := newMachine(t, s)
		m.register(m.signIn("/"))
		m.hello("bound")
		thief := m.thief(mainOnly)
		res, again := sendForm(thief, "/order")
		if res.StatusCode != 401 || again == "" || strings.Contains(res.Text, msauthtest.Ada) {
			t.Fatalf("status %d, page %s", res.StatusCode, res.Text)
		}
		thief.Keep(thief.Session()[0].Name, "")
		s.As(msauthtest.Bruno)
		thief.Get("/auth/login?prompt=select_account")
		if res, _ := sendForm(thief, again); res.StatusCode != 409 || strings.Contains(strings.ToLower(res.Text), "ada") || !strings.Contains(res.Text, "with another account. You are signed in as "+msauthtest.Bruno) {
			t.Errorf("status %d, page %s", res.StatusCode, res.Text)
		}
		if res, _ := sendForm(m.Browser, again); res.StatusCode != 307 || res.Header.Get("Location") != "/order" {
			t.Errorf("the owner gets status %d, page %s", res.StatusCode, res.Text)
		}
	}, offered)
}

// A form waits in its page until the session is bound, also where it never is.
func TestFormsWaitForTheBinding(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		m := newMachine(t, s)
		path, challenge := m.signIn("/")
		res, again := sendForm(m.Browser, "/order")
		if res.StatusCode != 401 || again == "" {
			t.Fatalf("while it is being bound: status %d, page %s", res.StatusCode, res.Text)
		}
		if res, once := sendForm(m.Browser, again); res.StatusCode != 401 || once == "" {
			t.Errorf("sent again meanwhile: status %d, page %s", res.StatusCode, res.Text)
		}
		m.register(path, challenge)
		if res, _ := sendForm(m.Browser, again); res.StatusCode != 307 {
			t.Errorf("bound: status %d, page %s", res.StatusCode, res.Text)
		}

		unable := newMachine(t, s)
		unable.signIn("/")
		time.Sleep(time.Minute)
		script := append([]string{"Sec-Fetch-Site", "same-origin"}, testsite.Script...)
		if res := unable.Get("/auth/session", script...); !strings.Contains(res.Text, `"signed_in":false`) || strings.Contains(res.Text, "person") || strings.Contains(res.Text, `"sign_in"`) {
			t.Errorf("a script is told %s", res.Text)
		}
		if res := unable.Get("/auth/login", script...); res.StatusCode != 401 || !strings.Contains(res.Text, `"sign_in":0`) { // it names no sign-in that may be bound yet
			t.Errorf("a refusal says %s", res.Text)
		}
		for _, target := range []string{"/order", again} {
			if res, again := sendForm(unable.Browser, target); res.StatusCode != 403 || res.Kind() != "device-required" || again == "" || !strings.Contains(res.Text, "still here") {
				t.Errorf("%.20s never bound: status %d, page %s", target, res.StatusCode, res.Text)
			}
		}
		// Nobody has proved whose it is: a copy of it tells no name.
		thief := unable.thief(mainOnly)
		_, again = sendForm(thief, "/order")
		s.As(msauthtest.Bruno)
		other := newMachine(t, s)
		found := offer.FindStringSubmatch(other.Still().Get(other.Attempt("/")).Header.Get("Secure-Session-Registration"))
		other.register(found[1], found[2])
		if res, _ := sendForm(other.Browser, again); res.StatusCode != 409 || strings.Contains(strings.ToLower(res.Text), "ada") {
			t.Errorf("status %d, page %s", res.StatusCode, res.Text)
		}
	}, required)
}

// The proof that RequireDevice asks for comes with the second redirect.
func TestFormThatNeedsAProof(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		s.Mux.Handle("/pay", s.Auth.RequireDevice(2*time.Minute)(http.HandlerFunc(testsite.Hello)))
		b := s.Browser(t)
		_, again := sendForm(b, "/pay")
		m := newMachine(t, s)
		m.register(m.signIn("/"))
		time.Sleep(5 * time.Minute)
		res, again := sendForm(m.Browser, again)
		if res.StatusCode != 409 {
			t.Fatalf("status %d, page %s", res.StatusCode, res.Text)
		}
		for _, target := range []string{again, "/pay"} {
			if res, _ := sendForm(m.Browser, target); res.StatusCode != 307 || res.Header.Get("Location") != "/pay" {
				t.Errorf("%.20s: status %d to %q", target, res.StatusCode, res.Header.Get("Location"))
			}
		}
		m.refresh()
		if res, _ := sendForm(m.Browser, "/pay"); res.Text != testsite.HelloAda {
			t.Errorf("status %d, page %s", res.StatusCode, res.Text)
		}
	}, offered)
}
