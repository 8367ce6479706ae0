package main

import (
	"errors"
	"math"
	"net/http"
	"strconv"

	"example.com/msauth"
	"example.com/msauth/example/internal/msgraph"
	"example.com/msauth/example/internal/webapp"
)

// explain returns the failure to show for an error. Errors that only the user can
// resolve do not get here: [msauth.Middleware.Challenge] handles them.
func explain(err error) webapp.Failure {
	var f webapp.Failure
	refusal, _ := errors.AsType[*msgraph.Error](err)
	status := 0
	if refusal != nil {
		status, f.RetryAfter = refusal.Status, refusal.RetryAfter
	}
	switch {
	case status == http.StatusUnauthorized:
		f.Status, f.SignIn = http.StatusUnauthorized, true
		f.Title = "Please sign in again"
		f.Text = "Microsoft needs you to confirm your sign-in. You will return to this page."
	case errors.Is(err, msauth.ErrTokenUnavailable):
		f.Status, f.Retry = http.StatusServiceUnavailable, true
		f.Title = "Microsoft is not responding"
		f.Text = "You are still signed in. Please try again in a moment."
		if e, ok := errors.AsType[*msauth.AuthError](err); ok {
			f.RetryAfter = e.RetryAfter
		}
	case errors.Is(err, errNoDrive):
		f.Status = http.StatusNotFound
		f.Title = "No files found"
		f.Text = "This account has no OneDrive. Another account may have one."
	case errors.Is(err, errNoCalendar):
		f.Status = http.StatusNotFound
		f.Title = "No calendar found"
		f.Text = "This account has no Microsoft mailbox. Another account may have one."
	case errors.Is(err, errOtherSite):
		f.Status = http.StatusForbidden
		f.Title = "Form not accepted"
		f.Text = "The form was posted by another site. Nothing has changed."
	case errors.Is(err, errBadForm):
		f.Status = http.StatusBadRequest
		f.Title = "Form not accepted"
		f.Text = "The form could not be read. Nothing has changed."
	case errors.Is(err, errThisBrowser):
		f.Status = http.StatusConflict
		f.Title = "This is the browser that you are using"
		f.Text = "Nothing has changed. To sign out here, use “Sign out” at the top of the page."
	case errors.Is(err, errNoList):
		f.Status, f.Retry = http.StatusServiceUnavailable, true
		f.Title = "The list of your sessions is not available"
		f.Text = "Nothing has changed, and you are still signed in. Please try again in a moment."
	case status == http.StatusForbidden:
		f.Status = http.StatusForbidden
		f.Title = "Access denied"
		f.Text = "This app does not have the permission it needs from you or your organization, or this account has no OneDrive. Another account may work."
	case status == http.StatusNotFound:
		f.Status = http.StatusNotFound
		f.Title = "Not found"
		f.Text = "It may have been moved or deleted, or you may not have access to it."
	case status == http.StatusRequestedRangeNotSatisfiable:
		f.Status = status
		f.Title = "The file is shorter than requested"
		f.Text = "The requested part of the file does not exist. Download the file from the start."
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable, status == 509:
		f.Status, f.Retry = http.StatusServiceUnavailable, true
		f.Title = "Microsoft is busy"
		f.Text = "Microsoft is limiting requests from this app. Please try again in a moment."
	default:
		f.Status, f.Retry = http.StatusBadGateway, true
		f.Title = "Microsoft is not responding"
		f.Text = "There was no response, or one that this app does not understand. Please try again in a moment."
	}
	return f
}

// failed makes the failure of an error, logs it and sets the headers that go with it.
func (a *app) failed(w http.ResponseWriter, r *http.Request, err error) webapp.Failure {
	f := explain(err)
	f.Log(a.log, r, err)
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.RetryAfter.Seconds()))))
	}
	if f.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Cookie realm="msauth"`) // required by RFC 9110 section 15.5.2
	}
	return f
}

// page makes a handler of a function that returns an error if it has written nothing.
func (a *app) page(h func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil || a.auth.Challenge(w, r, err) { // redirects to Microsoft, and then back to this page
			return
		}
		f := a.failed(w, r, err)
		if err := a.render(w, r, f.Status, "failure", f.Title, f); err != nil {
			http.Error(w, f.Title, f.Status)
		}
	})
}

// api makes a handler that responds with what a function returns, as JSON, or
// with a problem (RFC 9457), as Require does.
func (a *app) api(get func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, err := get(r)
		if err == nil {
			writeJSON(w, http.StatusOK, "application/json", answer)
			return
		}
		if a.auth.Challenge(w, r, err) { // responds with 401 and the URL to sign in at
			return
		}
		f := a.failed(w, r, err)
		problem := map[string]any{"status": f.Status, "title": f.Title, "detail": f.Text, "id": f.ID}
		if f.SignIn {
			problem["login_url"] = a.auth.LoginURL(msauth.LoginOptions{ReturnTo: "/session"})
		}
		writeJSON(w, f.Status, "application/problem+json", problem)
	})
}

func (a *app) notFound(w http.ResponseWriter, r *http.Request) error {
	return &msgraph.Error{Status: http.StatusNotFound, Message: "no such page"}
}
