package provider

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Names are taken from a reply about the same person only, and from the named address.
func TestUserinfo(t *testing.T) {
	t.Parallel()
	const token = "an-access-token-of-some-length"
	const good = `{"sub":"AAAA","name":"Ada Lindqvist","preferred_username":"ada","email":"ada@example.com","roles":["Admin"]}`
	page := func(status int, kind, body string) any {
		return func(r *http.Request) (*http.Response, error) { return reply(r, status, kind, body), nil }
	}
	for _, test := range []struct {
		name     string
		endpoint any
		page     any
		want     string // "" if it is accepted
	}{
		{"good", otherBase + "/userinfo", page(200, "application/json; charset=utf-8", good), ""},
		{"on another host", "https://elsewhere.example/me", page(200, "application/json", good), ""},
		{"of another person", otherBase + "/userinfo", page(200, "application/json", `{"sub":"BBBB","name":"Eve"}`), "its sub is not that of the ID token"},
		{"without sub", otherBase + "/userinfo", page(200, "application/json", `{"name":"Eve"}`), "its sub is not that of the ID token"},
		{"sub in other case", otherBase + "/userinfo", page(200, "application/json", `{"sub":"aaaa","name":"Eve"}`), "its sub is not that of the ID token"},
		{"Sub", otherBase + "/userinfo", page(200, "application/json", `{"Sub":"AAAA","name":"Eve"}`), "its sub is not that of the ID token"},
		{"sub twice", otherBase + "/userinfo", page(200, "application/json", `{"sub":"BBBB","sub":"AAAA","name":"Eve"}`), "a member is there twice"},
		{"refused", otherBase + "/userinfo", page(401, "application/json", `{"error":"invalid_token","error_description":"`+token+`"}`), "HTTP status 401"},
		{"a redirect", otherBase + "/userinfo", func(r *http.Request) (*http.Response, error) {
			res := reply(r, 302, "text/html", "")
			res.Header.Set("Location", "https://evil.example/")
			return res, nil
		}, "redirects, which is not followed"},
		{"HTML", otherBase + "/userinfo", page(200, "text/html", "<html>"+token), "text/html, not JSON"},
		{"signed", otherBase + "/userinfo", page(200, "application/jwt", "a.b.c"), "application/jwt, not JSON"},
		{"too large", otherBase + "/userinfo", page(200, "application/json", `{"sub":"AAAA","x":"`+strings.Repeat("x", maxUserinfo)+`"}`), "reply too large"},
		{"hangs", otherBase + "/userinfo", func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }, "deadline exceeded"},
		{"on http", "http://id.example.com/userinfo", page(200, "application/json", good), "userinfo_endpoint is not on https"},
		{"loopback", "http://localhost:9/userinfo", page(200, "application/json", good), ""},
		{"relative", "/userinfo", nil, "userinfo_endpoint is not an absolute URL"},
		{"none", nil, nil, "discovery names no userinfo_endpoint"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, web := plainProvider(t)
				where := otherBase + "/.well-known/openid-configuration"
				web.set(where, with(web.pages[where].(map[string]any), "userinfo_endpoint", test.endpoint))
				if address, ok := test.endpoint.(string); ok {
					web.set(address, test.page)
				}
				begun := time.Now()
				got, err := a.userinfo(t.Context(), token, "AAAA")
				if took := time.Since(begun); took > userinfoTimeout {
					t.Errorf("it took %v", took)
				}
				if n := web.count("evil"); n > 0 {
					t.Error("a redirect was followed")
				}
				if test.want == "" {
					if want := (profile{"Ada Lindqvist", "ada", "ada@example.com"}); err != nil || got != want {
						t.Errorf("%+v, %v", got, err)
					}
					if web.header.Get("Authorization") != "Bearer "+token {
						t.Error("no bearer token was sent")
					}
					return
				}
				if got != (profile{}) {
					t.Errorf("%+v beside an error", got)
				}
				if wantFault(t, err, test.want); err != nil && strings.Contains(err.Error(), token) {
					t.Errorf("the token is in %v", err)
				}
			})
		})
	}
}

func TestFillInNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 2*maxNameTaken)
	for _, test := range []struct {
		name     string
		username string // in the ID token
		answer   map[string]any
		want     profile
	}{
		{"all", "", map[string]any{"name": "Ada", "preferred_username": "ada", "email": "ada@example.com"}, profile{"Ada", "ada", "ada@example.com"}},
		{"a username in the ID token stays", "lovelace", map[string]any{"name": "Ada", "preferred_username": "ada"}, profile{"Ada", "lovelace", ""}},
		{"on one line", "", map[string]any{"name": "Ada\nEve\u202e"}, profile{"Ada Eve", "", ""}},
		{"too long", "", map[string]any{"name": long, "preferred_username": long, "email": long},
			profile{long[:maxNameTaken] + "...", long[:maxNameTaken] + "...", ""}},
		{"nothing else is taken", "", map[string]any{"name": "Ada", "roles": []string{"Admin"}, "email": "e", "email_verified": true}, profile{"Ada", "", "e"}},
	} {
		a, web := plainProvider(t)
		web.set(otherBase+"/userinfo", with(test.answer, "sub", "AAAA"))
		id := &Identity{User: Account{Issuer: otherBase, Subject: "AAAA", Username: test.username}}
		err := a.FillInNames(t.Context(), id, "an-access-token")
		want := Account{Issuer: otherBase, Subject: "AAAA", Name: test.want.Name, Username: test.want.Username, Email: test.want.Email}
		if err != nil || !reflect.DeepEqual(id.User, want) {
			t.Errorf("%s: %+v, %v, want %+v", test.name, id.User, err, want)
		}
	}
}
