package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"example.com/msauth"
	"example.com/msauth/example/internal/msgraph"
)

const (
	pageSize        = 50  // items of a folder
	maxDepth        = 20  // folders in a breadcrumb trail
	maxAppointments = 100 // of a week
)

// graph sends requests to Microsoft Graph on behalf of one user. Its client, from
// [msauth.Session.Client], adds the access token, renews it when necessary, and
// sends it to no other host.
type graph struct {
	base string
	http *http.Client
}

// errNoDrive means that the provider has no Graph, or the account no OneDrive.
var errNoDrive = errors.New("graph: no drive")

// errNoCalendar means that the provider has no Graph, or the account no mailbox.
var errNoCalendar = errors.New("graph: no calendar")

// open sends a GET request and returns a successful response.
func (g *graph) open(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	if g.base == "" {
		return nil, errNoDrive
	}
	return msgraph.Open(ctx, g.http, g.base+path, header)
}

// get reads a JSON document into out.
func (g *graph) get(ctx context.Context, path string, out any) error {
	if g.base == "" {
		return errNoDrive
	}
	return msgraph.Get(ctx, g.http, g.base+path, out)
}

// person is a user's profile in the directory.
type person struct {
	DisplayName       string `json:"displayName"`
	GivenName         string `json:"givenName,omitempty"`
	Surname           string `json:"surname,omitempty"`
	JobTitle          string `json:"jobTitle,omitempty"`
	Mail              string `json:"mail,omitempty"`
	UserPrincipalName string `json:"userPrincipalName,omitempty"`
	OfficeLocation    string `json:"officeLocation,omitempty"`
	MobilePhone       string `json:"mobilePhone,omitempty"`
	PreferredLanguage string `json:"preferredLanguage,omitempty"`
	ID                string `json:"id,omitempty"`
}

func (g *graph) me(ctx context.Context) (p person, err error) {
	err = g.get(ctx, "/me", &p)
	return p, err
}

// quota is the storage of a drive, in bytes.
type quota struct{ Used, Total int64 }

func (g *graph) quota(ctx context.Context) (quota, error) {
	var drive struct{ Quota quota }
	err := g.get(ctx, "/me/drive?$select=quota", &drive)
	if e, ok := errors.AsType[*msgraph.Error](err); ok && (e.Status == http.StatusBadRequest || e.Status == http.StatusNotFound) {
		err = fmt.Errorf("%w: %w", errNoDrive, err) // no license, or never used
	}
	return drive.Quota, err
}

// item is a file, a folder or another item of a drive.
type item struct {
	ID, Name string
	Size     int64
	Modified time.Time                  `json:"lastModifiedDateTime"`
	Folder   *struct{ ChildCount int }  // nil if it is not a folder
	File     *struct{ MimeType string } // nil if it is not a file
	Parent   struct{ ID, Path string }  `json:"parentReference"`
}

const itemFields = "$select=id,name,size,lastModifiedDateTime,folder,file,parentReference"

// itemID matches the IDs of items. Other strings could change the path of the
// request to Graph.
var itemID = regexp.MustCompile(`^[A-Za-z0-9!_-]{1,200}$`)

func itemPath(id string) (string, error) {
	switch {
	case id == "":
		return "/me/drive/root", nil
	case itemID.MatchString(id):
		return "/me/drive/items/" + id, nil
	}
	return "", &msgraph.Error{Status: http.StatusNotFound, Message: "not an ID"}
}

func (g *graph) item(ctx context.Context, id string) (it item, err error) {
	path, err := itemPath(id)
	if err == nil {
		err = g.get(ctx, path+"?"+itemFields, &it)
	}
	return it, err
}

