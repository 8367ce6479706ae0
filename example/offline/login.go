package main

import (
	"database/sql"
	"errors"
	"net/http"
	"strings"
	"time"
)

// form is the data of the pages to sign up and to sign in. Complaint is about the
// field of that name or, if Field is empty, about both fields.
type form struct{ Name, Complaint, Field string }

// Wrong reports whether the complaint is about a field.
func (f form) Wrong(field string) bool {
	return f.Complaint != "" && (f.Field == "" || f.Field == field)
}

func (a *app) signUpPage(w http.ResponseWriter, r *http.Request) error {
	return a.render(w, r, http.StatusOK, "sign-up", "Sign up", form{})
}

func (a *app) signInPage(w http.ResponseWriter, r *http.Request) error {
	return a.render(w, r, http.StatusOK, "sign-in", "Sign in", form{})
}

// credentials reads the name and the password in a form.
func credentials(w http.ResponseWriter, r *http.Request) (name, password string, err error) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	if err := r.ParseForm(); err != nil {
		return "", "", errBadForm
	}
	return strings.TrimSpace(r.PostForm.Get("name")), r.PostForm.Get("password"), nil
}

func (a *app) signUp(w http.ResponseWriter, r *http.Request) error {
	name, password, err := credentials(w, r)
	if err != nil {
		return err
	}
	field, wrong := complaint(name, password)
	if wrong == "" {
		hash, err := hashPassword(r.Context(), password)
		if err != nil {
			return err
		}
		err = a.enter(w, r, "/settings", func(tx *sql.Tx) (int64, error) { return create(r.Context(), tx, name, hash) })
		if !errors.Is(err, errTaken) {
			return err
		}
		field, wrong = "name", "This name is taken. Please choose another one."
	}
	return a.render(w, r, http.StatusUnprocessableEntity, "sign-up", "Sign up", form{Name: name, Complaint: wrong, Field: field})
}

func (a *app) signIn(w http.ResponseWriter, r *http.Request) error {
	name, password, err := credentials(w, r)
	if err != nil {
		return err
	}
	if len(password) <= maxPassword {
		id, err := a.check(r.Context(), name, password)
		if err == nil {
			return a.enter(w, r, "/digests", func(*sql.Tx) (int64, error) { return id, nil })
		}
		if !errors.Is(err, errWrong) {
			return err
		}
	}
	return a.render(w, r, http.StatusUnprocessableEntity, "sign-in", "Sign in",
		form{Name: name, Complaint: "Wrong name or password. Please try again."})
}

// enter signs in the user that who finds or creates, in the same transaction.
func (a *app) enter(w http.ResponseWriter, r *http.Request, to string, who func(*sql.Tx) (int64, error)) error {
	var session string
	err := together(r.Context(), a.db, func(tx *sql.Tx) error {
		user, err := who(tx)
		if err == nil {
			session, err = a.begin(r, tx, user)
		}
		return err
	})
	if err != nil {
		return err
	}
	http.SetCookie(w, a.cookie(session, int(sessionLife/time.Second)))
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

func (a *app) signOut(w http.ResponseWriter, r *http.Request) error {
	if err := together(r.Context(), a.db, func(tx *sql.Tx) error { return a.end(r, tx) }); err != nil {
		return err
	}
	http.SetCookie(w, a.cookie("", -1))
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

// members is for pages that require users to be signed in to this site.
func (a *app) members(h func(http.ResponseWriter, *http.Request, *person) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if p := personIn(r.Context()); p != nil {
			return h(w, r, p)
		}
		http.Redirect(w, r, "/sign-in", http.StatusSeeOther)
		return nil
	}
}
