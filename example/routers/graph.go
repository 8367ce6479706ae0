package routers

import (
	"encoding/json"
	"fmt"
	"net/http"

	"example.com/msauth"
)

// Files lists the files of the user who is signed in. Wrap it in Require. graph is
// the base URL of Microsoft Graph, https://graph.microsoft.com/v1.0.
func Files(auth *msauth.Middleware, graph string) http.HandlerFunc {
	// begin Graph
	files := func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		res, err := s.Client(r.Context()).Get(graph + "/me/drive/root/children?$select=name")
		if auth.Challenge(w, r, err) { // only the person can help, and is asked
			return
		}
		if err != nil {
			http.Error(w, "Your files cannot be read right now.", http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		var list struct{ Value []struct{ Name string } }
		if err := json.NewDecoder(res.Body).Decode(&list); err != nil || res.StatusCode != http.StatusOK {
			http.Error(w, "OneDrive answers "+res.Status, http.StatusBadGateway)
			return
		}
		for _, file := range list.Value {
			fmt.Fprintln(w, file.Name)
		}
	}
	// end Graph
	return files
}
