package routers

import (
	"errors"
	"fmt"
	"html"
	"net/http"
	"time"

	"example.com/msauth"
)

// Devices is a site with a page "Where you are signed in".
func Devices(auth *msauth.Middleware) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/auth/", auth)
	mux.Handle("GET /sessions", auth.Require(devices(auth)))
	mux.Handle("POST /sessions/end", auth.Require(end(auth)))
	mux.Handle("POST /sessions/end-all", auth.Require(endAll(auth)))
	return http.NewCrossOriginProtection().Handler(mux)
}

// devices lists where the person is signed in, with a form for each other browser.
func devices(auth *msauth.Middleware) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		list, err := auth.Sessions(r.Context(), s.User.Key())
		if err != nil {
			http.Error(w, "The list is not available. Please try again in a moment.", http.StatusServiceUnavailable)
			return
		}
		for _, one := range list {
			fmt.Fprintf(w, "<p>%s %s, last used %s", html.EscapeString(one.Browser), html.EscapeString(one.Platform), one.LastUsed.UTC().Format(time.RFC1123))
			if one.Current {
				fmt.Fprintf(w, ` (this browser) <a href="%s">Sign out</a>`, auth.LogoutURL())
				continue
			}
			fmt.Fprintf(w, `<form method="post" action="/sessions/end"><button name="id" value="%s">Sign out</button></form>`, one.ID)
		}
		fmt.Fprint(w, `<form method="post" action="/sessions/end-all"><button>Sign out everywhere</button></form>`)
	})
}

// end signs out one of the person's own browsers: the account's key is that of the
// session, never a field of the form.
func end(auth *msauth.Middleware) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		err := auth.SignOutSession(r.Context(), s.User.Key(), r.PostFormValue("id"))
		if err != nil && !errors.Is(err, msauth.ErrUnknownSession) { // which means that it has ended already
			http.Error(w, "The other servers do not know yet. Please look again in a moment.", http.StatusServiceUnavailable)
			return
		}
		http.Redirect(w, r, "/sessions", http.StatusSeeOther)
	})
}

// endAll signs the person out everywhere, here too.
func endAll(auth *msauth.Middleware) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		if err := auth.SignOutUser(r.Context(), s.User.Key()); err != nil {
			http.Error(w, "You are signed out on this server. The others do not know yet, and will follow.", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, `You are signed out everywhere. <a href="%s">Sign out at Microsoft too</a>`, auth.LogoutURL())
	})
}
