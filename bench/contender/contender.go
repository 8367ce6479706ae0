// Package contender puts ways to keep a Microsoft session behind one face, so
// that they can be measured side by side. Each is used as its documentation
// says. What they keep is the same: twelve claims, the access token, the
// refresh token and the expiry; where one keeps less, its comment says so.
package contender

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"example.com/msauth"
	"example.com/msauth/bench/fixture"
	"example.com/msauth/sharedtest"
)

// A Contender is one way to keep the session of one account.
type Contender struct {
	Name string
	// Cookies are those that a browser holds after Save, as name=value.
	Cookies []string

	// Identity and Token read the session of a request: to who it is, and to
	// the access token.
	Identity func(*http.Request) (string, error)
	Token    func(*http.Request) (string, error)
	// Save makes the Set-Cookie lines of the session. If it has to read the
	// session of the request first, as Token does, SaveReads is set.
	Save      func(http.ResponseWriter, *http.Request) error
	SaveReads bool
	// Protect is the middleware around a handler for people signed in.
	Protect func(http.Handler) http.Handler

	Close func()
}

// Header is the value of the Cookie header.
func (c *Contender) Header() string { return strings.Join(c.Cookies, "; ") }

// Dropped reports whether a browser does not keep the cookies: name and value
// of one take more than 4096 bytes.
func (c *Contender) Dropped() bool {
	for _, cookie := range c.Cookies {
		if len(cookie)-1 > 4096 {
			return true
		}
	}
	return false
}

// Request is one as a browser sends it for a page, with the cookies.
func (c *Contender) Request() *http.Request {
	r := httptest.NewRequest(http.MethodGet, "https://app.example.com/files", nil)
	r.RequestURI = "/files" // as a server has it
	for _, field := range BrowserHeaders {
		r.Header.Set(field[0], field[1])
	}
	if len(c.Cookies) > 0 {
		r.Header.Set("Cookie", c.Header())
	}
	return r
}

// BrowserHeaders are those that Chromium sends when a person follows a link,
// without Host and Cookie.
var BrowserHeaders = [][2]string{
	{"sec-ch-ua", `"Chromium";v="140", "Not=A?Brand";v="24"`},
	{"sec-ch-ua-mobile", "?0"},
	{"sec-ch-ua-platform", `"Linux"`},
	{"upgrade-insecure-requests", "1"},
	{"user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"},
	{"accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"},
	{"sec-fetch-site", "same-origin"},
	{"sec-fetch-mode", "navigate"},
	{"sec-fetch-user", "?1"},
	{"sec-fetch-dest", "document"},
	{"referer", "https://app.example.com/"},
	{"accept-encoding", "gzip, deflate, br, zstd"},
	{"accept-language", "en-US,en;q=0.9"},
}

// save takes the cookies that Save sets, and checks that they read back.
func (c *Contender) save(a *fixture.Account, r *http.Request) error {
	w := httptest.NewRecorder()
	if err := c.Save(w, r); err != nil {
		return fmt.Errorf("%s: saving: %w", c.Name, err)
	}
	c.take(w)
	return c.check(a)
}

func (c *Contender) take(w *httptest.ResponseRecorder) {
	c.Cookies = nil
	for _, line := range w.Header()["Set-Cookie"] {
		pair, _, _ := strings.Cut(line, ";")
		if cookie, err := http.ParseSetCookie(line); err == nil && cookie.MaxAge >= 0 && !strings.HasSuffix(cookie.Name, "-ok") {
			c.Cookies = append(c.Cookies, pair)
		}
	}
}

func (c *Contender) check(a *fixture.Account) error {
	if who, err := c.Identity(c.Request()); err != nil || who != a.Name {
		return fmt.Errorf("%s: reads the name %q, %v", c.Name, who, err)
	}
	if token, err := c.Token(c.Request()); err != nil || token != a.Access {
		return fmt.Errorf("%s: reads an access token of %d characters, %v", c.Name, len(token), err)
	}
	w := httptest.NewRecorder()
	c.Protect(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })).ServeHTTP(w, c.Request())
	if w.Code != http.StatusNoContent {
		return fmt.Errorf("%s: a protected page answers %d", c.Name, w.Code)
	}
	return nil
}

// state is the session as hand-written code keeps it.
type state struct {
	Claims  map[string]any `json:"claims"`
	Access  string         `json:"access_token"`
	Refresh string         `json:"refresh_token"`
	Expiry  time.Time      `json:"expiry"`
}

func newState(a *fixture.Account) state {
	return state{a.Claims(), a.Access, a.Refresh, time.Now().Add(time.Hour).UTC().Truncate(time.Second)}
}

func (s *state) name() string {
	name, _ := s.Claims["name"].(string)
	return name
}

func (s *state) current() bool { return time.Now().Before(s.Expiry) }

// protect lets those through for whom read finds a name.
func protect(read func(*http.Request) (string, error)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if name, err := read(r); err != nil || name == "" {
				http.Error(w, "sign in", http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// Own makes this module for an account, the floor, a bare handler, and this module
// where other processes have ended sessions (msauth.Config.Shared).
func Own(a *fixture.Account) ([]*Contender, error) {
	ours, err := NewMsauth(a)
	if err != nil {
		return nil, err
	}
	sharing, err := NewMsauth(a, func(cfg *msauth.Config) { cfg.Shared = sharedtest.New() })
	if err != nil {
		return nil, err
	}
	return []*Contender{ours, NewFloor(ours), NewBare(ours), sharing}, nil
}

// All adds all others to those of Own. redis is the address of a Redis server.
func All(a *fixture.Account, redis string) ([]*Contender, error) {
	all, err := Own(a)
	if err != nil {
		return nil, err
	}
	for _, make := range []func(*fixture.Account) (*Contender, error){
		NewHandWritten, NewGorilla, NewSecureCookie, NewGoth, NewSCS,
		func(a *fixture.Account) (*Contender, error) { return NewSCSRedis(a, redis) },
	} {
		c, err := make(a)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}
