package routers

import (
	"fmt"
	"net/http"

	"example.com/msauth"
	"example.com/msauth/graph"
)

// Files lists the files of the user who is signed in. Wrap it in Require. base is
// the base URL of Microsoft Graph, such as [graph.DefaultBase].
func Files(auth *msauth.Middleware, base string) http.HandlerFunc {
	// begin Graph
	files := func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		c := graph.New(s.Client(r.Context()), base)
		for file, err := range c.Files("me/drive").List(r.Context(), graph.Ref{}) {
			if auth.Challenge(w, r, err) { // only the user can help, and is asked
				return
			}
			if err != nil {
				http.Error(w, "Your files cannot be read right now.", http.StatusBadGateway)
				return
			}
			fmt.Fprintln(w, file.Name)
		}
	}
	// end Graph
	return files
}
