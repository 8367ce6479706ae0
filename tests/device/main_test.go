// Package device_test is about sessions that are bound to a device
// (Config.DeviceBinding), seen from outside. The browser is one of Go, which does what
// Chromium was watched doing; e2e has Chromium itself.
package device_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestMain(m *testing.M) { testsite.Main(m) }

// offered and required are the settings.
func offered(c *msauth.Config)  { c.DeviceBinding = msauth.DeviceBindingOffered }
func required(c *msauth.Config) { c.DeviceBinding = msauth.DeviceBindingRequired }

// A machine is a browser with a key that cannot be copied.
type machine struct {
	*testsite.Browser
	t          *testing.T
	key        *ecdsa.PrivateKey
	identifier string
	refreshURL string
	challenge  string // for the next refresh, "" if none was given
	ended      bool   // the site has ended the binding
	abroad     bool   // the browser's own requests count as those of another site
}

// newMachine makes a machine whose browser is nobody yet.
func newMachine(t *testing.T, s *testsite.Site) *machine {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &machine{Browser: s.Browser(t), t: t, key: key}
}

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// proof signs a challenge.
func (m *machine) proof(challenge string, withKey bool) string {
	header := map[string]any{"alg": "ES256", "typ": "dbsc+jwt"}
	if withKey {
		point, err := m.key.PublicKey.Bytes()
		if err != nil {
			m.t.Fatal(err)
		}
		header["jwk"] = map[string]string{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])}
	}
	h, err := json.Marshal(header)
	if err != nil {
		m.t.Fatal(err)
	}
	input := b64(h) + "." + b64([]byte(`{"jti":"`+challenge+`"}`))
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, m.key, sum[:])
	if err != nil {
		m.t.Fatal(err)
	}
	return input + "." + b64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

var (
	offer        = regexp.MustCompile(`^\(ES256 RS256\);path="([^"]+)";challenge="([^"]+)"$`)
	newChallenge = regexp.MustCompile(`^"([^"]+)";id="([^"]+)"$`)
)

// post is a request that the browser makes for itself.
func (m *machine) post(path string, header ...string) testsite.Seen {
	m.t.Helper()
	header = append([]string{"Origin", m.Site.URL, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "empty", "Accept", "*/*"}, header...)
	if !m.abroad {
		return m.Request(http.MethodPost, path, header...)
	}
	b := m.Site.Browser(m.t) // nothing with SameSite=Lax is sent, or kept
	res := b.Request(http.MethodPost, path, header...)
	for _, line := range res.Header["Set-Cookie"] {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			m.t.Fatal(err)
		}
		if c.SameSite == http.SameSiteNoneMode && c.Secure {
			m.Keep(c.Name, c.Value)
		}
	}
	return res
}

// signIn signs Ada in, and returns what the site offers in its answer: the path and the
// challenge of a registration, "" if it offers nothing.
func (m *machine) signIn(target string) (path, challenge string) {
	m.t.Helper()
	m.Site.As(msauthtest.Ada)
	res := m.Still().Get(m.Attempt(target))
	if res.StatusCode != http.StatusSeeOther {
		m.t.Fatalf("callback: status %d, page %.200q; log:\n%s", res.StatusCode, res.Text, m.Site.Log)
	}
	found := offer.FindStringSubmatch(res.Header.Get("Secure-Session-Registration"))
	if found == nil {
		return "", ""
	}
	return found[1], found[2]
}

// register registers the machine's key, and keeps what the site answers.
func (m *machine) register(path, challenge string) testsite.Seen {
	m.t.Helper()
	res := m.post(path, "Secure-Session-Response", m.proof(challenge, true))
	m.take(res)
	return res
}

