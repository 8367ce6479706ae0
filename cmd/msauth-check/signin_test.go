package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

var openAddress = regexp.MustCompile(`Open (http://localhost:[0-9]+/[A-Z0-9]+) in a browser`)

// signIn runs the command with -sign-in, and signs a person in at the address that it
// prints. The redirect URI on localhost is registered.
func (w *world) signIn(person string) outcome {
	w.t.Helper()
	w.registerLocalhost()
	printed, write := io.Pipe()
	w.stderr = write
	signedIn := make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(printed)
		for lines.Scan() {
			if m := openAddress.FindStringSubmatch(lines.Text()); m != nil {
				_, err := msauthtest.Client(m[1], person)
				signedIn <- err
			}
		}
	}()
	o := w.check("-sign-in")
	write.Close()
	select {
	case err := <-signedIn:
		w.t.Logf("the person: %v", err)
	case <-time.After(10 * time.Second):
		w.t.Errorf("no address was printed, or nobody came back:\n%s", o.text)
	}
	return o
}

// work is what is told of a work account whose app registration asks for all claims.
var work = []string{
	"Signed in with a work or school account of tenant " + msauthtest.TenantContoso + ".",
	"Optional claims that came: email, login_hint, sid, auth_time, xms_edov",
	"Tokens: ID token ", "Session cookies: ", "Granted: ", "User.Read", "az ad app permission list-grants --id ", "A renewal works.",
}

// visits are sign-ins, and what is found at each.
var visits = []struct {
	name, person string
	parts        []part
	facts        []string
	findings     []string
}{
	{"a work account", msauthtest.Ada, nil, work, nil},
	{"with a certificate", msauthtest.Ada, []part{certificate}, work, nil},
	{"with a federated token", msauthtest.Ada, []part{federated}, work, nil},
	{"a site that is down, which is no reason to wait", msauthtest.Ada, []part{func(w *world, _ *msauth.Config) { w.site.Close() }}, work, []string{"site-unreachable"}},
	{"at one tenant", msauthtest.Ada, []part{tenant(msauthtest.TenantContoso)}, work, nil},
	{"a personal account, which has none of the claims", msauthtest.Mia, nil,
		[]string{"Signed in with a personal account.", "Optional claims that did not: ", "A renewal works."}, nil},
	{"at Live Connect, whose replies have no ID token", msauthtest.Mia, []part{liveConnect}, []string{"Signed in with a personal account."}, []string{"authorize-unjudged"}},
	{"a plain provider", msauthtest.Ada, []part{plainProvider}, []string{"Signed in with an account of http", "A renewal works."}, nil},
	{"no optional claims", msauthtest.Ada, []part{behave(func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, c map[string]any) {
			for _, name := range []string{"login_hint", "auth_time", "sid"} {
				delete(c, name)
			}
		}
	})}, []string{"Optional claims that did not: login_hint, sid, auth_time"}, []string{"claims-missing"}},
	{"scopes that are withheld", msauthtest.Ada, []part{behave(func(b *msauthtest.Behavior) { b.WithholdScopes = []string{"Files.Read"} })},
		[]string{"A renewal works."}, []string{"scopes-not-granted"}},
	{"no refresh token", msauthtest.Ada, []part{behave(func(b *msauthtest.Behavior) {
		b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { delete(reply, "refresh_token") }
	})},
		nil, []string{"renewal-missing"}},
	{"a renewal that a policy refuses", msauthtest.Ada, []part{func(w *world, _ *msauth.Config) { w.refuseRenewals() }},
		nil, []string{"renewal-failed"}},
	{"a code that only a browser may redeem", msauthtest.Ada, []part{behave(func(b *msauthtest.Behavior) {
		b.FailAlways[msauthtest.TokenCode] = msauthtest.Failure{Codes: []int{9002327}}
	})}, nil, []string{"redirect-uri-spa"}},
	{"a person who may not use the app", msauthtest.Ada, []part{behave(func(b *msauthtest.Behavior) {
		b.AuthorizeAnswer = func(answer url.Values) {
			if answer.Has("code") {
				answer.Del("code")
				answer.Set("error", "interaction_required")
				answer.Set("error_description", "AADSTS50105: The signed in user is not assigned to a role for the application.")
			}
		}
	})}, nil, []string{"sign-in-failed"}},
	{"an ID token that is not true", msauthtest.Ada, []part{behave(func(b *msauthtest.Behavior) { b.Signing = msauthtest.SignUnknownKey })},
		nil, []string{"sign-in-failed"}},
}

func TestSignInTellsWhatCame(t *testing.T) {
	t.Parallel()
	for _, tt := range visits {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.parts...)
			o := w.signIn(tt.person)
			for _, want := range tt.facts {
				if !strings.Contains(o.facts, want) {
					t.Errorf("no %q in\n%s", want, o.facts)
				}
			}
			var found []string
			for _, f := range o.findings {
				found = append(found, f.ID)
			}
			if !slices.Equal(found, tt.findings) {
				t.Errorf("found %q, want %q:\n%s", found, tt.findings, o.text)
			}
		})
	}
}

