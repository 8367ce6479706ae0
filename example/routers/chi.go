package routers

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"example.com/msauth"
)

// Chi is the site on chi.
func Chi(auth *msauth.Middleware) http.Handler {
	// begin chi
	r := chi.NewRouter()
	r.Use(auth.Load)
	r.Handle("/auth/*", auth)
	r.Get("/", home)
	r.With(auth.Require).Get("/private", private)
	// end chi
	return r
}
