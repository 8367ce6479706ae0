package provider

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const otherDiscovery = otherBase + "/.well-known/openid-configuration"

// unavailable is a page of a provider that is down.
func unavailable(r *http.Request) (*http.Response, error) { return reply(r, 503, "text/html", ""), nil }

func TestDocumentIsKeptForADay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, web := plainProvider(t)
		page := web.pages[otherDiscovery].(map[string]any)
		get := func(when, endpoint string, requests int) {
			t.Helper()
			m, err := a.Discover(t.Context())
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			synctest.Wait() // for a fetch in the background
			if n := web.count(otherDiscovery); m.Token != endpoint || n != requests {
				t.Errorf("%s: token endpoint %s after %d requests, want %s after %d", when, m.Token, n, endpoint, requests)
			}
		}
		version := func(n string) string { return otherBase + "/token" + n }
		get("at first", version(""), 1)
		web.set(otherDiscovery, with(page, "token_endpoint", version("2")))
		time.Sleep(documentStale - time.Second)
		get("before half a day", version(""), 1)
		time.Sleep(time.Second)
		get("after half a day the old one is returned and a new one fetched", version(""), 2)
		get("then the new one", version("2"), 2)
		web.set(otherDiscovery, with(page, "token_endpoint", version("3")))
		time.Sleep(documentOld)
		get("after a day a new one is waited for", version("3"), 3)
		web.set(otherDiscovery, unavailable)
		time.Sleep(7 * documentOld)
		get("while the provider is unavailable the last one is returned", version("3"), 4)
		get("and the provider is not asked each time", version("3"), 4)
		time.Sleep(documentPause)
		get("but again after a pause", version("3"), 5)
		if known, err := a.Known(); err != nil || known.Token != version("3") || web.count(otherDiscovery) != 5 {
			t.Errorf("Known: %v, %v", known, err)
		}
	})
}

func TestDocumentIsFetchedOnceForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, web := plainProvider(t)
		page := web.pages[otherDiscovery]
		if _, err := a.Known(); err == nil || web.count("") != 0 {
			t.Errorf("Known before the first fetch: %v after %d requests", err, web.count(""))
		}
		web.set(otherDiscovery, func(r *http.Request) (*http.Response, error) {
			select {
			case <-time.After(time.Second):
			case <-r.Context().Done(): // of one caller, who does not count
				return nil, r.Context().Err()
			}
			return reply(r, 200, "application/json", mustJSON(page)), nil
		})
		canceled, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := a.Discover(canceled); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller that does not wait: %v", err)
		}
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if _, err := a.Discover(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := web.count(otherDiscovery); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
	})
}

func TestFetchThatPanicsIsAFailure(t *testing.T) {
	t.Parallel()
	a, web := plainProvider(t)
	web.set(otherDiscovery, func(*http.Request) (*http.Response, error) { panic("in the app's transport") })
	_, err := a.Discover(t.Context())
	wantFault(t, err, "panic: in the app's transport")
	if failure, ok := errors.AsType[*Failure](err); !ok || failure.Class != Retry {
		t.Errorf("%#v, want class %q", err, Retry)
	}
}
