package msauthtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"

	"example.com/msauth/msauthtest"
)

// A server stands in for Microsoft. The app under test is configured with its
// URL and registration.
func Example() {
	ms := msauthtest.NewServer()
	defer ms.Close()
	ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })

	// In place of http.Get: auth, err := msauth.New(msauth.Config{Authority: ms.URL, ...})
	res, err := http.Get(ms.URL + "/common/v2.0/.well-known/openid-configuration")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	var doc struct {
		Issuer string `json:"issuer"`
	}
	if err := json.NewDecoder(res.Body).Decode(&doc); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(doc.Issuer == ms.URL+"/{tenantid}/v2.0")
	fmt.Println(ms.Count(msauthtest.Discovery))
	// Output:
	// true
	// 1
}

// The next two renewals fail. Later ones succeed.
func ExampleServer_Set() {
	ms := msauthtest.NewServer()
	defer ms.Close()
	ms.Set(func(b *msauthtest.Behavior) {
		b.AccessTokenLifetime = 5 * time.Minute
		b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{
			{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"30"}}},
			{Error: "invalid_grant", Suberror: "token_expired"},
		}
	})
	for range 2 {
		res, err := http.PostForm(ms.URL+"/common/oauth2/v2.0/token", url.Values{"grant_type": {"refresh_token"}})
		if err != nil {
			fmt.Println(err)
			return
		}
		res.Body.Close()
		fmt.Println(res.StatusCode, res.Header.Get("Retry-After"))
	}
	// Output:
	// 429 30
	// 400
}

// Add a person with a role.
func ExampleServer_SetUser() {
	ms := msauthtest.NewServer()
	defer ms.Close()
	ms.SetUser(msauthtest.User{SignInName: "admin@contoso.example", Name: "Ida Admin", Roles: []string{"Admin"}})
	for _, u := range ms.Users() {
		fmt.Println(u.Name)
	}
	// Output:
	// Ada Lindqvist
	// Bruno Okafor
	// Mia Müller
	// Grace Achterberg
	// Ida Admin
}

// Guard an API of the app's own.
func ExampleServer_Protect() {
	ms := msauthtest.NewServer()
	defer ms.Close()
	ms.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"Orders.Read", "Orders.Write"}})

	orders := httptest.NewServer(ms.Protect("api://orders", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "three orders")
	}), "Orders.Read"))
	defer orders.Close()

	// The app requests api://orders/Orders.Read and sends the token. Without one:
	res, err := http.Get(orders.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	fmt.Println(res.Status, ms.Count(msauthtest.OwnAPI))
	// Output: 401 Unauthorized 1
}

// Call the server in process, as in a testing/synctest bubble.
func ExampleServer_Transport() {
	ms := msauthtest.New("http://localhost:9000")
	client := &http.Client{Transport: ms.Transport()}
	res, err := client.Get(ms.URL + "/v1.0/me")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	fmt.Println(res.Status)
	// Output: 401 Unauthorized
}

// Serve on a listener of your own.
func ExampleNew() {
	ts := httptest.NewUnstartedServer(nil)
	ms := msauthtest.New("http://" + ts.Listener.Addr().String())
	ts.Config.Handler = ms
	ts.Start()
	defer ts.Close()
	res, err := http.Get(ms.URL + "/")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	fmt.Println(res.Status)
	// Output: 200 OK
}
