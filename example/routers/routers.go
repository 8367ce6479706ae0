// Package routers shows package msauth with common routers: those of net/http,
// chi, echo, gin and gorilla/mux. Each function makes the same small site, with the
// pages
//
//	/auth/...   sign-in and sign-out, served by msauth
//	/           for everybody; greets users who are signed in
//	/private    for users who are signed in
//
// The documentation quotes the parts between the "begin" and "end" marks.
package routers

import (
	"fmt"
	"net/http"

	"example.com/msauth"
)

// home is a page for everybody.
func home(w http.ResponseWriter, r *http.Request) {
	if s, ok := msauth.FromContext(r.Context()); ok {
		fmt.Fprintf(w, "Hello, %s", s.User.Name)
		return
	}
	fmt.Fprint(w, "Hello, whoever you are")
}

// private is a page for users who are signed in.
func private(w http.ResponseWriter, r *http.Request) {
	s, ok := msauth.FromContext(r.Context())
	if !ok {
		http.Error(w, "no session under Require", http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "For %s only", s.User.Name)
}
