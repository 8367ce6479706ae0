package main

import (
	"errors"
	"net/http"

	"example.com/msauth/example/internal/webapp"
)

var (
	errNotFound  = errors.New("no such page")
	errOtherSite = errors.New("form posted by another site")
	errBadForm   = errors.New("malformed form")
)

// explain returns the failure to show for an error.
func explain(err error) webapp.Failure {
	switch {
	case errors.Is(err, errNotFound):
		return webapp.Failure{Status: http.StatusNotFound, Title: "Not found", Text: "There is no such page. Please check the address."}
	case errors.Is(err, errOtherSite):
		return webapp.Failure{Status: http.StatusForbidden, Title: "Form not accepted",
			Text: "The form was posted by another site. Nothing has changed."}
	case errors.Is(err, errBadForm):
		return webapp.Failure{Status: http.StatusBadRequest, Title: "Form not accepted", Text: "The form could not be read. Please go back and try again."}
	case errors.Is(err, errNotAdmin):
		return webapp.Failure{Status: http.StatusForbidden, Title: "For the administrator only",
			Text: "Your account may not open this page. Nothing has changed."}
	case errors.Is(err, errNoPerson):
		return webapp.Failure{Status: http.StatusNotFound, Title: "No such user",
			Text: "Nobody has this number. If it was somebody who has left, they have been removed already."}
	case errors.Is(err, errOneself):
		return webapp.Failure{Status: http.StatusConflict, Title: "This is your own account",
			Text: "The administrator cannot be removed here. Nothing has changed."}
	case isOfDatabase(err):
		return webapp.Failure{Status: http.StatusServiceUnavailable, Retry: true, Title: "The database is not available",
			Text: "Nothing has changed. Please try again in a moment."}
	}
	return webapp.Failure{Status: http.StatusInternalServerError, Retry: true, Title: "Something went wrong",
		Text: "The error is on our side. Please try again in a moment."}
}

// page makes a handler of a function that returns an error if it has written nothing.
func (a *app) page(h func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil {
			return
		}
		f := explain(err)
		f.Log(a.log, r, err)
		if err := a.render(w, r, f.Status, "failure", f.Title, f); err != nil {
			http.Error(w, f.Title, f.Status)
		}
	})
}