// trail returns the folders that contain an item, outermost first, without the
// root of the drive.
func (g *graph) trail(ctx context.Context, it item) (folders []item, err error) {
	for it.Parent.ID != "" && !strings.HasSuffix(it.Parent.Path, "root:") && len(folders) < maxDepth {
		if it, err = g.item(ctx, it.Parent.ID); err != nil {
			return nil, err
		}
		folders = append([]item{it}, folders...)
	}
	return folders, nil
}

// children returns one page of a folder's items. query is empty for the first
// page, and next of the page before for the others.
func (g *graph) children(ctx context.Context, id, query string) (items []item, next string, err error) {
	path, err := itemPath(id)
	if err != nil {
		return nil, "", err
	}
	if strings.ContainsFunc(query, func(r rune) bool { return r <= ' ' || r > '~' || r == '#' }) {
		return nil, "", &msgraph.Error{Status: http.StatusNotFound, Message: "not a query"}
	}
	if query == "" {
		query = itemFields + "&$orderby=name&$top=" + strconv.Itoa(pageSize)
	}
	var page struct {
		Value    []item
		NextLink string `json:"@odata.nextLink"`
	}
	if err := g.get(ctx, path+"/children?"+query, &page); err != nil {
		return nil, "", err
	}
	// The next page is the same folder with another query. Only the query goes
	// through the browser, so nobody can make this app request another URL.
	if u, err := url.Parse(page.NextLink); err == nil {
		next = u.RawQuery
	}
	return page.Value, next, nil
}

// content opens a file. Graph redirects to a pre-signed URL on another host, to
// which the client does not send the access token. The body can be read until ctx
// is done.
func (g *graph) content(ctx context.Context, id, byteRange string) (*http.Response, error) {
	path, err := itemPath(id)
	if err != nil {
		return nil, err
	}
	header := http.Header{"Accept-Encoding": {"identity"}} // unchanged
	if byteRange != "" {
		header.Set("Range", byteRange)
	}
	return g.openSoon(ctx, path+"/content", header)
}

// photo opens the user's picture. Most have none (status 404).
func (g *graph) photo(ctx context.Context) (*http.Response, error) {
	return g.openSoon(ctx, "/me/photo/$value", nil)
}

// openSoon is open with a timeout that ends when the body begins.
func (g *graph) openSoon(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(msgraph.Timeout, func() { cancel(context.DeadlineExceeded) })
	defer timer.Stop()
	res, err := g.open(ctx, path, header)
	if err != nil {
		cancel(nil)
	}
	return res, err
}

// An appointment is an event of a user's calendar. Times are in UTC.
type appointment struct {
	Subject string    `json:"subject"`
	Start   time.Time `json:"start"`
	End     time.Time `json:"end"`
	AllDay  bool      `json:"allDay,omitempty"`
	Place   string    `json:"place,omitempty"`
}

// appointments returns the appointments between two times in order, at most
// maxAppointments. It requires the scope Calendars.Read.
func (g *graph) appointments(ctx context.Context, from, to time.Time) ([]appointment, error) {
	if g.base == "" {
		return nil, errNoCalendar
	}
	// Without the header "Prefer: outlook.timezone" all times are in UTC.
	var page struct {
		Value []struct {
			Subject    string
			Start, End struct{ DateTime string }
			IsAllDay   bool
			Location   struct{ DisplayName string }
		}
	}
	err := g.get(ctx, fmt.Sprintf("/me/calendarView?startDateTime=%s&endDateTime=%s&$orderby=start/dateTime&$top=%d&$select=subject,start,end,isAllDay,location",
		from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339), maxAppointments), &page)
	if e, ok := errors.AsType[*msgraph.Error](err); ok && e.Status == http.StatusNotFound {
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
		return t, fmt.Errorf("graph: cannot read the response: %w", err)
	}
	return t, nil
}

// graph returns Graph for the user who is signed in.
func (a *app) graph(r *http.Request) *graph {
	s, _ := msauth.FromContext(r.Context()) // without a session the client returns an error
	return &graph{base: a.set.Graph, http: s.Client(r.Context())}
}
