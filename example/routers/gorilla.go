package routers

import (
	"net/http"

	"github.com/gorilla/mux"

	"example.com/msauth"
)

// Gorilla is the site on gorilla/mux.
func Gorilla(auth *msauth.Middleware) http.Handler {
	// begin gorilla/mux
	r := mux.NewRouter()
	r.Use(auth.Load)
	r.PathPrefix("/auth/").Handler(auth)
	r.HandleFunc("/", home)
	members := r.PathPrefix("/private").Subrouter()
	members.Use(auth.Require)
	members.HandleFunc("", private)
	// end gorilla/mux
	return r
}
