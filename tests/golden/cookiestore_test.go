package golden_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/gorilla/sessions"

	"example.com/msauth"
)

// A goldenValues is an app's own session.
type goldenValues struct {
	IsNew  bool
	Values map[string]any
	Later  bool // is there when its age is over
	Others bool // is there for another owner
}

func (v *goldenValues) opened() bool { return !v.IsNew }

// goldenOwn are sessions of an app's own in a CookieStore.
func goldenOwn() []*goldenCase {
	open := func(a *goldenApp, owner string) *sessions.Session {
		store, err := msauth.NewCookieStore(goldenKey(1))
		if err != nil {
			a.t.Fatal(err)
		}
		store.Owner = owner
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		for _, line := range a.jar {
			pair, _, _ := strings.Cut(line, ";")
			r.Header.Set("Cookie", strings.TrimPrefix(r.Header.Get("Cookie")+"; "+pair, "; "))
		}
		session, err := store.Get(r, "own")
		if err != nil {
			a.t.Fatal(err)
		}
		return session
	}
	of := func(name, owner string, values map[any]any) *goldenCase {
		return &goldenCase{
			name: name,
			make: func(a *goldenApp, v *goldenValue) {
				session := open(a, owner)
				maps.Copy(session.Values, values)
				w := httptest.NewRecorder()
				if err := session.Save(httptest.NewRequest(http.MethodGet, "/", nil), w); err != nil {
					a.t.Fatal(err)
				}
				a.receive(w.Header()["Set-Cookie"])
			},
			read: func(a *goldenApp, _ *goldenValue) goldenFound {
				session := open(a, owner)
				found := &goldenValues{IsNew: session.IsNew, Values: map[string]any{}}
				for key, value := range session.Values {
					found.Values[fmt.Sprintf("%T %v", key, key)] = fmt.Sprintf("%T %v", value, value)
				}
				found.Others = !open(a, owner+"x").IsNew
				time.Sleep(7*24*time.Hour + time.Second)
				found.Later = !open(a, owner).IsNew
				return found
			},
		}
	}
	large := strings.Repeat("a long list of things in a basket, ", 120)
	return []*goldenCase{
		of("own-small", "", map[any]any{"user": "zoë", "n": 42, 7: "seven", "yes": true, "f": 1.5, "b": []byte("bytes")}),
		of("own-pieces", "", map[any]any{"basket": large, "n": 1}),
		of("own-owner", "shop", map[any]any{"user": "zoë"}),
	}
}
