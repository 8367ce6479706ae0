package golden_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/sharedtest"
)

// A goldenSession is what a handler sees.
type goldenSession struct {
	User                                      msauth.User
	Key                                       string
	Personal                                  bool
	AppData                                   string
	Scopes                                    []string
	SignedIn, Renewed, Expiry, AuthTime, Ends time.Time
	Token, Error, Claims                      string
	AuthenticationToken                       string `json:",omitempty"` // of Live Connect
}

func reportGolden(ctx context.Context, s *msauth.Session) *goldenSession {
	g := &goldenSession{
		User: s.User, Key: s.User.Key(), Personal: s.User.Personal(), AppData: s.AppData, Scopes: s.Scopes(),
		SignedIn: s.SignedIn().UTC(), Renewed: s.Renewed().UTC(), Expiry: s.Expiry().UTC(), AuthTime: s.AuthTime().UTC(), Ends: s.Ends().UTC(),
	}
	token, err := s.Token(ctx)
	if err == nil {
		g.Token = token.AccessToken
	}
	g.Error, g.Claims = goldenError(err)
	g.AuthenticationToken, _ = s.AuthenticationToken()
	return g
}

func goldenError(err error) (kind, claims string) {
	if failure, ok := errors.AsType[*msauth.AuthError](err); ok {
		claims = failure.Claims
	}
	switch {
	case err == nil:
		return "", claims
	case errors.Is(err, msauth.ErrSignInRequired):
		return "sign in required", claims
	case errors.Is(err, msauth.ErrTokenUnavailable):
		return "token unavailable", claims
	}
	return err.Error(), claims
}

func (a *goldenApp) report(w http.ResponseWriter, r *http.Request) {
	var g *goldenSession
	if s, ok := msauth.FromContext(r.Context()); ok {
		g = reportGolden(r.Context(), s)
	}
	if err := json.NewEncoder(w).Encode(g); err != nil {
		a.t.Error(err)
	}
}

func (a *goldenApp) session() (g *goldenSession) {
	a.t.Helper()
	got := a.get("/public")
	if err := json.Unmarshal([]byte(got.body), &g); err != nil || got.status != http.StatusOK {
		a.t.Fatalf("status %d, %v: %s; log:\n%s", got.status, err, got.body, a.log)
	}
	return g
}

// A goldenVisit is what a session is found to be.
type goldenVisit struct {
	Session    *goldenSession
	Names      []string          // of the cookies
	Navigation string            // to a page that needs somebody
	Probes     map[string]string `json:",omitempty"`
	SignOut    string            // where that leads
	Refresh    string            // the refresh token
	Renewals   []string          `json:",omitempty"` // with the right nonce, and another
	Registered []string          // what the registration is called
}

func (v *goldenVisit) opened() bool { return v.Session != nil }

var goldenKeyIDs = regexp.MustCompile(`key_ids="?([0-9a-f ]+)`)

