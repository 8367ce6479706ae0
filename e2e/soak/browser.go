package main

import (
	"bytes"
	"context"
	"io"
	random "math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"example.com/msauth/msauthtest"
)

var visitors = []struct{ signIn, name string }{
	{msauthtest.Ada, "Ada Lindqvist"}, {msauthtest.Bruno, "Bruno Okafor"}, {msauthtest.Mia, "Mia Müller"},
}

// A browser keeps the cookies of localhost, where Go's own jar would not send
// them: it takes Secure to need https even there, browsers do not.
type browser struct {
	crowd  *crowd
	client *http.Client
	who    int

	mu  sync.Mutex
	jar map[string]string
}

// live is one person's day: sign in, click, sometimes several pages at once,
// sometimes sign out and in again.
func (c *crowd) live(ctx context.Context, i int) {
	b := &browser{crowd: c, who: i % len(visitors), jar: map[string]string{}, client: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 8},
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	defer b.client.CloseIdleConnections()
	if !b.signIn(ctx) {
		return
	}
	pages := []struct {
		path      string
		needToken bool
	}{{"/", false}, {"/session", false}, {"/session", false}, {"/profile", true}, {"/files", true}, {"/api/me", true}, {"/profile/photo", true}}
	for ctx.Err() == nil {
		at := 1
		if random.IntN(5) == 0 {
			at = 2 + random.IntN(4) // a page with its scripts, or tabs restored
		}
		var wg sync.WaitGroup
		for range at {
			page := pages[random.IntN(len(pages))]
			wg.Go(func() { b.click(ctx, page.path, page.needToken) })
		}
		wg.Wait()
		if random.IntN(200) == 0 {
			b.signOut(ctx)
			if !b.signIn(ctx) {
				return
			}
		}
		pause := time.Duration(50+random.IntN(500)) * time.Millisecond
		if random.IntN(100) == 0 {
			pause = 8 * time.Second // a cup of coffee, longer than a token
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// click opens a page and looks whether it is this person's.
func (b *browser) click(ctx context.Context, path string, needToken bool) {
	c, name := b.crowd, visitors[b.who].name
	status, location, body, err := b.do(ctx, http.MethodGet, c.site+path)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		c.wrong(&c.noAnswer, "%s: %v", path, err)
		return
	}
	if needToken {
		c.mu.Lock()
		c.needToken++
		c.mu.Unlock()
	}
	switch {
	case status == http.StatusServiceUnavailable && needToken && strings.Contains(body, "You are still signed in."):
		c.mu.Lock()
		c.noToken++
		c.mu.Unlock()
	case status >= 500:
		c.wrong(&c.failures, "%s: status %d: %.200q", path, status, body)
	case status == http.StatusUnauthorized, status >= 300 && status < 400:
		c.wrong(&c.wrongSignOuts, "%s as %s: status %d to %.60q", path, name, status, location)
	case path == "/" && strings.Contains(body, "Sign in") && !strings.Contains(body, name):
		c.wrong(&c.wrongSignOuts, "%s as %s: the page of a stranger", path, name)
	default:
		for i, other := range visitors {
			if i != b.who && strings.Contains(body, other.name) {
				c.wrong(&c.wrongPerson, "%s as %s: the page of %s", path, name, other.name)
			}
		}
		if path == "/session" && !strings.Contains(body, name) {
			c.wrong(&c.wrongPerson, "%s as %s: nobody's page: %.300q", path, name, body)
		}
	}
}

func (b *browser) signIn(ctx context.Context) bool {
	c := b.crowd
	fail := func(step string, status int, err error) bool {
		if ctx.Err() == nil {
			c.wrong(&c.failures, "signing in as %s, %s: status %d, %v", visitors[b.who].name, step, status, err)
		}
		return false
	}
	status, location, _, err := b.do(ctx, http.MethodGet, c.site+"/auth/login?return_to=%2Fsession")
	if status != http.StatusSeeOther {
		return fail("login", status, err)
	}
	c.signing.Lock()
	c.ms.Set(func(s *msauthtest.Behavior) { s.AutoSignIn = visitors[b.who].signIn })
	status, location, _, err = b.do(ctx, http.MethodGet, location)
	c.signing.Unlock()
	if !strings.HasPrefix(location, c.site+"/auth/callback?") {
		return fail("at the provider", status, err)
	}
	if status, location, _, err = b.do(ctx, http.MethodGet, location); status != http.StatusSeeOther || location != "/session" {
		return fail("callback", status, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.signIns++
	return true
}

func (b *browser) signOut(ctx context.Context) {
	c := b.crowd
	status, location, _, err := b.do(ctx, http.MethodPost, c.site+"/auth/logout")
	if ctx.Err() != nil {
		return
	}
	if status != http.StatusSeeOther || !strings.HasPrefix(location, c.ms.URL) {
		c.wrong(&c.failures, "signing out: status %d to %.60q, %v", status, location, err)
	}
	status, _, body, err := b.do(ctx, http.MethodGet, c.site+"/session")
	if ctx.Err() == nil && status != http.StatusSeeOther {
		c.wrong(&c.wrongPerson, "signed out, yet /session: status %d, %v, %.100q", status, err, body)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.signOuts++
}

func (b *browser) do(ctx context.Context, method, target string) (status int, location, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return 0, "", "", err
	}
	c := b.crowd
	ours := strings.HasPrefix(target, c.site)
	if strings.HasPrefix(target, c.site+"/api/") {
		req.Header.Set("Sec-Fetch-Mode", "cors")
		req.Header.Set("Sec-Fetch-Dest", "empty")
		req.Header.Set("Accept", "application/json")
	} else {
		req.Header.Set("Sec-Fetch-Mode", "navigate")
		req.Header.Set("Sec-Fetch-Dest", "document")
		req.Header.Set("Accept", "text/html")
	}
	if ours {
		req.Header.Set("Sec-Fetch-Site", "same-origin")
		b.mu.Lock()
		for name, value := range b.jar {
			req.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		b.mu.Unlock()
	}
	began := time.Now()
	res, err := b.client.Do(req)
	if err != nil {
		return 0, "", "", err
	}
	defer res.Body.Close()
	var text bytes.Buffer
	if _, err := io.Copy(&text, res.Body); err != nil {
		return 0, "", "", err
	}
	if ours {
		b.mu.Lock()
		for _, cookie := range res.Cookies() {
			if cookie.MaxAge < 0 {
				delete(b.jar, cookie.Name)
			} else {
				b.jar[cookie.Name] = cookie.Value
			}
		}
		b.mu.Unlock()
		c.mu.Lock()
		c.waits = append(c.waits, time.Since(began))
		c.statuses[res.StatusCode]++
		c.mu.Unlock()
	}
	return res.StatusCode, res.Header.Get("Location"), text.String(), nil
}
