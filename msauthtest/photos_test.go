package msauthtest_test

import (
	"image"
	"net/url"
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
)

func TestPhotosBySize(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	token := a.signIn(msauthtest.Ada).AccessToken
	v1 := a.ms.URL + "/v1.0"
	for path, want := range map[string]int{"/me/photo": 240, "/me/photos/48x48": 48, "/me/photos/120x120": 120, "/users/" + url.PathEscape(msauthtest.Ada) + "/photos/96x96": 96} {
		var about struct{ Width, Height int }
		if a.json2(v1+path, token, &about); about.Width != want || about.Height != want {
			t.Errorf("%s: %+v", path, about)
		}
		res, text := a.graph(v1+path+"/$value", token)
		img, _, err := image.DecodeConfig(strings.NewReader(text))
		if res.StatusCode != 200 || err != nil || img.Width != want || img.Height != want {
			t.Errorf("%s: %d %v, %d x %d", path, res.StatusCode, err, img.Width, img.Height)
		}
	}
	a.refused(404, "ImageNotFound", "GET", v1+"/me/photos/648x648/$value", token, "")
	a.refused(404, "ImageNotFound", "GET", v1+"/me/photos/48x96/$value", token, "")
}

func TestPhotosOfOthers(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	token := a.signIn(msauthtest.Ada).AccessToken
	grace := a.ms.URL + "/v1.0/users/" + msauthtest.Grace + "/photo/$value"
	a.refused(403, "Authorization_RequestDenied", "GET", grace, token, "")
	token = a.signIn(msauthtest.Ada, "scope", "openid User.ReadBasic.All").AccessToken
	if res, _ := a.graph(grace, token); res.StatusCode != 200 {
		t.Errorf("a colleague: %d", res.StatusCode)
	}
	a.refused(404, "Request_ResourceNotFound", "GET", a.ms.URL+"/v1.0/users/"+msauthtest.Bruno+"/photo/$value", token, "")
	for _, u := range a.ms.Users() {
		if u.SignInName == msauthtest.Grace {
			u.NoPhoto = true
			a.ms.SetUser(u)
		}
	}
	a.refused(404, "ImageNotFound", "GET", grace, token, "")
}