func readGoldenSession(a *goldenApp, v *goldenValue) goldenFound {
	a.down(true)
	names := slices.Sorted(maps.Keys(a.jar))
	found := &goldenVisit{Names: names, Session: a.clone().session()}
	if found.Session == nil {
		return found
	}
	found.Registered = []string{a.auth.StoredUser("7"), a.auth.StoredAccount("x.y")}
	if ids := goldenKeyIDs.FindStringSubmatch(a.log.String()); ids != nil {
		found.Registered = append(found.Registered, strings.TrimSpace(ids[1]))
	}
	found.Navigation = a.told(a.clone().get("/"))
	found.Probes = a.probe()
	found.SignOut = a.told(a.clone().do(http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site", "same-origin"))

	right, wrong := a.clone(), a.clone()
	time.Sleep(time.Until(found.Session.Expiry) + time.Minute)
	a.ms.ResetCalls()
	a.get("/public")
	if found.Refresh = a.usedRefreshToken(); found.Refresh == "" {
		return found
	}
	if v.Nonce == "" {
		return found
	}
	// The session goes on with what another sign-in has brought. A renewed ID
	// token may name the nonce of the sign-in, and no other.
	a.down(false)
	other := a.clone()
	other.jar = map[string]string{}
	other.signInAt("/")
	for i, nonce := range []string{v.Nonce, "another"} {
		b := []*goldenApp{right, wrong}[i]
		b.swap = map[string]string{found.Refresh: other.usedToken()}
		b.behave(func(b *msauthtest.Behavior) {
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["nonce"] = nonce }
		})
		s := b.session()
		found.Renewals = append(found.Renewals, fmt.Sprintf("%t %t %s", s != nil, s != nil && s.Renewed.After(found.Session.Renewed), s.failure()))
	}
	return found
}

func (s *goldenSession) failure() string {
	if s == nil {
		return ""
	}
	return s.Error
}

// goldenSignIn signs somebody in and expects the tokens to be found again.
func goldenSignIn(tokens ...string) func(a *goldenApp, v *goldenValue) {
	return func(a *goldenApp, v *goldenValue) {
		a.signInAt("/")
		v.expectIssued(a, tokens...)
	}
}

func (v *goldenValue) expectIssued(a *goldenApp, tokens ...string) {
	for _, name := range tokens {
		v.expect = append(v.expect, a.issued[name])
	}
}

// goldenSessions are sessions in cookies and in stores.
func goldenSessions() []*goldenCase {
	both := []string{"access_token", "refresh_token"}
	cases := []*goldenCase{
		{name: "session-work", make: func(a *goldenApp, v *goldenValue) {
			goldenSignIn(both...)(a, v)
			v.Nonce = a.issued["nonce"]
		}},
		// As session-work, but since texts in access tokens are packed.
		{name: "session-packed", make: goldenSignIn(both...)},
		// Since claims that no list has are written in bits.
		{name: "session-bits", config: goldenUnknown, make: goldenSignIn(both...)},
		// With a place among the sign-ins of its account; read without Config.Shared.
		{name: "session-placed", maker: func(a *goldenApp) { a.cfg.Shared = sharedtest.New() }, make: goldenSignIn(both...)},
		{name: "session-personal", config: func(a *goldenApp) { a.person = msauthtest.Mia }, make: goldenSignIn(both...)},
		{
			name: "session-pieces", config: goldenRich, probes: []string{"/context", "/role", "/scopes"},
			make: func(a *goldenApp, v *goldenValue) {
				goldenSignIn(both...)(a, v)
				v.expect = append(v.expect, "Site.Admin", "a000003b-1111-4222-8333-00000000019d", "Bridges \\u0026 Tunnels", "Zoë Ana O'Neill")
				if len(a.jar) < 2 {
					a.t.Errorf("%d cookies, want several", len(a.jar))
				}
			},
		},
		{
			name: "session-lean", config: func(a *goldenApp) { a.cfg.CookieBudget = 2700 },
			make: goldenSignIn("refresh_token"),
		},
		{name: "session-overage", config: func(a *goldenApp) { a.person = msauthtest.Grace }, make: goldenSignIn(both...)},
		{
			name: "session-step-up",
			make: func(a *goldenApp, v *goldenValue) {
				a.signInAt("/")
				a.behave(func(b *msauthtest.Behavior) { b.RequireMFA = true })
				time.Sleep(61 * time.Minute)
				a.get("/public")
				v.expect = []string{"sign in required", `"Claims":"{\"access_token\":{\"capolids\"`}
			},
		},
		{
			// Eight sign-ins, each right after the one before: no ninth.
			name: "session-rounds", probes: []string{"/auth/login"},
			make: func(a *goldenApp, v *goldenValue) {
				for range 8 {
					a.signInAt("/auth/login")
				}
				v.expectIssued(a, both...)
				v.expect = append(v.expect, "400 loop")
			},
		},
		{
			// Nobody has entered anything: the session ends with the first sign-in.
			name:   "session-since",
			config: func(a *goldenApp) { a.behave(func(b *msauthtest.Behavior) { b.OmitAuthTime = true }) },
			make: func(a *goldenApp, v *goldenValue) {
				a.signInAt("/")
				time.Sleep(5 * time.Hour)
				a.signInAt("/auth/login")
				v.expectIssued(a, both...)
				v.expect = append(v.expect, `"Ends":"2026-03-09T09:30:00Z"`)
			},
		},
		{
			name: "session-context", probes: []string{"/context", "/fresh", "/scopes"},
			make: func(a *goldenApp, v *goldenValue) { a.signInAt("/context"); v.expectIssued(a, both...) },
		},
		{
			// What was asked for was not given: it is not asked for again.
			name: "session-asked", probes: []string{"/scopes"},
			make: func(a *goldenApp, v *goldenValue) {
				a.behave(func(b *msauthtest.Behavior) { b.WithholdScopes = []string{"Calendars.Read"} })
				a.signInAt("/scopes")
				v.expectIssued(a, both...)
				v.expect = append(v.expect, "403 not-granted")
			},
		},
		{
			name: "session-plain-provider", config: goldenIssuer((*msauthtest.Server).Plain),
			make: goldenSignIn("access_token", "refresh_token", "id_token"),
		},
		{
			name: "session-bound", make: func(a *goldenApp, v *goldenValue) {
				a.bind()
				v.expectIssued(a, "access_token") // the proof ends before a renewal is due
			},
			maker: func(a *goldenApp) { a.cfg.DeviceBinding = msauth.DeviceBindingOffered },
		},
		{
			name: "session-live-connect", config: goldenLive,
			make: goldenSignIn("access_token", "refresh_token", "authentication_token"),
		},
		{name: "session-b2c", config: goldenIssuer((*msauthtest.Server).B2C), make: goldenSignIn("refresh_token")},
		{name: "session-external-id", config: goldenIssuer((*msauthtest.Server).ExternalID), make: goldenSignIn(both...)},
		{
			name: "session-plain-http", make: goldenSignIn(both...),
			config: func(a *goldenApp) { a.host, a.cfg.BaseURL = "localhost:8080", "http://localhost:8080/auth" },
		},
		{
			name: "session-named", make: goldenSignIn(both...),
			config: func(a *goldenApp) {
				a.cfg.CookieName, a.cfg.SessionCookie, a.cfg.Tenant = "golden", true, msauthtest.TenantContoso
			},
		},
		{
			name: "session-old-key", make: goldenSignIn(both...),
			reader: func(a *goldenApp) { a.cfg.Keys = [][]byte{goldenKey(2), goldenKey(1)} },
		},
		{
			name: "session-of-a-user", config: func(a *goldenApp) { a.keep(); a.userKey = "user-7" },
			make: goldenSignIn(both...), partly: []string{"entry"},
		},
		{name: "stored-work", config: (*goldenApp).store, make: goldenSignIn(both...)},
		{name: "stored-personal", config: func(a *goldenApp) { a.store(); a.person = msauthtest.Mia }, make: goldenSignIn(both...)},
		{name: "stored-large", config: func(a *goldenApp) { a.store(); goldenRich(a) }, make: goldenSignIn(both...), probes: []string{"/context", "/role"}},
		{
			name: "stored-before-ids", config: (*goldenApp).store,
			make: func(a *goldenApp, v *goldenValue) {
				goldenSignIn(both...)(a, v)
				a.records.sealAsBefore(a)
			},
		},
	}
	for _, c := range cases {
		c.read = readGoldenSession
	}
	return cases
}

// sealAsBefore seals the records in the form of before they were sealed for
// their ids, which nothing writes any more: with the registration alone.
func (s *goldenRecords) sealAsBefore(a *goldenApp) {
	a.t.Helper()
	key, err := hkdf.Key(sha256.New, goldenKey(1), nil, "msauth stored session v1", 32)
	if err != nil {
		a.t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		a.t.Fatal(err)
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		a.t.Fatal(err)
	}
	registration, err := hex.DecodeString(strings.Split(a.auth.StoredUser(""), ":")[1])
	if err != nil {
		a.t.Fatal(err)
	}
	name := slices.Collect(maps.Keys(a.jar))[0]
	for id, text := range s.texts {
		box, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			a.t.Fatal(err)
		}
		plain, err := gcm.Open(nil, nil, box, []byte("v2\x00"+name+"\x00"+string(registration)+id))
		if err != nil {
			a.t.Fatal(err)
		}
		s.texts[id] = base64.RawURLEncoding.EncodeToString(gcm.Seal(nil, nil, plain, []byte(name+"\x00"+string(registration))))
	}
}
