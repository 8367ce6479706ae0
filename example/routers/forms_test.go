package routers_test

import (
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"example.com/msauth/example/routers"
	"example.com/msauth/msauthtest"
)

// The app's own token is still good for the person who wrote, and for nobody else.
func TestForms(t *testing.T) {
	t.Parallel()
	action := regexp.MustCompile(`action="(/auth/again[^"]*)"`)
	for _, test := range []struct{ person, want string }{
		{msauthtest.Ada, `ada@contoso.example wrote "two words"`},
		{msauthtest.Bruno, "Please open the form again"},
	} {
		s := newSite(t, routers.Forms, routers.KeepForms)
		_, page := s.get(t, "/note", "navigate")
		token := regexp.MustCompile(`name="token" value="([^"]+)"`).FindStringSubmatch(page)
		if token == nil {
			t.Fatalf("page %s", page)
		}
		form := url.Values{"text": {"two words"}, "token": token[1:]}
		if status, body := s.post(t, "/note", "same-origin", form); status != http.StatusOK {
			t.Fatalf("at once: status %d: %s", status, body)
		}
		s.browser.Jar, _ = cookiejar.New(nil) // the session is gone
		if status, body := s.post(t, "/account/pin", "same-origin", form); status != http.StatusUnauthorized || action.MatchString(body) {
			t.Errorf("a form that is not kept: status %d: %s", status, body)
		}
		status, body := s.post(t, "/note", "same-origin", form)
		again := action.FindStringSubmatch(body)
		if status != http.StatusUnauthorized || again == nil {
			t.Fatalf("status %d: %s", status, body)
		}
		s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = test.person })
		s.get(t, "/note", "navigate")
		_, body = s.post(t, html.UnescapeString(again[1]), "same-origin", form) // asks: nobody knows whose form it is
		again = action.FindStringSubmatch(body)
		if again == nil {
			t.Fatalf("page %s", body)
		}
		if _, body = s.post(t, html.UnescapeString(again[1]), "same-origin", form); !strings.Contains(body, test.want) {
			t.Errorf("%s: %s", test.person, body)
		}
	}
}