// take keeps the instructions of an answer.
func (m *machine) take(res testsite.Seen) {
	m.t.Helper()
	var answer struct {
		Continue   *bool  `json:"continue"`
		Identifier string `json:"session_identifier"`
		RefreshURL string `json:"refresh_url"`
	}
	if res.StatusCode != http.StatusOK {
		m.ended = m.ended || res.StatusCode >= 400 && res.StatusCode < 500 && res.StatusCode != http.StatusForbidden
		return
	}
	if err := json.Unmarshal([]byte(res.Text), &answer); err != nil {
		m.t.Fatalf("%q: %v", res.Text, err)
	}
	if m.identifier != "" && answer.Identifier != m.identifier {
		m.t.Errorf("the identifier has changed from %q to %q", m.identifier, answer.Identifier)
	}
	if answer.Continue != nil && !*answer.Continue {
		m.ended = true
		return
	}
	m.identifier, m.refreshURL = answer.Identifier, answer.RefreshURL
}

// refresh proves the device, as Chromium does when the bound cookie is about to expire.
func (m *machine) refresh() testsite.Seen {
	m.t.Helper()
	for range 3 {
		header := []string{"Sec-Secure-Session-Id", m.identifier}
		if m.challenge != "" {
			header = append(header, "Secure-Session-Response", m.proof(m.challenge, false))
		}
		res := m.post(m.refreshURL, header...)
		found := newChallenge.FindStringSubmatch(res.Header.Get("Secure-Session-Challenge"))
		if res.StatusCode != http.StatusForbidden || found == nil {
			m.take(res)
			return res
		}
		m.challenge = found[1]
	}
	m.t.Fatalf("no challenge is good enough; log:\n%s", m.Site.Log)
	return testsite.Seen{}
}

// bound makes a machine with a bound session.
func bound(t *testing.T, s *testsite.Site) *machine {
	t.Helper()
	m := newMachine(t, s)
	path, challenge := m.signIn("/")
	if path != "/auth/device/register" {
		t.Fatalf("offered %q; log:\n%s", path, s.Log)
	}
	if res := m.register(path, challenge); res.StatusCode != http.StatusOK || m.identifier == "" {
		t.Fatalf("registration: status %d, %q; log:\n%s", res.StatusCode, res.Text, s.Log)
	}
	m.hello("after the registration")
	return m
}

// hello checks that somebody is signed in.
func (m *machine) hello(when string) {
	m.t.Helper()
	if res := m.Still().Get("/"); res.StatusCode != http.StatusOK || res.Text != testsite.HelloAda {
		m.t.Fatalf("%s: status %d, page %.200q; log:\n%s", when, res.StatusCode, res.Text, m.Site.Log)
	}
}

// thief makes a browser with copies of cookies: all, or those whose names are kept.
func (m *machine) thief(keep func(name string) bool) *testsite.Browser {
	m.t.Helper()
	b := m.Site.Browser(m.t)
	for _, c := range m.Cookies() {
		if keep(c.Name) {
			b.Keep(c.Name, c.Value)
		}
	}
	return b
}

// all are the cookies of a session, as malware copies them some time after a sign-in.
func all(name string) bool { return !strings.HasSuffix(name, "-ok") }

// mainOnly are those without the bound cookie.
func mainOnly(name string) bool { return all(name) && !strings.HasSuffix(name, "-device") }

// refusedAs checks that a browser has no session: a page load is led to Microsoft, a
// script gets 401.
func refusedAs(t *testing.T, who string, b *testsite.Browser) {
	t.Helper()
	if res := b.Still().Get("/"); res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(res.Header.Get("Location"), b.Site.MS.URL) {
		t.Errorf("%s: status %d to %q, page %q; log:\n%s", who, res.StatusCode, res.Header.Get("Location"), res.Kind(), b.Site.Log)
	}
	if res := b.Get("/", testsite.Script...); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("%s: a script gets status %d", who, res.StatusCode)
	}
	if got := b.Get("/public/").Text; got != "hello nobody" {
		t.Errorf("%s: page under Load %q", who, got)
	}
}

// inBubble runs a test with a site in a bubble of its own time.
func inBubble(t *testing.T, f func(t *testing.T, s *testsite.Site), changes ...func(*msauth.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t, changes...)
		f(t, s)
		if s.Cfg.Shared != nil {
			if err := s.Auth.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Minute) // for what still waits
	})
}
