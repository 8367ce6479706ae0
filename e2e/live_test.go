package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

// livePrograms builds the samples of example/live once, into one directory.
var livePrograms = sync.OnceValues(func() (string, error) {
	example, err := program() // for its directory
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(example)
	cmd := exec.Command("go", append(append([]string{"build"}, buildFlags...), "-o", dir+"/",
		"./example/live/signin", "./example/live/connect", "./example/live/script")...)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./example/live/...: %w\n%s", err, out)
	}
	return dir, nil
})

// newLive starts a sample at the Live Connect of the provider. More of the environment
// can be given; it wins.
func newLive(t testing.TB, ms *msauthtest.Server, sample string, env ...string) *app {
	t.Helper()
	dir, err := livePrograms()
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	a := &app{t: t, port: port, url: "http://localhost:" + port, log: &buffer{}, path: filepath.Join(dir, sample)}
	a.env = append([]string{
		"PORT=" + port, "MSAUTH_KEYS=" + newKeys(),
		"LIVE_CLIENT_ID=" + ms.ClientID, "LIVE_CLIENT_SECRET_0=" + ms.ClientSecret, "LIVE_AUTHORITY=" + ms.LiveAuthority(),
	}, env...)
	a.start()
	t.Cleanup(func() {
		for _, secret := range ms.Secrets() {
			if a.log.contains(secret) {
				t.Error("a token, a code or the client secret is in the log of the app")
				break
			}
		}
	})
	return a
}

// liveStatus waits until the page says that this is the status.
func (b *tab) liveStatus(want string) {
	b.t.Helper()
	b.until(fmt.Sprintf("document.readyState === 'complete' && document.querySelector('#status')?.innerText === %s", quote(want)))
}

// waitUntil waits until a time is over.
func (b *tab) waitUntil(end time.Time) {
	b.t.Helper()
	if eventually(b.ctx, func() bool { return time.Now().After(end) }) != nil {
		b.fatal("it is never over")
	}
}

// liveSignedIn is a sample, its provider, and a tab in which Mia has signed in.
func liveSignedIn(t testing.TB, ms *msauthtest.Server, sample string) (*app, *tab) {
	t.Helper()
	a := newLive(t, ms, sample)
	b := newPerson(t)
	b.open(a.url)
	b.click("#sign-in")
	b.pick(msauthtest.Mia)
	b.at(a.url + "/")
	b.liveStatus("connected")
	return a, b
}

func TestLiveSignInAndOut(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	a := newLive(t, ms, "signin")
	b := newPerson(t)
	b.open(a.url)
	b.liveStatus("unknown")
	b.look("live-signed-out")
	b.click("#sign-in")
	b.shows("button[name=user]")
	if got := eval[string](b, "location.href"); !strings.HasPrefix(got, ms.LiveAuthority()+"/oauth20_authorize.srf?") {
		t.Errorf("signing in at %s", got)
	}
	b.pick(msauthtest.Mia)
	b.at(a.url + "/")
	b.liveStatus("connected")
	b.look("live-signed-in")
	uid := b.text("#uid")
	if len(uid) != 32 || b.text("#who") != uid {
		t.Errorf("uid %q, signed in %q", uid, b.text("#who"))
	}
	for _, scope := range []string{"wl.signin", "wl.basic", "wl.offline_access"} {
		if got := b.text("#scopes"); !strings.Contains(got, scope) {
			t.Errorf("scopes %q, without %s", got, scope)
		}
	}
	if left := time.Until(b.moment("expires")); left < 50*time.Minute || left > 61*time.Minute {
		t.Errorf("the access token expires in %v", left)
	}

	// Single sign-on to the site's other part.
	b.click("#to-token")
	b.at(a.url + "/token")
	b.look("live-token")
	b.click("#call")
	b.shows("#named")
	if got := b.text("#named"); got != uid {
		t.Errorf("the other part of the site names %q, want %q", got, uid)
	}
	b.look("live-token-called")

	b.click("#sign-out")
	b.at(a.url + "/auth/signed-out")
	if calls := ms.Calls(msauthtest.Logout); len(calls) != 1 || calls[0].Query.Get("redirect_uri") != a.url+"/auth/signed-out" || calls[0].Query.Get("client_id") != ms.ClientID {
		t.Errorf("signed out at Microsoft by %v", calls)
	}
	if session, attempts, mark := b.appCookies(); len(session)+len(attempts)+len(mark) != 0 {
		t.Errorf("cookies are left: %v %v %v", session, attempts, mark)
	}
	b.open(a.url)
	b.liveStatus("unknown")
	// Signed out at Microsoft too: signing in takes a click there.
	b.click("#sign-in")
	b.pick(msauthtest.Mia)
	b.at(a.url + "/")
	b.liveStatus("connected")
	if got := b.text("#uid"); got != uid {
		t.Errorf("uid %q, before %q", got, uid)
	}
}

