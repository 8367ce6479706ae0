package main

import (
	"net/http"
	"time"

	"example.com/msauth"
)

// What some pages of this file require beyond a sign-in.
const (
	// freshness is how long ago users may have entered their password, for the
	// page that shows everything the app stores about them.
	freshness = 5 * time.Minute
	// adminRole is an app role: defined under App roles of the app registration,
	// assigned under Users and groups of the enterprise application.
	adminRole = "Admin"
)

// A week is seven days of a calendar.
type week struct {
	From         time.Time     `json:"from"`
	To           time.Time     `json:"to"`
	Appointments []appointment `json:"appointments"`
}

// readWeek reads a week from Graph: the one that begins on the day in the query,
// or the coming one.
func (a *app) readWeek(r *http.Request) (wk week, err error) {
	wk.From = a.set.firstDay()
	if text := r.URL.Query().Get("from"); text != "" {
		if wk.From, err = time.Parse(time.DateOnly, text); err != nil || wk.From.Year() < 1900 || wk.From.Year() > 2200 {
			return wk, errNotFound
		}
	}
	wk.To = wk.From.AddDate(0, 0, 7)
	wk.Appointments, err = a.appointments(r, wk.From, wk.To)
	return wk, err
}

// A day is a day of a week, with its appointments.
type day struct {
	Date         time.Time
	Appointments []appointment
}

// days returns the days that have appointments.
func (wk week) days() (days []day) {
	for _, ap := range wk.Appointments {
		date := ap.Start
		if date.Before(wk.From) { // still going on
			date = wk.From
		}
		date = date.Truncate(24 * time.Hour)
		if n := len(days); n == 0 || !days[n-1].Date.Equal(date) {
			days = append(days, day{Date: date})
		}
		last := &days[len(days)-1]
		last.Appointments = append(last.Appointments, ap)
	}
	return days
}

// calendar shows a week. On a user's first visit Microsoft asks whether the app
// may read the calendar; users who never come here are not asked.
func (a *app) calendar(w http.ResponseWriter, r *http.Request) error {
	wk, err := a.readWeek(r)
	if err != nil {
		return err
	}
	return a.render(w, r, http.StatusOK, "calendar", "Calendar", struct {
		From, Last, Before, After time.Time
		Days                      []day
		Cut, StandIn              bool
	}{
		wk.From, wk.To.AddDate(0, 0, -1), wk.From.AddDate(0, 0, -7), wk.To,
		wk.days(), len(wk.Appointments) == maxAppointments, a.set.standIn(),
	})
}

func (a *app) apiCalendar(r *http.Request) (any, error) { return a.readWeek(r) }

// personalData is everything that this app stores about a user: the session,
// without the tokens.
type personalData struct {
	Account  string    `json:"account"`
	Issuer   string    `json:"issuer"`
	Subject  string    `json:"subject"`
	Tenant   string    `json:"tenant,omitempty"`
	Object   string    `json:"object,omitempty"`
	Name     string    `json:"name"`
	Username string    `json:"username,omitempty"`
	Email    string    `json:"email,omitempty"`
	Roles    []string  `json:"roles,omitempty"`
	Groups   []string  `json:"groups,omitempty"`
	Scopes   []string  `json:"scopes"`
	SignedIn time.Time `json:"signedIn"`
	Ends     time.Time `json:"ends"`
}

func personalDataOf(s *msauth.Session) personalData {
	u := s.User
	return personalData{
		Account: u.Key(), Issuer: u.Issuer, Subject: u.Subject, Tenant: u.TenantID, Object: u.ObjectID,
		Name: nameOf(u), Username: u.Username, Email: u.Email, Roles: u.Roles, Groups: u.Groups,
		Scopes: s.Scopes(), SignedIn: s.SignedIn().UTC(), Ends: s.Ends().UTC(),
	}
}

// security shows all of it, after a fresh sign-in: an unlocked computer is not
// enough.
func (a *app) security(w http.ResponseWriter, r *http.Request) error {
	s, _ := msauth.FromContext(r.Context())
	return a.render(w, r, http.StatusOK, "security", "Security", struct {
		personalData
		Minutes int
	}{personalDataOf(s), int(freshness.Minutes())})
}

func (a *app) apiSecurity(r *http.Request) (any, error) {
	s, _ := msauth.FromContext(r.Context())
	return personalDataOf(s), nil
}

// traffic is what the middleware has done since the program started.
type traffic struct {
	SignIns        uint64            `json:"signIns"`
	SignInsRefused uint64            `json:"signInsRefused"`
	SignOuts       uint64            `json:"signOuts"`
	SessionsEnded  uint64            `json:"sessionsEnded"`
	Renewals       uint64            `json:"renewals"`
	RenewalsFailed map[string]uint64 `json:"renewalsFailed"`
	Paused         bool              `json:"paused"`
}

func (a *app) traffic() traffic {
	stats := a.auth.Stats()
	t := traffic{
		SignIns: stats.SignIns, SignInsRefused: stats.SignInsRefused, SignOuts: stats.SignOuts,
		SessionsEnded: stats.SessionsEnded, Renewals: stats.Renewals, RenewalsFailed: map[string]uint64{}, Paused: stats.Paused,
	}
	for class, n := range stats.RenewalsFailed {
		t.RenewalsFailed[string(class)] = n
	}
	return t
}

// admin shows the traffic to administrators.
func (a *app) admin(w http.ResponseWriter, r *http.Request) error {
	return a.render(w, r, http.StatusOK, "admin", "Administration", a.traffic())
}

func (a *app) apiAdmin(*http.Request) (any, error) { return a.traffic(), nil }
