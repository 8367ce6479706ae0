package main

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"

	"example.com/msauth"
	"example.com/msauth/example/internal/webapp"
	"example.com/msauth/graph"
)

// errNotFound means that an address leads nowhere.
var errNotFound = errors.New("no such page")

// failures are the failures to show for errors of this app itself.
var failures = []struct {
	err     error
	failure webapp.Failure
}{
	{errNotFound, notFound},
	{errNoDrive, webapp.Failure{Status: http.StatusNotFound, Title: "No files found",
		Text: "This account has no OneDrive. Another account may have one."}},
	{errNoCalendar, webapp.Failure{Status: http.StatusNotFound, Title: "No calendar found",
		Text: "This account has no Microsoft mailbox. Another account may have one."}},
	{errOtherSite, webapp.Failure{Status: http.StatusForbidden, Title: "Form not accepted",
		Text: "The form was posted by another site. Nothing has changed."}},
	{errBadForm, webapp.Failure{Status: http.StatusBadRequest, Title: "Form not accepted",
		Text: "The form could not be read. Nothing has changed."}},
	{errThisBrowser, webapp.Failure{Status: http.StatusConflict, Title: "This is the browser that you are using",
		Text: "Nothing has changed. To sign out here, use “Sign out” at the top of the page."}},
	{errNoList, webapp.Failure{Status: http.StatusServiceUnavailable, Retry: true, Title: "The list of your sessions is not available",
		Text: "Nothing has changed, and you are still signed in. Please try again in a moment."}},
	{errNoSharing, webapp.Failure{Status: http.StatusForbidden, Title: "Sharing is not allowed",
		Text: "Your organization, or this OneDrive, does not allow links to this item."}},
}

var notFound = webapp.Failure{Status: http.StatusNotFound, Title: "Not found",
	Text: "It may have been moved or deleted, or you may not have access to it."}

// explain returns the failure to show for an error. Errors that only the user can
// resolve, and Graph's answers with status 401, do not get here:
// [msauth.Middleware.Challenge] handles them.
func explain(err error) webapp.Failure {
	if errors.Is(err, msauth.ErrTokenUnavailable) {
		f := webapp.Failure{Status: http.StatusServiceUnavailable, Retry: true, Title: "Microsoft is not responding",
			Text: "You are still signed in. Please try again in a moment."}
		if e, ok := errors.AsType[*msauth.AuthError](err); ok {
			f.RetryAfter = e.RetryAfter
		}
		return f
	}
	for _, one := range failures {
		if errors.Is(err, one.err) {
			return one.failure
		}
	}
	if f, ok := explainFile(err); ok {
		return f
	}
	if e, ok := errors.AsType[*graph.Error](err); ok {
		return explainGraph(e)
	}
	return notResponding
}

var notResponding = webapp.Failure{Status: http.StatusBadGateway, Retry: true, Title: "Microsoft is not responding",
	Text: "There was no response, or one that this app does not understand. Please try again in a moment."}

// explainGraph returns the failure for an answer of Microsoft's.
func explainGraph(e *graph.Error) webapp.Failure {
	switch e.Status {
	case http.StatusForbidden:
		return webapp.Failure{Status: http.StatusForbidden, Title: "Access denied",
			Text: "This app does not have the permission it needs from you or your organization, or this account has no OneDrive. Another account may work."}
	case http.StatusNotFound, http.StatusGone:
		return notFound
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, 509:
		return webapp.Failure{Status: http.StatusServiceUnavailable, Retry: true, RetryAfter: e.RetryAfter, Title: "Microsoft is busy",
			Text: "Microsoft is limiting requests from this app. Please try again in a moment."}
	}
	f := notResponding
	f.RetryAfter = e.RetryAfter
	return f
}

// failed makes the failure of an error, logs it and sets the headers that go with it.
func (a *app) failed(w http.ResponseWriter, r *http.Request, err error) webapp.Failure {
	f := explain(err)
	f.Log(a.log, r, err)
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.RetryAfter.Seconds()))))
	}
	return f
}

// A handler writes a page. If it returns an error, it has written nothing.
type handler func(http.ResponseWriter, *http.Request) error

// page makes an http.Handler of a handler whose requests to Microsoft may take
// settings.AnswerTime in all.
func (a *app) page(h handler) http.Handler {
	return a.transfer(func(w http.ResponseWriter, r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), a.set.AnswerTime)
		defer cancel()
		return h(w, r.WithContext(ctx))
	})
}

// transfer makes an http.Handler of one that takes as long as a file does.
func (a *app) transfer(h handler) http.Handler {
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
		ctx, cancel := context.WithTimeout(r.Context(), a.set.AnswerTime)
		defer cancel()
		answer, err := get(r.WithContext(ctx))
		if err == nil {
			writeJSON(w, http.StatusOK, "application/json", answer)
			return
		}
		a.problem(w, r, err)
	})
}

// problem responds to a script with an error.
func (a *app) problem(w http.ResponseWriter, r *http.Request, err error) {
	if a.auth.Challenge(w, r, err) { // responds with 401 and the URL to sign in at
		return
	}
	f := a.failed(w, r, err)
	writeJSON(w, f.Status, "application/problem+json", map[string]any{
		"status": f.Status, "title": f.Title, "detail": f.Text, "id": f.ID,
	})
}

func (a *app) notFound(http.ResponseWriter, *http.Request) error { return errNotFound }
