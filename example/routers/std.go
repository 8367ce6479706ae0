package routers

import (
	"net/http"

	"example.com/msauth"
)

// Std is the site on net/http's own router.
func Std(auth *msauth.Middleware) http.Handler {
	// begin net/http
	mux := http.NewServeMux()
	mux.Handle("/auth/", auth)
	mux.Handle("GET /{$}", auth.Load(http.HandlerFunc(home)))
	mux.Handle("GET /private", auth.Require(http.HandlerFunc(private)))
	// end net/http
	return mux
}

// Stripped is the site with its parts behind [http.StripPrefix], which takes
// "/auth" and "/private" off the paths before msauth and the page see them.
func Stripped(auth *msauth.Middleware) http.Handler {
	// begin http.StripPrefix
	mux := http.NewServeMux()
	mux.Handle("/auth/", http.StripPrefix("/auth", auth))
	mux.Handle("/private", http.StripPrefix("/private", auth.Require(http.HandlerFunc(private))))
	mux.Handle("/", auth.Load(http.HandlerFunc(home)))
	// end http.StripPrefix
	return mux
}
