package routers_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/example/routers"
)

func TestLanguages(t *testing.T) {
	t.Parallel()
	cfg := msauth.Config{ClientID: "id", ClientSecret: "secret", BaseURL: "http://localhost:8080/auth", Keys: [][]byte{[]byte("0123456789abcdef0123456789abcdef")}}
	routers.InDanish(&cfg)
	auth, err := msauth.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ path, accept, cookie, want string }{
		{"/auth/signed-out", "da-DK,da", "", "<h1>Du er logget ud</h1>"},
		{"/auth/nothing", "da-DK,da", "", "<h1>Page not found</h1>"},
		{"/auth/signed-out", "en", "language=de", "<h1>Sie sind abgemeldet</h1>"},
		{"/auth/signed-out", "en", "", "<h1>You are signed out</h1>"},
	} {
		r := httptest.NewRequest(http.MethodGet, test.path, nil)
		r.Header.Set("Accept-Language", test.accept)
		r.Header.Set("Cookie", test.cookie)
		w := httptest.NewRecorder()
		auth.ServeHTTP(w, r)
		if !strings.Contains(w.Body.String(), test.want) {
			t.Errorf("%+v: %s", test, w.Body)
		}
	}
}
