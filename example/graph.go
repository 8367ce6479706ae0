package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"example.com/msauth"
	"example.com/msauth/graph"
)

const maxAppointments = 100 // of a week

var (
	// errNoDrive means that the provider has no Graph, or the account no OneDrive.
	errNoDrive = errors.New("no drive")
	// errNoCalendar means that the provider has no Graph, or the account no mailbox.
	errNoCalendar = errors.New("no calendar")
)

// graph returns Microsoft Graph for the user who is signed in. The client of
// [msauth.Session.Client] adds the access token, renews it when necessary, and
// sends it to no other host.
func (a *app) graph(r *http.Request) *graph.Client {
	s, _ := msauth.FromContext(r.Context()) // without a session the client returns an error
	return graph.New(s.Client(r.Context()), a.set.Graph)
}

// drive returns the OneDrive of the user who is signed in.
func (a *app) drive(r *http.Request) (*graph.Files, error) {
	if a.set.Graph == "" {
		return nil, errNoDrive
	}
	return a.graph(r).Files(""), nil
}

// quota returns the storage of a drive, which may be unknown.
func quota(ctx context.Context, f *graph.Files) (*graph.Quota, error) {
	drive, err := f.Drive(ctx, graph.Query{Select: []string{"quota"}})
	if e, ok := errors.AsType[*graph.Error](err); ok && (e.Status == http.StatusBadRequest || e.Status == http.StatusNotFound) {
		err = fmt.Errorf("%w: %w", errNoDrive, err) // no license, or never used
	}
	if drive.Quota != nil {
		drive.Quota.Used = max(drive.Quota.Used, 0) // some drives say less
	}
	return drive.Quota, err
}

// An appointment is an event of a user's calendar. Times are in UTC.
type appointment struct {
	Subject string    `json:"subject"`
	Start   time.Time `json:"start"`
	End     time.Time `json:"end"`
	AllDay  bool      `json:"allDay,omitempty"`
	Place   string    `json:"place,omitempty"`
}

// An event is an appointment as Graph has it ("event resource type"). Without the
// header "Prefer: outlook.timezone" all times are in UTC.
type event struct {
	Subject    string
	Start, End struct{ DateTime string }
	IsAllDay   bool
	Location   struct{ DisplayName string }
}

// appointments returns the appointments between two times in order, at most
// maxAppointments. It requires the scope Calendars.Read.
func (a *app) appointments(r *http.Request, from, to time.Time) ([]appointment, error) {
	if a.set.Graph == "" {
		return nil, errNoCalendar
	}
	page, err := graph.Get[graph.Page[event]](r.Context(), a.graph(r), "me/calendarView", graph.Query{
		Select:  []string{"subject", "start", "end", "isAllDay", "location"},
		OrderBy: []string{"start/dateTime"},
		Top:     maxAppointments,
		Parameters: url.Values{
			"startDateTime": {from.UTC().Format(time.RFC3339)},
			"endDateTime":   {to.UTC().Format(time.RFC3339)},
		},
	})
	if e, ok := errors.AsType[*graph.Error](err); ok && e.Status == http.StatusNotFound {
		err = fmt.Errorf("%w: %w", errNoCalendar, err)
	}
	if err != nil {
		return nil, err
	}
	list := make([]appointment, len(page.Value))
	for i, ev := range page.Value {
		list[i] = appointment{Subject: ev.Subject, AllDay: ev.IsAllDay, Place: ev.Location.DisplayName}
		if list[i].Start, err = utc(ev.Start.DateTime); err != nil {
			return nil, err
		}
		if list[i].End, err = utc(ev.End.DateTime); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// utc parses a time of Graph's type dateTimeTimeZone, "2026-03-02T09:00:00.0000000".
func utc(text string) (time.Time, error) {
	t, err := time.Parse("2006-01-02T15:04:05", text) // with or without a fraction
	if err != nil {
		return t, fmt.Errorf("cannot read a time of the calendar: %w", err)
	}
	return t, nil
}
