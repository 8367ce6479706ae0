package routers

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"net/http"

	"example.com/msauth"
)

// keepsForm has all forms kept but those with secrets, and those that lead to another site.
func keepsForm(r *http.Request) bool {
	return r.URL.Path != "/account/pin" && r.URL.Path != "/checkout"
}

// formToken is in a form of the app, against other sites. It is the person's and not the
// session's: after the end of the session it is still good for the same person.
func formToken(key []byte, s *msauth.Session) string {
	mac := hmac.New(sha256.New, key)
	io.WriteString(mac, "form "+s.User.Key())
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// tokenProtected refuses forms that do not have the token.
func tokenProtected(key []byte, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		if !hmac.Equal([]byte(r.PostFormValue("token")), []byte(formToken(key, s))) {
			http.Error(w, "Please open the form again, and copy what you wrote.", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// KeepForms is the setting of the site of [Forms].
func KeepForms(cfg *msauth.Config) { cfg.KeepForm = keepsForm }

// Forms is a site whose forms survive the end of a session.
func Forms(auth *msauth.Middleware) http.Handler {
	key := make([]byte, 32) // that all servers of an app have
	rand.Read(key)
	save := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		fmt.Fprintf(w, "%s wrote %q", s.User.Username, html.EscapeString(r.PostFormValue("text")))
	})
	mux := http.NewServeMux()
	mux.Handle("/auth/", auth)
	mux.Handle("GET /note", auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		fmt.Fprintf(w, `<form method="post"><input name="text"><input type="hidden" name="token" value="%s"><button>Save</button></form>`, formToken(key, s))
	})))
	mux.Handle("POST /note", auth.Require(tokenProtected(key, save))) // Require is outside of what reads the form
	mux.Handle("POST /account/pin", auth.Require(tokenProtected(key, save)))
	return mux
}
