package main

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"
	"strings"

	"example.com/msauth"
	"example.com/msauth/example/live/internal/livesite"
)

// names are those of all users of the site.
var names = []string{"Carla", "Deniz"}

// users are the users of the site and their sessions. They stand for what a site has
// already. A real one has a password for each, limits guessing, and can end sessions.
type users struct {
	password string // "" on this computer only
	sessions *msauth.CookieStore
}

// cookie is the name of the site's own session. Its cookie is SameSite=Lax, not Strict:
// users must still be signed in when they come back from Microsoft.
const cookie = "site-user"

func newUsers(set *livesite.Settings) (*users, error) {
	if set.Password == "" && !set.Here {
		return nil, errors.New("the users of this site have no password, and others can reach it: set SITE_PASSWORD, or unset MSAUTH_BASE_URL")
	}
	store, err := msauth.NewCookieStore(set.Auth.Keys...)
	if err != nil {
		return nil, err
	}
	store.InsecureCookies = strings.HasPrefix(set.Auth.BaseURL, "http:")
	store.Owner = "example/live/connect"
	return &users{set.Password, store}, nil
}

// of returns the user who is signed in to the site, or "". It is for Config.User too.
func (u *users) of(r *http.Request) string {
	session, err := u.sessions.New(r, cookie)
	if err != nil {
		return ""
	}
	name, _ := session.Values["user"].(string)
	return known(name)
}

func known(name string) string {
	if slices.Contains(names, name) {
		return name
	}
	return ""
}

// form is the data of the page "sign-in".
type form struct {
	Names     []string
	Password  bool
	Complaint string
}

func (s *site) signInPage(w http.ResponseWriter, r *http.Request, status int, complaint string) error {
	return s.Show(w, r, status, livesite.View{Page: "sign-in", Title: "Sign in to this site", Data: form{names, s.users.password != "", complaint}})
}

func (s *site) signIn(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	name, password := known(r.PostFormValue("user")), r.PostFormValue("password")
	if name == "" || subtle.ConstantTimeCompare([]byte(password), []byte(s.users.password)) != 1 {
		return s.signInPage(w, r, http.StatusUnprocessableEntity, "Wrong name or password. Please try again.")
	}
	return s.enter(w, r, name, 0)
}

func (s *site) signOut(w http.ResponseWriter, r *http.Request) error {
	return s.enter(w, r, "", -1)
}

// enter writes the cookie of a user, or deletes it if maxAge is negative.
func (s *site) enter(w http.ResponseWriter, r *http.Request, name string, maxAge int) error {
	session, err := s.users.sessions.New(r, cookie)
	if err != nil {
		return err
	}
	session.Values["user"] = name
	session.Options.MaxAge = maxAge
	if err := session.Save(r, w); err != nil {
		return err
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}
