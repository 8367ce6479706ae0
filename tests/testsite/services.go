package testsite

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// A Service is one of those at which Microsoft signs people in.
type Service struct {
	Name   string
	Change func(*msauth.Config) // makes it the app's
}

// Services are those that the same tests run at: what a test says of sessions and
// renewals holds at each.
var Services = []Service{
	{"Entra", func(*msauth.Config) {}},
	{"Live Connect", AtLiveConnect},
}

// AtLiveConnect makes Live Connect the service of an app. [New], [NewInProcess] and
// [NewOffice] then give everybody a personal account there, and put the name that
// [Hello] greets with into their authentication tokens, which have none.
func AtLiveConnect(c *msauth.Config) {
	c.Authority += "/login.live.com"
	c.Claims = append(c.Claims, "name")
}

// OneTenant makes Contoso the only tenant of an app, at a service that has tenants.
func OneTenant(c *msauth.Config) {
	if !live(c.Authority) {
		c.Tenant = msauthtest.TenantContoso
	}
}

// live reports whether an authority is that of AtLiveConnect.
func live(authority string) bool { return strings.HasSuffix(authority, "/login.live.com") }

// Live reports whether the service of the site is Live Connect.
func (s *Site) Live() bool { return live(s.Cfg.Authority) }

// Live reports whether the service of the office is Live Connect.
func (o *Office) Live() bool { return live(o.Cfg.Authority) }

// Live reports whether the service is Live Connect.
func (at Service) Live() bool {
	var c msauth.Config
	at.Change(&c)
	return live(c.Authority)
}

// AtEach runs a test at each of Services, each in a bubble and in parallel.
func AtEach(t *testing.T, f func(t *testing.T, at Service)) {
	t.Helper()
	for _, at := range Services {
		t.Run(at.Name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { f(t, at) })
		})
	}
}

// RenewingAtEach is [Renewing] at each of Services.
func RenewingAtEach(t *testing.T, f func(t *testing.T, s *Site, b *Browser), changes ...func(*msauth.Config)) {
	t.Helper()
	for _, at := range Services {
		t.Run(at.Name, func(t *testing.T) {
			Renewing(t, f, slices.Concat([]func(*msauth.Config){at.Change}, changes)...)
		})
	}
}

// settle prepares a provider for an app at Live Connect, if it is one.
func settle(ms *msauthtest.Server, authority string) {
	if !live(authority) {
		return
	}
	for _, u := range ms.Users() {
		u.TenantID = msauthtest.TenantPersonal
		ms.SetUser(u)
	}
	people := &names{ms: ms, known: map[string]bool{}, uids: map[any]string{}}
	ms.Set(func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["name"] = people.of(claims["uid"]) }
	})
}

// names are those of people at Live Connect, by their uid.
type names struct {
	ms *msauthtest.Server

	mu    sync.Mutex
	known map[string]bool // sign-in names
	uids  map[any]string
}

func (n *names) of(uid any) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.uids[uid]; !ok {
		for _, u := range n.ms.Users() {
			if n.known[u.SignInName] {
				continue
			}
			n.known[u.SignInName] = true
			n.ms.AuthenticationToken(u.SignInName, "", func(_, claims map[string]any) { n.uids[claims["uid"]] = u.Name })
		}
	}
	return n.uids[uid]
}
