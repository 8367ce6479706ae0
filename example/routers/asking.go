package routers

import (
	"net/http"
	"time"

	"example.com/msauth"
)

// Asking is a site with pages that require more than a sign-in. orders is the URL of
// one of the app's own APIs, whose host is in Config.TokenHosts.
func Asking(auth *msauth.Middleware, orders string) http.Handler {
	page := http.HandlerFunc(private)
	calendar, codes, pay, admin := page, page, page, page
	mux := http.NewServeMux()
	mux.Handle("/auth/", auth)
	// begin asking for more
	mux.Handle("/calendar", auth.RequireScopes("Calendars.Read")(calendar)) // asks on the first visit
	mux.Handle("/codes", auth.RequireFreshSignIn(5*time.Minute)(codes))     // password again
	mux.Handle("/pay", auth.RequireAuthContext("c1")(pay))                  // Conditional Access
	mux.Handle("/admin", auth.RequireRole("Admin")(admin))                  // 403 for all others
	// end asking for more
	mux.Handle("/orders", auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		res, err := s.Client(r.Context()).Get(orders)
		if auth.Challenge(w, r, err) {
			return
		}
		if err != nil {
			http.Error(w, "Your orders cannot be read right now.", http.StatusBadGateway)
			return
		}
		res.Body.Close()
		w.WriteHeader(res.StatusCode)
	})))
	return mux
}
