package trace_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.com/msauth"
	"example.com/msauth/tests/testsite"
)

type (
	pageKey      struct{} // the path of the request to the site
	operationKey struct{} // the innermost operation under way
	otherKey     struct{} // see TestARequestOfAnAPIBelongsToThePage
)

// An operation is one call of Config.Trace.
type operation struct {
	name  string
	in    *operation // the one that it is part of
	page  string     // the request that it belongs to
	other string
	calls []string // the requests that were made in it, and in none of its own
	ended int
	err   error
}

// String is the operation and where it is: "msauth.renewal in msauth.api_request of /".
func (o *operation) String() string {
	if o.in != nil {
		return o.name + " in " + o.in.String()
	}
	return o.name + " of " + o.page
}

// A record is what Config.Trace was called for.
type record struct {
	mu    sync.Mutex
	all   []*operation
	alone []string // requests to the provider in no operation
}

func (rec *record) trace(ctx context.Context, name string) (context.Context, func(error)) {
	o := &operation{name: name}
	o.in, _ = ctx.Value(operationKey{}).(*operation)
	o.page, _ = ctx.Value(pageKey{}).(string)
	o.other, _ = ctx.Value(otherKey{}).(string)
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.all = append(rec.all, o)
	return context.WithValue(ctx, operationKey{}, o), func(err error) {
		rec.mu.Lock()
		defer rec.mu.Unlock()
		o.ended++
		o.err = err
	}
}

// take returns the operations until now, each of which must have ended once, and
// forgets them.
func (rec *record) take(t *testing.T) (all []*operation, alone []string) {
	t.Helper()
	rec.mu.Lock()
	defer rec.mu.Unlock()
	for _, o := range rec.all {
		if o.ended != 1 {
			t.Errorf("%s: ended %d times", o, o.ended)
		}
	}
	all, alone = rec.all, rec.alone
	rec.all, rec.alone = nil, nil
	return all, alone
}

// want checks what the operations until now are, and what was requested in each:
// "msauth.sign_in of /auth/callback: POST token". It returns them.
func (rec *record) want(t *testing.T, when string, want ...string) []*operation {
	t.Helper()
	all, alone := rec.take(t)
	got := []string{}
	for _, o := range all {
		got = append(got, o.String()+": "+strings.Join(o.calls, ", "))
	}
	for _, call := range alone {
		got = append(got, "alone: "+call)
	}
	if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("%s:\n%s\nwant\n%s", when, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	return all
}

// use makes a Config be recorded, and its requests to the provider.
func (rec *record) use(c *msauth.Config) {
	c.Trace = rec.trace
	base := http.DefaultTransport
	if c.HTTPClient != nil {
		base = c.HTTPClient.Transport
	}
	c.HTTPClient = &http.Client{Transport: testsite.RoundTripper(func(r *http.Request) (*http.Response, error) {
		call := fmt.Sprintf("%s %s", r.Method, r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
		rec.mu.Lock()
		if o, ok := r.Context().Value(operationKey{}).(*operation); ok {
			o.calls = append(o.calls, call)
		} else {
			rec.alone = append(rec.alone, call)
		}
		rec.mu.Unlock()
		return base.RoundTrip(r)
	})}
}

// pages gives the contexts of requests the path of the page.
func pages(s *testsite.Site) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.Mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), pageKey{}, r.URL.Path)))
	})
	s.Current.Store(mux)
}

// noSecrets checks the errors that Trace has seen.
func noSecrets(t *testing.T, s *testsite.Site, all []*operation) {
	t.Helper()
	for _, o := range all {
		s.WantNoSecrets(t, "the error of "+o.name, fmt.Sprintf("%v %+v %#v", o.err, o.err, o.err))
	}
}

// status makes a request and returns its status.
func status(t *testing.T, client *http.Client, r *http.Request) int {
	t.Helper()
	res, err := client.Do(r)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer res.Body.Close()
	io.Copy(io.Discard, res.Body)
	return res.StatusCode
}
