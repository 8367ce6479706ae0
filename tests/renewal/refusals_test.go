package renewal_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// Bodies that Microsoft's token endpoint has been seen to send, or that its
// documentation describes, as answers to a renewal at Entra. testdata/refusals.json says
// where each was seen; whom they are about is made up.
func TestRefusalsThatMicrosoftSends(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/refusals.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		Seen   string
		Status int
		Body   json.RawMessage
		Want   msauth.Class
	}
	if err := json.Unmarshal(text, &rows); err != nil {
		t.Fatal(err)
	}
	for i, row := range rows {
		for _, only := range []string{"common", msauthtest.TenantContoso} {
			t.Run(fmt.Sprint(i, " ", row.Want, " ", only), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := testsite.NewInProcess(t, testsite.Tenant(only))
					s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
					b := s.Browser(t)
					b.SignIn(msauthtest.Ada)
					s.MS.Set(func(b *msauthtest.Behavior) {
						b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: row.Status, Body: string(row.Body)}
					})
					s.MS.ResetCalls()
					time.Sleep(testsite.Expired)
					still := b.Still()
					page := still.Get("/public/")
					if lines := s.Log.With("event=renewal "); len(lines) != 1 || !strings.Contains(lines[0], fmt.Sprintf("outcome=%q", row.Want)) && !strings.Contains(lines[0], fmt.Sprintf("outcome=%s ", row.Want)) {
						t.Errorf("log lines %q, want one of class %q for %s", lines, row.Want, row.Body)
					}
					if ended := page.Text == testsite.HelloNobody; ended != (row.Want == msauth.ClassSignIn) {
						t.Errorf("page %q after a refusal of class %q", page.Text, row.Want)
					}
					// One person's refusal is no outage and says nothing of the app.
					trouble := row.Want == msauth.ClassMisconfigured && (only != "common" || strings.Contains(string(row.Body), `"invalid_client"`))
					if err := s.Auth.Ready(t.Context()); (err != nil) != trouble {
						t.Errorf("Ready returns %v", err)
					}
					if s.Auth.Stats().Paused {
						t.Error("renewals pause")
					}
				})
			})
		}
	}
}

// AADSTS50196 looks like a revoked token. It is a loop of some client's, and
// passes. Live Connect has no numbers.
func TestLoopAtMicrosoftIsWaitedOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{{Error: "invalid_grant", Codes: []int{50196}}}
		})
		s.MS.ResetCalls()
		time.Sleep(testsite.Expired)
		for range 59 {
			b.WantGreeting(testsite.HelloAda)
			time.Sleep(time.Second)
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
		time.Sleep(2 * time.Second)
		if res := b.Get("/?token"); res.StatusCode != http.StatusOK {
			t.Errorf("status %d, %s", res.StatusCode, res.Text)
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 2)
	})
}