func TestLiveSignInWithoutAnyConfiguration(t *testing.T) {
	parallel(t)
	dir, err := livePrograms()
	if err != nil {
		t.Fatal(err)
	}
	for _, sample := range []string{"signin", "connect", "script"} {
		t.Run(sample, func(t *testing.T) {
			port := freePort(t)
			a := &app{t: t, port: port, url: "http://localhost:" + port, env: []string{"PORT=" + port}, log: &buffer{}, path: filepath.Join(dir, sample)}
			a.start()
			if eventually(t.Context(), func() bool { return a.log.contains("Open " + a.url + "/") }) != nil {
				t.Errorf("the program does not say what to open:\n%s", a.log.tail(20))
			}
			b := newPerson(t)
			b.open(a.url)
			b.shows("#stand-in")
			if sample == "connect" {
				b.click("button[name=user][value=Carla]")
				b.liveStatus("not connected")
				b.click("#connect")
			} else {
				b.click("#sign-in")
			}
			b.pick(msauthtest.Mia)
			b.at(a.url + "/")
			b.liveStatus("connected")
		})
	}
}

func TestLiveRenewal(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 2 * time.Second })
	a, b := liveSignedIn(t, ms, "signin")
	signedIn, renewed, expires := b.moment("signed-in"), b.moment("renewed"), b.moment("expires")
	ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
	loads, renewals := len(b.loads()), ms.Count(msauthtest.TokenRefresh)
	b.waitUntil(expires)
	b.reload()
	b.at(a.url + "/")
	b.liveStatus("connected")
	if got := b.moment("renewed"); !got.After(renewed) {
		t.Errorf("renewed at %v, as before", got)
	}
	if got := b.moment("signed-in"); !got.Equal(signedIn) {
		t.Errorf("signed in at %v, want %v as before", got, signedIn)
	}
	if left := time.Until(b.moment("expires")); left < 50*time.Minute {
		t.Errorf("the new token expires in %v", left)
	}
	if got := ms.Count(msauthtest.TokenRefresh) - renewals; got != 1 {
		t.Errorf("%d renewals, want 1", got)
	}
	if got := len(b.loads()) - loads; got != 1 {
		t.Errorf("%d page loads for one: nobody may be redirected", got)
	}
}

func TestLiveRefusalLeadsBackToThePage(t *testing.T) {
	parallel(t)
	for _, how := range []string{"cancel", "refuse"} {
		t.Run(how, func(t *testing.T) {
			ms := newMicrosoft(t)
			a := newLive(t, ms, "signin")
			b := newPerson(t)
			b.open(a.url)
			b.click("#sign-in")
			b.click("button#" + how)
			b.at(a.url + "/")
			b.liveStatus("notConnected")
			if b.status() != 200 {
				t.Errorf("status %d", b.status())
			}
			b.look("live-not-connected-" + how)
			if session, attempts, _ := b.appCookies(); len(session)+len(attempts) != 0 {
				t.Errorf("cookies are left: %v %v", session, attempts)
			}
			if eval[bool](b, "!!document.querySelector('#who, #sign-out')") {
				t.Error("somebody is signed in")
			}

			// Where people must be signed in there is a page, and no loop, whoever
			// declines again too.
			authorized := ms.Count(msauthtest.Authorize)
			b.click("#to-token")
			b.shows("#msauth-declined")
			if b.status() != 403 {
				t.Errorf("status %d", b.status())
			}
			b.look("live-declined-" + how)
			if got := ms.Count(msauthtest.Authorize); got != authorized {
				t.Errorf("%d authorize requests, want %d: the person has just declined", got, authorized)
			}
			b.click("main a[href^='/auth/login']")
			b.shows("button[name=user]")
			b.click("button#" + how)
			b.shows("#msauth-declined")
			if got := ms.Count(msauthtest.Authorize); got != authorized+1 || ms.Count(msauthtest.TokenCode) != 0 {
				t.Errorf("%d authorize requests, want %d, and %d codes", got, authorized+1, ms.Count(msauthtest.TokenCode))
			}

			b.open(a.url)
			b.click("#sign-in")
			b.pick(msauthtest.Mia)
			b.at(a.url + "/")
			b.liveStatus("connected")
		})
	}
}

// Who opens a page that requires a sign-in, and cancels, is on the page "declined" and
// stays there.
func TestLiveRefusalUnderRequire(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	a := newLive(t, ms, "signin")
	b := newPerson(t)
	b.open(a.url + "/token")
	b.click("button#cancel")
	b.shows("#msauth-declined")
	if b.status() != 403 || ms.Count(msauthtest.Authorize) != 1 {
		t.Errorf("status %d after %d authorize requests", b.status(), ms.Count(msauthtest.Authorize))
	}
	b.click("main a[href^='/auth/login']")
	b.pick(msauthtest.Mia)
	b.at(a.url + "/token")
	b.shows("#call")
}

