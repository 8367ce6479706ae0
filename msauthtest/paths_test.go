package msauthtest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
)

// No path makes the server fail.
func FuzzDrivePath(f *testing.F) {
	for _, path := range []string{
		"root", "root:", "root:/a/b.txt:/content", "items/root:/x:/createUploadSession", "root/search(q='it''s')", "search(q='')",
		"root:/search(q='a')", "root:/a:/search(q='b:c')", "root/delta(token='latest')", "delta", "items//children", "items/x:/:/:",
		"root/thumbnails/0/small/content", "root/permissions/x", "root:/a/../b", "root::", ":", "root:x", "root/children/x", "root/restore",
	} {
		f.Add("GET", path)
		f.Add("PUT", path)
	}
	ms := msauthtest.New("http://localhost:9000")
	f.Cleanup(ms.Close)
	token := ""
	f.Fuzz(func(t *testing.T, method, path string) {
		a := newApp(t, ms)
		a.newBrowser(ms.Transport())
		if token == "" {
			token = a.signIn(msauthtest.Mia, "scope", "openid Files.ReadWrite").AccessToken
		}
		u, err := url.Parse(ms.URL + "/v1.0/me/drive/" + (&url.URL{Path: path}).EscapedPath())
		if err != nil {
			t.Skip()
		}
		req, err := http.NewRequest(method, u.String(), strings.NewReader("{}"))
		if err != nil {
			t.Skip()
		}
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := a.browser.Do(req)
		if err != nil {
			t.Fatalf("%s %q: %v", method, path, err)
		}
		if body(t, res); res.StatusCode >= 500 && res.StatusCode != http.StatusInsufficientStorage {
			t.Errorf("%s %q: %d", method, path, res.StatusCode)
		}
	})
}
