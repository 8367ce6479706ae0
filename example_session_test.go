package msauth_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"example.com/msauth"
)

// A session with scopes and an end, for a test of a handler that looks at them.
func ExampleNewSessionFrom() {
	report := func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		fmt.Fprintln(w, "files:", s.HasScope("Files.Read"))
		fmt.Fprintln(w, "mail:", s.HasScope("Mail.Read"))
		fmt.Fprintln(w, "ends:", s.Ends().Format(time.DateOnly))
	}

	s := msauth.NewSessionFrom(msauth.SessionParts{
		User:   msauth.User{Name: "Ada"},
		Scopes: []string{"User.Read", "Files.Read"},
		Ends:   time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC),
	})
	r := httptest.NewRequest("GET", "/", nil)
	w := httptest.NewRecorder()
	report(w, r.WithContext(msauth.NewContext(r.Context(), s)))
	fmt.Print(w.Body)
	// Output:
	// files: true
	// mail: false
	// ends: 2030-01-31
}
