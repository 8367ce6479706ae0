package main

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"example.com/msauth"
)

// failure is what a person is told when something did not work: what happened
// and what to do, in this app's words. What Microsoft said goes to the log,
// under the same id.
type failure struct {
	Status     int
	Title      string
	Text       string
	SignIn     bool          // offer to sign in
	Retry      bool          // offer to try again
	RetryAfter time.Duration // and not before
	ID         string
}

// explain sorts errors. Those that only the person can mend do not get here:
// they are up to [msauth.Middleware.Challenge].
func explain(err error) failure {
	var f failure
	refusal, _ := errors.AsType[*graphError](err)
	status := 0
	if refusal != nil {
		status, f.RetryAfter = refusal.Status, refusal.RetryAfter
	}
	switch {
	case status == http.StatusUnauthorized:
		f.Status, f.SignIn = http.StatusUnauthorized, true
		f.Title = "Please sign in again"
		f.Text = "Microsoft wants to be sure that it is still you. After that you come back to this page."
	case errors.Is(err, msauth.ErrTokenUnavailable):
		f.Status, f.Retry = http.StatusServiceUnavailable, true
		f.Title = "Microsoft is not answering"
		f.Text = "You are still signed in. Please try again in a moment."
		if e, ok := errors.AsType[*msauth.AuthError](err); ok {
			f.RetryAfter = e.RetryAfter
		}
	case errors.Is(err, errNoDrive):
		f.Status = http.StatusNotFound
		f.Title = "There are no files here"
		f.Text = "This account has no OneDrive. Another account may have one."
	case errors.Is(err, errNoCalendar):
		f.Status = http.StatusNotFound
		f.Title = "There is no calendar here"
		f.Text = "This account has no mailbox at Microsoft. Another account may have one."
	case status == http.StatusForbidden:
		f.Status = http.StatusForbidden
		f.Title = "Microsoft does not allow this"
		f.Text = "The account or its organization has not given this app the permission that it needs, or there is no OneDrive with this account. Another account may work."
	case status == http.StatusNotFound:
		f.Status = http.StatusNotFound
		f.Title = "This is not here (any more)"
		f.Text = "It may have been moved or deleted, or it belongs to somebody else."
	case status == http.StatusRequestedRangeNotSatisfiable:
		f.Status = status
		f.Title = "The file is shorter than that"
		f.Text = "The part of the file that was asked for does not exist. Download it from the start."
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable, status == 509:
		f.Status, f.Retry = http.StatusServiceUnavailable, true
		f.Title = "Microsoft is busy"
		f.Text = "It asks us to slow down. Please try again in a moment."
	default:
		f.Status, f.Retry = http.StatusBadGateway, true
		f.Title = "Microsoft is not answering"
		f.Text = "The answer did not come, or made no sense. Please try again in a moment."
	}
	return f
}

// failed is the part that pages and scripts have in common.
func (a *app) failed(w http.ResponseWriter, r *http.Request, err error) failure {
	f := explain(err)
	f.ID = rand.Text()[:8]
	level := slog.LevelInfo
	if f.Status >= 500 && r.Context().Err() == nil { // somebody still waits for the answer
		level = slog.LevelWarn
	}
	a.log.Log(r.Context(), level, "request failed", "id", f.ID, "path", r.URL.Path, "status", f.Status, "error", err)
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.RetryAfter.Seconds()))))
	}
	if f.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Cookie realm="msauth"`) // RFC 9110 section 15.5.2 wants one
	}
	return f
}

// page serves a handler that may fail, before it has written anything.
func (a *app) page(h func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil || a.auth.Challenge(w, r, err) { // to Microsoft, and back to this page
			return
		}
		f := a.failed(w, r, err)
		if err := a.render(w, r, f.Status, "failure", f.Title, f); err != nil {
			http.Error(w, f.Title, f.Status)
		}
	})
}

// api serves a script what a function returns. Errors are answered as Require
// does (RFC 9457).
func (a *app) api(get func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, err := get(r)
		if err == nil {
			writeJSON(w, http.StatusOK, "application/json", answer)
			return
		}
		if a.auth.Challenge(w, r, err) { // 401, and where to go
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
	return &graphError{Status: http.StatusNotFound, Message: "no such page"}
}
