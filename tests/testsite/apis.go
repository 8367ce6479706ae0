package testsite

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// OrdersRead is a scope of the API that [Orders] serves.
const OrdersRead = "api://orders/Orders.Read"

// Orders makes a site with an API of its own beside Graph, on a server of its
// own that answers whom a request's token is for. do is what its page /do does.
func Orders(t *testing.T, do func(w http.ResponseWriter, r *http.Request, s *msauth.Session, api string), changes ...func(*msauth.Config)) *Site {
	t.Helper()
	var s *Site
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.MS.Protect("api://orders", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			claims, err := s.MS.VerifyAccessToken(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), "api://orders")
			if err != nil {
				http.Error(w, err.Error(), http.StatusTeapot)
				return
			}
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "orders of %s %s", claims["name"], body)
		}), "Orders.Read").ServeHTTP(w, r)
	}))
	t.Cleanup(api.Close)
	s = New(t, append([]func(*msauth.Config){func(c *msauth.Config) {
		c.TokenHosts = map[string][]string{strings.TrimPrefix(api.URL, "http://"): {OrdersRead}}
	}}, changes...)...)
	for _, name := range []string{"orders", "stock", "bills"} {
		s.MS.AddAPI(msauthtest.API{ID: "api://" + name})
	}
	for _, person := range []string{msauthtest.Ada, msauthtest.Bruno} {
		s.MS.Consent(person, OrdersRead, "api://stock/All", "api://bills/All")
	}
	s.Mux.Handle("/do", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		do(w, r, session, api.URL)
	})))
	return s
}

// GraphMe is the address at Graph of whoever a token is for, at the provider of a
// site in process.
const GraphMe = "http://localhost:9/v1.0/me"

// Call makes a request and returns its status; 0 and the error if there is none.
func Call(client *http.Client, method, target string, body io.Reader) (int, error) {
	req, err := http.NewRequest(method, target, body)
	if err != nil {
		return 0, err
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	io.Copy(io.Discard, res.Body)
	return res.StatusCode, nil
}
