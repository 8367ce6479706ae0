package msauthtest_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// exampleApp is an app under test: its only page says what Graph answers to the token
// of whoever has signed in. What it logs goes to the writer.
func exampleApp(ms *msauthtest.Server, logs io.Writer, changes ...func(*msauth.Config)) *httptest.Server {
	mux := http.NewServeMux()
	site := httptest.NewServer(mux)
	key := make([]byte, 32)
	rand.Read(key)
	cfg := msauth.Config{
		ClientID: ms.ClientID, ClientSecret: ms.ClientSecret, Authority: ms.URL,
		BaseURL: site.URL + "/auth", Keys: [][]byte{key}, Logger: slog.New(slog.NewTextHandler(logs, nil)),
	}
	for _, change := range changes {
		change(&cfg)
	}
	auth, err := msauth.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	mux.Handle("/auth/", auth)
	mux.Handle("/", auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		res, err := s.Client(r.Context()).Get(ms.URL + "/v1.0/me")
		if auth.Challenge(w, r, err) {
			return
		}
		if err != nil {
			http.Error(w, "no answer", http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		fmt.Fprintf(w, "%s: Graph says %d", s.User.Name, res.StatusCode)
	})))
	return site
}

// get is what the app answers to a client: the status, and the text of its own page.
func get(client *http.Client, site string) string {
	res, err := client.Get(site)
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		log.Fatal(err)
	}
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") {
		return fmt.Sprint(res.StatusCode)
	}
	return fmt.Sprint(res.StatusCode, " ", string(body))
}

func signIn(site *httptest.Server, person string) *http.Client {
	client, err := msauthtest.Client(site.URL, person)
	if err != nil {
		log.Fatal(err)
	}
	return client
}

// Graph wants Ada to sign in with an authentication context, and a script is told
// where. Others are not asked.
func ExampleServer_Challenge() {
	ms := msauthtest.NewServer()
	defer ms.Close()
	site := exampleApp(ms, io.Discard, func(cfg *msauth.Config) { cfg.ContinuousAccess = true })
	defer site.Close()
	ada, bruno := signIn(site, msauthtest.Ada), signIn(site, msauthtest.Bruno)

	withdraw := ms.Challenge(msauthtest.Challenge{SignInName: msauthtest.Ada, ACRS: "c1"})
	fmt.Println(get(ada, site.URL))
	fmt.Println(get(bruno, site.URL))
	withdraw()
	fmt.Println(get(ada, site.URL))
	// Output:
	// 401
	// 200 Bruno Okafor: Graph says 200
	// 200 Ada Lindqvist: Graph says 200
}

// An administrator ends all sign-ins of Ada, and Graph knows it at once (continuous
// access evaluation). Without the challenge the app would notice when her tokens are
// due.
func ExampleServer_Revoke() {
	ms := msauthtest.NewServer()
	defer ms.Close()
	site := exampleApp(ms, io.Discard, func(cfg *msauth.Config) { cfg.ContinuousAccess = true })
	defer site.Close()
	ada := signIn(site, msauthtest.Ada)
	fmt.Println(get(ada, site.URL))

	ms.Revoke(msauthtest.Ada)
	ms.Challenge(msauthtest.Challenge{SignInName: msauthtest.Ada})
	fmt.Println(get(ada, site.URL))
	// Output:
	// 200 Ada Lindqvist: Graph says 200
	// 401
}

// What reached Microsoft, and that no log has anything of it.
func ExampleServer_Secrets() {
	ms := msauthtest.NewServer()
	defer ms.Close()
	var logs strings.Builder
	site := exampleApp(ms, &logs)
	signIn(site, msauthtest.Ada)
	site.Close() // nothing is logged any more

	for _, call := range ms.Calls(msauthtest.TokenCode) {
		fmt.Println(call.Method, call.Path, "with a code verifier:", call.Form.Has("code_verifier"))
	}
	leaked := 0
	for _, secret := range ms.Secrets() {
		if strings.Contains(logs.String(), secret) {
			leaked++
		}
	}
	fmt.Println(ms.Count(msauthtest.Graph), "calls of Graph;", leaked, "of its secrets are in the log")
	// Output:
	// POST /common/oauth2/v2.0/token with a code verifier: true
	// 1 calls of Graph; 0 of its secrets are in the log
}

// An OpenID provider that is not Microsoft's. Azure AD B2C and Entra External ID are
// in B2C and ExternalID.
func ExampleServer_Plain() {
	ms := msauthtest.NewServer()
	defer ms.Close()
	site := exampleApp(ms, io.Discard, func(cfg *msauth.Config) {
		cfg.Authority, cfg.Issuer, cfg.Scopes = "", ms.Plain().Issuer, []string{"profile"}
	})
	defer site.Close()
	fmt.Println(get(signIn(site, msauthtest.Ada), site.URL)) // its tokens are not for Graph
	// Output: 200 Ada Lindqvist: Graph says 401
}

// The secret of the app ends, and another one has been registered in time.
func ExampleServer_AddSecret() {
	ms := msauthtest.NewServer()
	defer ms.Close()
	next := ms.AddSecret("the next secret")
	site := exampleApp(ms, io.Discard, func(cfg *msauth.Config) {
		cfg.Credentials = []msauth.Credential{msauth.Secret(cfg.ClientSecret), msauth.Secret("the next secret")}
		cfg.ClientSecret = ""
	})
	defer site.Close()

	ms.Secret().Expire()
	fmt.Println(get(signIn(site, msauthtest.Ada), site.URL))
	fmt.Println("accepted:", ms.Secret().Accepted(), next.Accepted())
	// Output:
	// 200 Ada Lindqvist: Graph says 200
	// accepted: 0 1
}

// A Kubernetes cluster whose tokens prove the app.
func ExampleNewIssuer() {
	ms := msauthtest.NewServer()
	defer ms.Close()
	cluster := msauthtest.NewIssuer()
	defer cluster.Close()
	const subject = "system:serviceaccount:shop:web"
	federated := ms.AddFederated(cluster.URL, subject, "")

	site := exampleApp(ms, io.Discard, func(cfg *msauth.Config) {
		cfg.ClientSecret = ""
		cfg.Credentials = []msauth.Credential{msauth.Assertion(func(_ context.Context, audience string) (string, error) {
			return cluster.Token(subject, audience, time.Hour), nil
		})}
	})
	defer site.Close()
	fmt.Println(get(signIn(site, msauthtest.Ada), site.URL))
	fmt.Println("accepted:", federated.Accepted())
	// Output:
	// 200 Ada Lindqvist: Graph says 200
	// accepted: 1
}

// A token of Live Connect that only somebody with the client secret could make, and
// that no app may accept all the same: it names a version twice.
func ExampleSignAuthenticationToken() {
	ms := msauthtest.NewServer()
	defer ms.Close()
	key := make([]byte, 32)
	rand.Read(key)
	auth, err := msauth.New(msauth.Config{
		ClientID: ms.ClientID, ClientSecret: ms.ClientSecret, Authority: ms.LiveAuthority(),
		BaseURL: "https://app.example.com/auth", Keys: [][]byte{key}, Scopes: []string{"wl.basic"},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		log.Fatal(err)
	}
	token := msauthtest.SignAuthenticationToken(ms.ClientSecret, `{"typ":"JWT","alg":"HS256","kid":"0"}`, `{"ver":1,"ver":1}`)
	user, err := auth.VerifyAuthenticationToken(context.Background(), token)
	fmt.Println(user.Key() == "", err != nil)
	// Output: true true
}