// The number makes an outcome milder at Microsoft only, and only where it is
// what the reply is about.
func TestLoopNumberElsewhereMeansNothing(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]msauthtest.Failure{
		"not the first": {Error: "invalid_grant", Codes: []int{50173, 50196}},
		"in the text":   {Status: 400, Body: `{"error":"invalid_grant","error_description":"AADSTS70008: expired; unlike AADSTS50196: a loop"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t)
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				s.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = failure })
				time.Sleep(2 * time.Hour)
				b.WantGreeting(testsite.HelloNobody)
			})
		})
	}
	t.Run("another provider", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := testsite.NewInProcess(t, testsite.Issuer("http://localhost:9/generic"))
			b := s.Browser(t)
			b.SignIn(msauthtest.Ada)
			s.MS.Set(func(b *msauthtest.Behavior) {
				b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Error: "invalid_grant", Codes: []int{50196}}
			})
			time.Sleep(2 * time.Hour)
			b.WantGreeting(testsite.HelloNobody)
		})
	})
}

// A code that is refused with a claims challenge: the person is asked for that,
// once.
// Live Connect has no claims challenges.
func TestCodeRefusedWithAClaimsChallenge(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.MS.Set(func(b *msauthtest.Behavior) { b.AutoSignIn, b.RequireMFAForCode = msauthtest.Ada, true })
	b := s.Browser(t)
	if res := b.Get("/orders?page=2"); res.Text != testsite.HelloAda || res.Request.URL.RequestURI() != "/orders?page=2" {
		t.Fatalf("at %s: status %d, page %q; log:\n%s", res.Request.URL, res.StatusCode, res.Kind(), s.Log)
	}
	s.WantCalls(t, msauthtest.Authorize, 2)
	if got := s.Asked(t).Get("claims"); !strings.Contains(got, "capolids") {
		t.Errorf("the second sign-in carries the claims %q", got)
	}
	for _, c := range b.Cookies() {
		if strings.Contains(c.Name, "-login-") {
			t.Errorf("%s is left", c.Name)
		}
	}
}

func TestCodeRefusedWithAClaimsChallengeTwice(t *testing.T) {
	t.Parallel()
	for i, suberror := range []string{"basic_action", ""} {
		t.Run(suberror, func(t *testing.T) {
			t.Parallel()
			s := testsite.New(t)
			s.As(msauthtest.Ada)
			s.MS.Set(func(b *msauthtest.Behavior) {
				b.FailAlways[msauthtest.TokenCode] = msauthtest.Failure{Handler: func(w http.ResponseWriter, r *http.Request) {
					// A new challenge each time.
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(http.StatusBadRequest)
					fmt.Fprintf(w, `{"error":"invalid_grant","suberror":%q,"error_description":"AADSTS53003: blocked","claims":"{\"access_token\":{\"capolids\":{\"essential\":true,\"values\":[\"%d-%d\"]}}}"}`,
						suberror, i, time.Now().UnixNano())
				}}
			})
			b := s.Browser(t)
			b.WantRefused(b.Get("/"), http.StatusForbidden, "not-enough", "AADSTS53003")
			s.WantCalls(t, msauthtest.Authorize, 2)
			b.WantGreeting(testsite.HelloNobody)
		})
	}
}

// A refusal of the person at the code is no replay, and the page says so.
// Live Connect does not say that: it has neither suberrors nor numbers.
func TestCodeRefusedForThePerson(t *testing.T) {
	t.Parallel()
	for _, failure := range []msauthtest.Failure{
		{Error: "invalid_grant", Suberror: "message_only", Codes: []int{53003}},
		{Error: "unauthorized_client", Suberror: "protection_policy_required", Codes: []int{53005}},
		{Error: "interaction_required", Codes: []int{50105}},
		{Error: "user_password_expired", Codes: []int{50055}},
		{Error: "invalid_grant", Suberror: "Basic_Action"},
	} {
		t.Run(failure.Error+failure.Suberror, func(t *testing.T) {
			t.Parallel()
			s := testsite.New(t, testsite.Tenant(msauthtest.TenantContoso))
			s.As(msauthtest.Ada)
			s.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenCode] = failure })
			b := s.Browser(t)
			b.WantRefused(b.Get("/"), http.StatusForbidden, "not-enough", "step up: "+failure.Error)
			if err := s.Auth.Ready(t.Context()); err != nil {
				t.Errorf("Ready returns %v", err)
			}
		})
	}
}

// One lost packet costs a person about a second.
func TestOneLostCallCostsASecond(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]msauthtest.Failure{
		"no answer": {Close: true}, "500": {Status: 500}, "HTML": {Body: "<html>", Header: http.Header{"Content-Type": {"text/html"}}},
		"an OAuth answer": {Error: "temporarily_unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
				s := testsite.NewInProcess(t, at.Change)
				s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				for range 3 { // the count begins anew once it has worked
					s.MS.Set(func(b *msauthtest.Behavior) { b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{failure} })
					time.Sleep(testsite.Expired)
					if res := b.Get("/?token"); res.StatusCode != http.StatusBadGateway {
						t.Fatalf("status %d", res.StatusCode)
					}
					time.Sleep(time.Second)
					if res := b.Get("/?token"); res.StatusCode != http.StatusOK {
						t.Fatalf("a second later: status %d, %s", res.StatusCode, res.Text)
					}
				}
			})
		})
	}
}

// Who can cause a failure, and of how many failures everybody pauses.
func TestWhoCanPauseEverybody(t *testing.T) {
	t.Parallel()
	oauth := msauthtest.Failure{Error: "temporarily_unavailable", Status: 400}
	noAnswer := msauthtest.Failure{Status: 503, Body: "<html>"}
	work := func(i int) msauthtest.User {
		return msauthtest.User{SignInName: fmt.Sprintf("p%d@contoso.example", i), Name: "Ada Lindqvist"}
	}
	personal := func(i int) msauthtest.User {
		return msauthtest.User{SignInName: fmt.Sprintf("p%d@outlook.example", i), Name: "Ada Lindqvist", TenantID: msauthtest.TenantPersonal}
	}
	tenants := func(i int) msauthtest.User {
		return msauthtest.User{SignInName: fmt.Sprintf("p@t%d.example", i), Name: "Ada Lindqvist", TenantID: fmt.Sprintf("40a0cffe-4fc9-448b-9790-%012d", i)}
	}
	for _, test := range []struct {
		name    string
		only    string
		who     func(int) msauthtest.User
		failure msauthtest.Failure
		people  int
		pauses  bool
	}{
		{"five without an answer", "common", work, noAnswer, 5, true},
		{"five personal ones without an answer", "common", personal, noAnswer, 5, true},
		{"four without an answer", "common", work, noAnswer, 4, false},
		{"twenty of one tenant", "common", work, oauth, 20, false},
		{"twenty personal accounts", "common", personal, oauth, 20, false},
		{"twenty personal accounts where there are no others", "consumers", personal, oauth, 20, false},
		{"five tenants", "common", tenants, oauth, 5, true},
		{"four tenants", "common", tenants, oauth, 4, false},
		{"five of the app's only tenant", msauthtest.TenantContoso, work, oauth, 5, true},
		{"twenty at Live Connect", "", personal, oauth, 20, false},
		{"five at Live Connect without an answer", "", personal, noAnswer, 5, true},
		{"four at Live Connect without an answer", "", personal, noAnswer, 4, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				service := testsite.Tenant(test.only)
				if test.only == "" {
					service = testsite.AtLiveConnect
				}
				o := testsite.NewOffice(t, service)
				o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
				var people []*testsite.Visitor
				for i := range test.people {
					u := test.who(i)
					o.MS.SetUser(u)
					o.MS.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = u.SignInName })
					people = append(people, o.SignIn())
				}
				time.Sleep(time.Hour)
				o.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = test.failure })
				for _, v := range people {
					v.WantHello("while the provider fails")
				}
				if got := o.Auth.Stats().Paused; got != test.pauses {
					t.Errorf("renewals pause: %t, want %t", got, test.pauses)
				}
			})
		})
	}
}

// A connection that dies unused is net/http's to replace: the form was not sent,
// and can be read again. So it is with HTTP/2's GOAWAY.
func TestTokenRequestSurvivesAConnectionThatDiedUnused(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	var open []*fragile
	var mu sync.Mutex
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		open = append(open, &fragile{Conn: conn})
		return open[len(open)-1], nil
	}}
	t.Cleanup(transport.CloseIdleConnections)
	s.Restart(t, func(c *msauth.Config) { c.HTTPClient = &http.Client{Transport: transport} })
	b := s.Browser(t)
	b.SignInExpired(msauthtest.Ada)
	mu.Lock()
	for _, conn := range open {
		conn.dead.Store(true)
	}
	before := len(open)
	mu.Unlock()
	s.MS.ResetCalls()
	if res := b.Get("/?token"); res.StatusCode != http.StatusOK {
		t.Errorf("status %d, %s", res.StatusCode, res.Text)
	}
	s.WantCalls(t, msauthtest.TokenRefresh, 1)
	mu.Lock()
	defer mu.Unlock()
	if len(open) != before+1 {
		t.Errorf("%d connections after %d: the dead one was not tried", len(open), before)
	}
}

// fragile is a connection that can be dead: nothing can be written to it any
// more, and nobody has said so.
type fragile struct {
	net.Conn
	dead atomic.Bool
}

func (c *fragile) Write(p []byte) (int, error) {
	if c.dead.Load() {
		return 0, errors.New("broken pipe")
	}
	return c.Conn.Write(p)
}

// What answers in Microsoft's place is named in the log, and is not Microsoft's
// fault on the page.
func TestAnswersThatAreNoJSON(t *testing.T) {
	t.Parallel()
	html := http.Header{"Content-Type": {"text/html; charset=utf-8"}}
	for _, test := range []struct {
		name    string
		kind    msauthtest.Kind
		failure msauthtest.Failure
		status  int
		page    string
		title   string
		reason  string
	}{
		{"HTML as the token reply", msauthtest.TokenCode, msauthtest.Failure{Body: "<title>Log in to the Wi-Fi</title>", Header: html}, 503, "unavailable", "Signing in is not possible right now", "text/html; charset=utf-8, not JSON"},
		{"nothing as the token reply", msauthtest.TokenCode, msauthtest.Failure{Handler: func(http.ResponseWriter, *http.Request) {}}, 503, "unavailable", "Signing in is not possible right now", "answered with nothing, not JSON"},
		{"no token endpoint", msauthtest.TokenCode, msauthtest.Failure{Close: true}, 503, "unavailable", "Microsoft cannot be reached right now", "EOF"},
		{"a code that only a browser may redeem", msauthtest.TokenCode, msauthtest.Failure{Error: "invalid_request", Codes: []int{9002327}}, 500, "app-error", "not set up correctly", "register it on the platform Web"},
		{"a public client", msauthtest.TokenCode, msauthtest.Failure{Error: "invalid_client", Codes: []int{700025}}, 500, "app-error", "not set up correctly", "register it on the platform Web"},
		{"a secret that is over", msauthtest.TokenCode, msauthtest.Failure{Error: "invalid_client", Codes: []int{7000222}}, 500, "app-error", "not set up correctly", "create a new client secret"},
	} {
		for _, at := range testsite.Services {
			if at.Live() && len(test.failure.Codes) > 0 {
				continue // it has no numbers that could tell more
			}
			t.Run(test.name+" at "+at.Name, func(t *testing.T) {
				t.Parallel()
				s := testsite.New(t, at.Change)
				s.As(msauthtest.Ada)
				s.MS.Set(func(b *msauthtest.Behavior) {
					b.FailAlways[test.kind] = test.failure
					if test.failure.Error == "invalid_client" { // what is wrong with the app is not with the code alone
						b.FailAlways[msauthtest.TokenRefresh] = test.failure
					}
				})
				b := s.Browser(t)
				res := b.Get("/")
				b.WantRefused(res, test.status, test.page, test.reason)
				if !strings.Contains(res.Text, test.title) {
					t.Errorf("page %q, want %q in it", res.Text, test.title)
				}
				if ready := s.Auth.Ready(t.Context()); (ready != nil) != (test.status == 500) {
					t.Errorf("Ready returns %v", ready)
				}
			})
		}
	}
}

// Discovery that is refused is a matter for the operator; one that is out of
// reach passes. Live Connect has none.
func TestDiscoveryThatIsRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		failure msauthtest.Failure
		status  int
		page    string
		title   string
		reason  string
	}{
		{"unknown tenant", msauthtest.Failure{Status: 400, Error: "invalid_tenant", Codes: []int{90002}}, 503, "unavailable", "not set up correctly", "AADSTS90002"},
		{"not found", msauthtest.Failure{Status: 404, Body: "not found"}, 503, "unavailable", "not set up correctly", "status 404"},
		{"HTML", msauthtest.Failure{Body: "<html>", Header: http.Header{"Content-Type": {"text/html"}}}, 503, "unavailable", "Signing in is not possible right now", "text/html"},
		{"down", msauthtest.Failure{Status: 503}, 503, "unavailable", "Microsoft cannot be reached right now", "503"},
		{"throttled", msauthtest.Failure{Status: 429}, 503, "unavailable", "Signing in is not possible right now", "429"},
		{"gone", msauthtest.Failure{Close: true}, 503, "unavailable", "Microsoft cannot be reached right now", "EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := testsite.New(t)
			s.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.Discovery] = test.failure })
			b := s.Browser(t)
			res := b.Get("/")
			s.WantPage(t, res, test.status, test.page, test.reason)
			if !strings.Contains(res.Text, test.title) {
				t.Errorf("page %q, want %q in it", res.Text, test.title)
			}
			if err := s.Auth.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("Ready returns %v", err)
			}
		})
	}
}

// The error of a renewal without a token tells the class by errors.Is alone.
func TestMisconfiguredTokenIsUnavailable(t *testing.T) {
	t.Parallel()
	err := error(&msauth.AuthError{Class: msauth.ClassMisconfigured, Numbers: []int{9002327}})
	if !errors.Is(err, msauth.ErrTokenUnavailable) || errors.Is(err, msauth.ErrSignInRequired) || !strings.Contains(err.Error(), "platform Web") {
		t.Errorf("%v", err)
	}
}
