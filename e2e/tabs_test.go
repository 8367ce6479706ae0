package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

const tabCount = 10

// slowly makes every answer of the app late by 300 ms, and those to the first
// so many requests later still: until all of these are there.
func slowly(f *front, together int) {
	var waiting sync.WaitGroup
	waiting.Add(together)
	all := make(chan struct{})
	go func() { waiting.Wait(); close(all) }()
	n := 0
	route := f.backend
	f.backend = func(i int, r *http.Request) *app {
		if n < together {
			n++
			waiting.Done()
		}
		return route(i, r)
	}
	f.answer = func(res *http.Response) {
		ctx, cancel := context.WithTimeout(res.Request.Context(), patience)
		defer cancel()
		select {
		case <-all:
		case <-ctx.Done():
		}
		select {
		case <-time.After(300 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// tenTabs opens ten pages at once in a browser that is signed out, behind a
// slow line.
func tenTabs(t *testing.T, ms *msauthtest.Server) (f *front, tabs []*tab, pages []string) {
	t.Helper()
	f = newFront(t, true) // HTTP/2: else six requests at a time
	a := newApp(t, ms, "MSAUTH_BASE_URL="+f.url+"/auth")
	f.backend = func(int, *http.Request) *app { return a }
	slowly(f, tabCount)
	f.start()

	tabs = append(tabs, newPerson(t))
	for len(tabs) < tabCount {
		tabs = append(tabs, tabs[0].newTab())
	}
	for i := range tabs {
		pages = append(pages, fmt.Sprintf("%s/%s?tab=%d&y=%%2F", f.url, []string{"session", "files", "profile"}[i%3], i))
	}
	var opening sync.WaitGroup
	failed := make([]error, len(tabs))
	for i, b := range tabs {
		opening.Go(func() { failed[i] = b.navigate(pages[i]) })
	}
	opening.Wait()
	for i, err := range failed {
		if err != nil {
			t.Fatalf("tab %d: %v", i, err)
		}
	}
	return f, tabs, pages
}

// checkTenTabs is what must hold once all of them are through.
func checkTenTabs(t *testing.T, ms *msauthtest.Server, f *front, tabs []*tab, pages []string) {
	t.Helper()
	for i, b := range tabs {
		b.at(pages[i])
		if got := b.text("#who"); got != "Ada Lindqvist" {
			t.Errorf("tab %d is signed in as %q", i, got)
		}
		for _, d := range b.loads() {
			if d.status >= 400 && d.status != http.StatusUnauthorized { // that of the page that keeps the fragment
				t.Errorf("tab %d saw status %d of %.60s", i, d.status, d.url)
			}
		}
	}
	// The test is worth nothing if a cookie was there before the last tab asked.
	requests := f.passed()
	for i, last := range requests[:tabCount] {
		for _, r := range requests[:tabCount] {
			if !r.answered.IsZero() && r.answered.Before(last.arrived) {
				t.Fatalf("request %d was sent after another one had been answered", i)
			}
		}
		if len(last.r.Header["Cookie"]) > 0 {
			t.Errorf("request %d had a cookie", i)
		}
	}
	for kind, want := range map[msauthtest.Kind]int{msauthtest.Authorize: tabCount, msauthtest.TokenCode: tabCount, msauthtest.TokenRefresh: 0} {
		if got := ms.Count(kind); got != want {
			t.Errorf("%d requests of kind %s, want %d", got, kind, want)
		}
	}
	if session, attempts, _ := tabs[0].appCookies(); len(session) != 1 || len(attempts) != 0 {
		t.Errorf("%d session cookies and %d of attempts are left, want 1 and 0", len(session), len(attempts))
	}
}

func TestTenTabsAtOnceEndOnTheirOwnPages(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	f, tabs, pages := tenTabs(t, ms)
	if _, attempts, _ := tabs[0].appCookies(); len(attempts) != tabCount {
		t.Errorf("%d attempts under way, want %d", len(attempts), tabCount)
	}
	order := []int{6, 1, 9, 0, 4, 8, 2, 7, 3, 5}
	for _, i := range order[:3] { // one after the other
		tabs[i].pick(msauthtest.Ada)
		tabs[i].at(pages[i])
	}
	for _, i := range order[3:] { // and without waiting
		tabs[i].pick(msauthtest.Ada)
	}
	checkTenTabs(t, ms, f, tabs, pages)
}

func TestTenTabsAtOnceWithAProviderThatShowsNoPage(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })
	f, tabs, pages := tenTabs(t, ms)
	checkTenTabs(t, ms, f, tabs, pages)
}

// Two tabs finish so closely that one asks for its page with the session of its
// own sign-in while the other's is already replacing that.
func TestTwoSignInsThatFinishTogetherDoNotEndEachOther(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	f := newFront(t, false)
	a := newApp(t, ms, "MSAUTH_BASE_URL="+f.url+"/auth")
	replaced, shown := make(chan struct{}), make(chan struct{})
	wait := func(c chan struct{}) {
		select {
		case <-c:
		case <-time.After(patience):
		}
	}
	var callbacks, pages atomic.Int64
	f.ask = func(r *http.Request) {
		if r.URL.Path == "/files" && len(r.Header["Cookie"]) > 0 && strings.Contains(r.URL.RawQuery, "first") {
			wait(replaced) // the first tab's page, after its sign-in
		}
	}
	f.answer = func(res *http.Response) {
		switch res.Request.URL.Path {
		case "/auth/callback":
			if callbacks.Add(1) == 2 {
				close(replaced)
				wait(shown)
			}
		case "/files":
			if pages.Add(1) == 3 { // two of them were sent to the provider
				close(shown)
			}
		}
	}
	f.start(a)
	first := newPerson(t)
	second := first.newTab()
	first.open(f.url + "/files?first")
	second.open(f.url + "/files?second")
	first.pick(msauthtest.Ada)
	if err := eventually(t.Context(), func() bool { session, _, _ := first.appCookies(); return len(session) == 1 }); err != nil {
		t.Fatal("the first tab does not get a session")
	}
	second.pick(msauthtest.Ada)
	for b, url := range map[*tab]string{first: f.url + "/files?first", second: f.url + "/files?second"} {
		b.at(url)
		if b.status() != 200 {
			b.fatal(fmt.Sprintf("status %d", b.status()))
		}
	}
	first.open(f.url + "/session") // somebody is still signed in
	if got := first.text("#who"); got != "Ada Lindqvist" {
		t.Errorf("signed in as %q", got)
	}
}

func TestPrefetchAndPrerenderStartNoSignIn(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })
	f := newFront(t, false)
	a := newApp(t, ms, "MSAUTH_BASE_URL="+f.url+"/auth")
	f.pages = map[string]string{"/ahead": `<!doctype html><html lang="en"><title>Ahead</title>
		<link rel="prefetch" href="/files?by=link"><link rel="prefetch" href="/auth/login?by=link">
		<script type="speculationrules">{
			"prefetch": [{"urls": ["/session?by=prefetch", "/auth/logout?by=prefetch"], "eagerness": "immediate"}],
			"prerender": [{"urls": ["/profile?by=prerender"], "eagerness": "immediate"}]
		}</script><a href="/files?by=click">Files</a>`}
	f.start(a)
	ahead := func(want int) (found []passed) {
		t.Helper()
		err := eventually(t.Context(), func() bool {
			found = nil
			for _, p := range f.passed() {
				if strings.Contains(p.r.Header.Get("Sec-Purpose"), "prefetch") && p.status != 0 {
					found = append(found, p)
				}
			}
			return len(found) >= want
		})
		if err != nil {
			t.Fatalf("the browser fetched only %d of %d pages ahead", len(found), want)
		}
		return found
	}
	b := newPerson(t)
	b.open(f.url + "/ahead")
	for _, p := range ahead(5) {
		if p.status < 400 || len(p.setCookie) > 0 {
			t.Errorf("%s, fetched ahead: status %d, cookies %q", p.r.URL, p.status, p.setCookie)
		}
	}
	if got := ms.Count(msauthtest.Authorize); got != 0 {
		t.Errorf("%d sign-ins were started", got)
	}
	b.click("a")
	b.at(f.url + "/files?by=click")
	if got := b.text("#who"); got != "Ada Lindqvist" {
		t.Errorf("signed in as %q", got)
	}

	// Signed in, the same page signs nobody out.
	n := len(ahead(5))
	b.open(f.url + "/ahead")
	ahead(n + 3)
	b.open(f.url + "/session")
	b.shows("#who")
	if got := ms.Count(msauthtest.Authorize); got != 1 {
		t.Errorf("%d sign-ins, want 1", got)
	}
	if got := ms.Count(msauthtest.Logout); got != 0 {
		t.Errorf("%d sign-outs", got)
	}
}
