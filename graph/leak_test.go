package graph_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"example.com/msauth/graph"
	"golang.org/x/oauth2"
)

// A client of x/oauth2 adds the token to whatever it is asked for. This package
// asks nobody but Graph, whatever Graph answers.
func TestTheTokenGoesToGraphAlone(t *testing.T) {
	t.Parallel()
	var asked, elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		elsewhere.Add(1)
		t.Errorf("another host was asked for %s with Authorization %q", r.URL, r.Header.Get("Authorization"))
	}))
	defer other.Close()
	graphAt := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1); r.Header.Get("Authorization") != "Bearer a-token" {
			t.Errorf("Graph is asked with Authorization %q", r.Header.Get("Authorization"))
		}
		target := other.URL + "/v1.0/me"
		switch name := strings.TrimPrefix(r.URL.Path, "/v1.0/"); name {
		case "302", "307", "308":
			http.Redirect(w, r, target, map[string]int{"302": 302, "307": 307, "308": 308}[name])
		case "gone/delta":
			w.Header().Set("Location", target)
			w.WriteHeader(http.StatusGone)
		case "$batch":
			w.Write([]byte(`{"responses":[{"id":"1","status":302,"headers":{"location":"` + target + `"}}],"@odata.nextLink":"` + target + `"}`))
		default:
			w.Write([]byte(`{"value":[],"@odata.nextLink":"` + target + `","@odata.deltaLink":"` + target + `"}`))
		}
	}))
	defer graphAt.Close()
	token := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "a-token"})
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, graphAt.Client())
	c := graph.New(oauth2.NewClient(ctx, token), graphAt.URL+"/v1.0")

	for _, path := range []string{"302", "307", "308"} {
		_, err := graph.Post[struct{}](ctx, c, path, 1)
		if err == nil || strings.Contains(err.Error(), other.URL) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, err := range graph.List[struct{}](ctx, c, "me/items") {
		wantInvalid(t, err, "link", "leads to another host")
	}
	gone := graph.Delta[struct{}](c, "gone/delta")
	for _, changes := range []*graph.Changes[struct{}]{graph.Delta[struct{}](c, "me/delta"), gone, gone, graph.Delta[struct{}](c, other.URL+"/v1.0/delta")} {
		for _, err := range changes.All(ctx) {
			if err == nil || strings.Contains(changes.Link(), other.URL) && changes.Link() != other.URL+"/v1.0/delta" {
				t.Errorf("%v, link %s", err, changes.Link())
			}
		}
	}
	if responses, err := c.Batch(ctx, graph.BatchRequest{Path: "me/drive/items/1/content"}); err != nil || string(responses[0].Location) != other.URL+"/v1.0/me" {
		t.Errorf("%+v, %v", responses, err)
	}
	if asked.Load() < 7 || elsewhere.Load() > 0 {
		t.Errorf("Graph was asked %d times, another host %d times", asked.Load(), elsewhere.Load())
	}
}