func TestLiveOneMoreScope(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	a, b := liveSignedIn(t, ms, "signin")
	b.click("#to-skydrive")
	b.at(a.url + "/skydrive")
	b.liveStatus("notConnected")
	b.look("live-skydrive")
	b.click("#grant")
	b.shows("button#refuse")
	b.click("button#refuse")
	b.at(a.url + "/skydrive")
	b.liveStatus("notConnected")
	b.shows("#who") // still signed in
	b.click("#grant")
	b.pick(msauthtest.Mia)
	b.at(a.url + "/skydrive")
	b.liveStatus("connected")
	if got := b.text("#scopes"); !strings.Contains(got, "wl.skydrive") {
		t.Errorf("scopes %q", got)
	}
	b.look("live-skydrive-granted")

	b.open(a.url + "/calendar")
	b.pick(msauthtest.Mia)
	b.at(a.url + "/calendar")
	if got := b.text("#scopes"); !strings.Contains(got, "wl.calendars") {
		t.Errorf("scopes %q", got)
	}
	b.look("live-calendar")
}

func TestLiveRevoked(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 2 * time.Second })
	a, b := liveSignedIn(t, ms, "signin")
	uid, expires := b.text("#uid"), b.moment("expires")
	ms.Revoke(msauthtest.Mia)
	b.waitUntil(expires)
	b.reload()
	b.at(a.url + "/")
	b.liveStatus("expired")
	b.look("live-expired")
	if b.status() != 200 || eval[bool](b, "!!document.querySelector('#who')") {
		t.Errorf("status %d; the page shows %q", b.status(), b.body())
	}
	ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
	b.click("#sign-in")
	b.pick(msauthtest.Mia)
	b.at(a.url + "/")
	b.liveStatus("connected")
	if got := b.text("#uid"); got != uid {
		t.Errorf("uid %q, before %q", got, uid)
	}
	b.reload()
	b.liveStatus("connected")
}

func TestLiveConnect(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 2 * time.Second })
	a := newLive(t, ms, "connect")
	b := newPerson(t)
	b.open(a.url)
	b.look("live-connect-sign-in")
	b.click("button[name=user][value=Carla]")
	b.at(a.url + "/")
	b.liveStatus("not connected")
	b.look("live-connect-home")

	b.click("#connect") // a form that ends at Microsoft: the policy must let it
	b.click("button#cancel")
	b.shows("#msauth-declined")
	if b.status() != 403 {
		t.Errorf("status %d", b.status())
	}
	b.look("live-connect-declined")
	b.open(a.url)
	b.liveStatus("not connected")

	b.click("#connect")
	b.pick(msauthtest.Mia)
	b.at(a.url + "/")
	b.liveStatus("connected")
	b.look("live-connected")
	if got := b.text("#who"); got != "Carla" {
		t.Errorf("signed in to the site as %q", got)
	}
	if session, _, _ := b.appCookies(); len(session) != 0 {
		t.Errorf("connecting has made a session of msauth: %v", session)
	}
	uid := b.text("#uid")
	b.waitUntil(b.moment("expires"))
	b.click("#away")
	b.shows("#work")
	b.liveStatus("connected")
	b.look("live-away")
	if got := ms.Count(msauthtest.TokenRefresh); got != 1 {
		t.Errorf("%d renewals, want 1", got)
	}

	ms.Revoke(msauthtest.Mia)
	b.waitUntil(b.moment("expires"))
	b.click("#away")
	b.liveStatus("connect again")
	b.look("live-connect-again")
	ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
	b.click("#connect")
	b.pick(msauthtest.Mia)
	b.at(a.url + "/")
	b.liveStatus("connected")
	if got := b.text("#uid"); got != uid {
		t.Errorf("uid %q, before %q", got, uid)
	}
	b.click("#away")
	b.shows("#work")
	b.click("#disconnect")
	b.at(a.url + "/")
	b.liveStatus("not connected")
	b.click("#sign-out")
	b.shows("button[name=user]")
}

func TestLiveConnectAsksForAPassword(t *testing.T) {
	parallel(t)
	a := newLive(t, newMicrosoft(t), "connect", "SITE_PASSWORD=correct horse")
	b := newPerson(t)
	b.open(a.url)
	b.enter("#password", "battery")
	b.click("button[name=user][value=Deniz]")
	b.shows("#complaint")
	if b.status() != 422 {
		t.Errorf("status %d", b.status())
	}
	b.look("live-connect-wrong-password")
	b.enter("#password", "correct horse")
	b.click("button[name=user][value=Deniz]")
	b.at(a.url + "/")
	if got := b.text("#who"); got != "Deniz" {
		t.Errorf("signed in as %q", got)
	}
}
