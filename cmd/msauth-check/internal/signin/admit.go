package signin

import (
	"crypto/subtle"
	"net/http"
)

// cookieName is that of the cookie by which the operator's browser is known.
const cookieName = "msauth-check"

// admit lets in the browser that has opened the address with the key, which is printed for
// the operator. Everybody on the computer can connect to the port, and so can the pages of
// a site whose name leads to this computer (DNS rebinding): their Host is another.
func admit(host, key string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie(cookieName)
		switch {
		case r.Host != host:
			refuse(w, http.StatusMisdirectedRequest)
		case same(r.URL.Path, "/"+key):
			http.SetCookie(w, &http.Cookie{Name: cookieName, Value: key, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
			w.Header().Set("Referrer-Policy", "no-referrer")
			w.Header().Set("Cache-Control", "no-store")
			http.Redirect(w, r, "/", http.StatusSeeOther)
		case err != nil || !same(cookie.Value, key):
			refuse(w, http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func refuse(w http.ResponseWriter, status int) {
	http.Error(w, "Open the whole address that msauth-check has printed.", status)
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