func TestSignInNeedsItsRedirectURI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.check("-sign-in")
	if o.code != exitFindings || len(o.findings) != 1 || o.findings[0].ID != "sign-in-uri-missing" || !strings.Contains(o.findings[0].Command, "http://localhost/auth/callback") {
		t.Errorf("exit code %d:\n%s", o.code, o.text)
	}
}

func TestSignInEndsByItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.registerLocalhost()
	w.signInTime = time.Second
	o := w.check("-sign-in")
	if o.code != exitFindings || len(o.findings) != 1 || o.findings[0].ID != "sign-in-missing" || o.took > 10*time.Second {
		t.Errorf("exit code %d after %v:\n%s", o.code, o.took, o.text)
	}
}

func TestSignInWaitsForWhatIsFoundWithoutIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.registerLocalhost()
	w.env["AZURE_CLIENT_SECRET"] = "abc8Q~wrong-wrong-wrong-wrong-wrong-wrong"
	o := w.check("-sign-in")
	if len(o.findings) != 1 || o.findings[0].ID != "secret-wrong" || !strings.Contains(o.facts, "mend the findings first") || o.took > 10*time.Second {
		t.Errorf("exit code %d after %v:\n%s", o.code, o.took, o.text)
	}
}

func TestSignInNeedsItsPort(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	o := w.check("-sign-in", "-sign-in-port", port)
	if o.code != exitFindings || len(o.findings) != 1 || o.findings[0].ID != "sign-in-port" {
		t.Errorf("exit code %d:\n%s", o.code, o.text)
	}
}

// Where nobody is asked to sign in, there is a reason why.
func TestSignInThatCannotBegin(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		id     string
		answer http.HandlerFunc
	}{
		"a refusal": {"authorize-failed", func(rw http.ResponseWriter, _ *http.Request) { http.Error(rw, "oops", 500) }},
		"silence":   {"host-silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.registerLocalhost()
			atAuthorize("http://localhost:", tt.answer)(w)
			o := w.check("-sign-in")
			if o.code != exitFindings || len(o.findings) != 1 || o.findings[0].ID != tt.id {
				t.Errorf("exit code %d, want %s:\n%s", o.code, tt.id, o.text)
			}
		})
	}
}

// Everybody on the computer can connect to the page. It is for the browser that has opened
// the address that was printed, by that name.
func TestSignInIsForOneBrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.registerLocalhost()
	w.signInTime = 3 * time.Second
	printed, write := io.Pipe()
	w.stderr = write
	answers := make(chan [3]int, 1)
	go func() {
		lines := bufio.NewScanner(printed)
		for lines.Scan() {
			if m := openAddress.FindStringSubmatch(lines.Text()); m != nil {
				origin := m[1][:strings.LastIndex(m[1], "/")]
				answers <- [3]int{status(origin+"/", ""), status(origin+"/auth/callback?error=server_error&error_description=lies", ""), status(m[1], "evil.example")}
			}
		}
	}()
	o := w.check("-sign-in")
	write.Close()
	select {
	case got := <-answers:
		if got != [3]int{http.StatusForbidden, http.StatusForbidden, http.StatusMisdirectedRequest} {
			t.Errorf("statuses %v", got)
		}
	case <-time.After(5 * time.Second):
		t.Error("no address was printed")
	}
	if len(o.findings) != 1 || o.findings[0].ID != "sign-in-missing" || strings.Contains(o.text, "lies") {
		t.Errorf("exit code %d:\n%s", o.code, o.text)
	}
}

// status is that of the answer to one request, with another Host if that is not empty.
func status(address, host string) int {
	r, err := http.NewRequest("GET", address, nil)
	if err != nil {
		return 0
	}
	r.Host = host
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return 0
	}
	res.Body.Close()
	return res.StatusCode
}

// behave is a part that changes the local Microsoft.
func behave(f func(b *msauthtest.Behavior)) part {
	return func(w *world, _ *msauth.Config) { w.ms.Set(f) }
}

// refuseRenewals makes Microsoft refuse refresh tokens that it has issued.
func (w *world) refuseRenewals() {
	around(&w.atMicrosoft, func(next http.Handler, rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && w.ms.Count(msauthtest.TokenCode) > 0 {
			w.ms.Revoke(msauthtest.Ada)
		}
		next.ServeHTTP(rw, r)
	})
}

// plainProvider has people sign in at a provider that is not Microsoft's.
func plainProvider(w *world, site *msauth.Config) {
	w.env["AZURE_AUTHORITY_HOST"], site.Authority = "", ""
	w.env["MSAUTH_ISSUER"], site.Issuer = w.ms.Plain().Issuer, w.ms.Plain().Issuer
	site.Scopes = nil
}

// registerLocalhost registers the redirect URI that -sign-in needs, without a port.
func (w *world) registerLocalhost() {
	w.ms.Set(func(b *msauthtest.Behavior) {
		b.RedirectURIs = append(b.RedirectURIs, "http://localhost/auth/callback")
	})
}
