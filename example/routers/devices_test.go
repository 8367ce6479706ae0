package routers_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"example.com/msauth/example/routers"
)

// post posts a form of the site.
func (s *site) post(t *testing.T, path, from string, form url.Values) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html",
		"Sec-Fetch-Site": from, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document",
	} {
		req.Header.Set(name, value)
	}
	res, err := s.browser.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestDevices(t *testing.T) {
	t.Parallel()
	s := newSite(t, routers.Devices)
	phone := *s.browser
	phone.Jar, _ = cookiejar.New(nil)
	here := s.browser
	list := func(client *http.Client) string {
		t.Helper()
		s.browser = client
		res, body := s.get(t, "/sessions", "navigate")
		if res.StatusCode != http.StatusOK || !strings.Contains(body, "(this browser)") {
			t.Fatalf("status %d: %s", res.StatusCode, body)
		}
		return body
	}
	signedOut := func(client *http.Client) {
		t.Helper()
		s.browser = client
		if res, body := s.get(t, "/sessions", "cors"); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("status %d: %s", res.StatusCode, body)
		}
	}
	list(&phone)
	id := regexp.MustCompile(`name="id" value="([^"]+)"`).FindStringSubmatch(list(here))
	if id == nil {
		t.Fatal("the phone is not in the list")
	}
	for _, path := range []string{"/sessions/end", "/sessions/end-all"} {
		if status, body := s.post(t, path, "cross-site", url.Values{"id": id[1:]}); status != http.StatusForbidden {
			t.Errorf("%s of another site: status %d: %s", path, status, body)
		}
	}
	list(&phone)
	s.browser = here
	for range 2 {
		if status, body := s.post(t, "/sessions/end", "same-origin", url.Values{"id": id[1:]}); status != http.StatusOK || strings.Contains(body, id[1]) {
			t.Errorf("status %d: %s", status, body)
		}
	}
	signedOut(&phone)
	s.browser = here
	if status, body := s.post(t, "/sessions/end-all", "same-origin", nil); status != http.StatusOK || !strings.Contains(body, "signed out everywhere") {
		t.Errorf("status %d: %s", status, body)
	}
	signedOut(here)
}
