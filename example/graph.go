package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"example.com/msauth"
)

const (
	graphPatience = 15 * time.Second // for an answer to begin, and for JSON to end
	graphMaxJSON  = 4 << 20          // bytes
	pageSize      = 50               // items of a folder
	maxDepth      = 20               // folders in a breadcrumb trail

	mostAppointments = 100 // of a week
)

// graph is Microsoft Graph in the name of one person. The client that
// [msauth.Session.Client] makes adds the access token, renews it when that is
// due, and keeps it from every other host.
type graph struct {
	base string
	http *http.Client
}

// graphError is a refusal by Graph. Its text is for the log.
type graphError struct {
	Status     int
	Code       string
	Message    string
	RequestID  string
	RetryAfter time.Duration
}

func (e *graphError) Error() string {
	return fmt.Sprintf("graph: HTTP status %d: %.100q: %.300q (request %.50q)", e.Status, e.Code, e.Message, e.RequestID)
}

// errNoDrive: there is no Graph at this provider, or no OneDrive with this
// account.
var errNoDrive = errors.New("graph: no drive")

// errNoCalendar: no Graph, or no mailbox with this account.
var errNoCalendar = errors.New("graph: no calendar")

// open sends a GET and returns the response if that is a success.
func (g *graph) open(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	if g.base == "" {
		return nil, errNoDrive
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.base+path, nil)
	if err != nil {
		return nil, &graphError{Status: http.StatusNotFound, Message: "not an address"}
	}
	for name, values := range header {
		req.Header[name] = values
	}
	res, err := g.http.Do(req)
	if err != nil {
		// *url.Error tells the whole URL, and the URL of a download needs no
		// token to be used: not for the log.
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return nil, err
	}
	if res.StatusCode == http.StatusOK || res.StatusCode == http.StatusPartialContent {
		return res, nil
	}
	defer res.Body.Close()
	var doc struct {
		Error struct{ Code, Message string }
	}
	_ = json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(&doc) // it may well be no JSON
	seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
	return nil, &graphError{
		Status:     res.StatusCode,
		Code:       doc.Error.Code,
		Message:    doc.Error.Message,
		RequestID:  res.Header.Get("Request-Id"),
		RetryAfter: time.Duration(min(max(seconds, 0), 3600)) * time.Second,
	}
}

// get reads a JSON document into out.
func (g *graph) get(ctx context.Context, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, graphPatience)
	defer cancel()
	res, err := g.open(ctx, path, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, graphMaxJSON)).Decode(out); err != nil {
		return fmt.Errorf("graph: cannot read the answer: %w", err)
	}
	return nil
}

// person is the signed-in person's entry in the directory.
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

// quota is the room in a drive, in bytes.
type quota struct{ Used, Total int64 }

func (g *graph) quota(ctx context.Context) (quota, error) {
	var drive struct{ Quota quota }
	err := g.get(ctx, "/me/drive?$select=quota", &drive)
	if e, ok := errors.AsType[*graphError](err); ok && (e.Status == http.StatusBadRequest || e.Status == http.StatusNotFound) {
		err = fmt.Errorf("%w: %w", errNoDrive, err) // no licence, or never used
	}
	return drive.Quota, err
}

// item is a file, a folder or something else in a drive.
type item struct {
	ID, Name string
	Size     int64
	Modified time.Time                  `json:"lastModifiedDateTime"`
	Folder   *struct{ ChildCount int }  // nil when it is no folder
	File     *struct{ MimeType string } // nil when it is no file
	Parent   struct{ ID, Path string }  `json:"parentReference"`
}

const itemFields = "$select=id,name,size,lastModifiedDateTime,folder,file,parentReference"

// itemID is what ids of items look like. Anything else would change the path
// of the request to Graph.
var itemID = regexp.MustCompile(`^[A-Za-z0-9!_-]{1,200}$`)

func itemPath(id string) (string, error) {
	switch {
	case id == "":
		return "/me/drive/root", nil
	case itemID.MatchString(id):
		return "/me/drive/items/" + id, nil
	}
	return "", &graphError{Status: http.StatusNotFound, Message: "not an id"}
}

func (g *graph) item(ctx context.Context, id string) (it item, err error) {
	path, err := itemPath(id)
	if err == nil {
		err = g.get(ctx, path+"?"+itemFields, &it)
	}
	return it, err
}

// trail lists the folders around an item, the outermost first, without the
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

// children lists one page of a folder. query is empty for the first page, and
// what the page before returned as next for each further one.
func (g *graph) children(ctx context.Context, id, query string) (items []item, next string, err error) {
	path, err := itemPath(id)
	if err != nil {
		return nil, "", err
	}
	if strings.ContainsFunc(query, func(r rune) bool { return r <= ' ' || r > '~' || r == '#' }) {
		return nil, "", &graphError{Status: http.StatusNotFound, Message: "not a query"}
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
	// The next page is the same folder with another query. Only that goes
	// through the browser: nobody can make this app fetch another address.
	if u, err := url.Parse(page.NextLink); err == nil {
		next = u.RawQuery
	}
	return page.Value, next, nil
}

// content opens a file. Graph answers with a redirect to a pre-signed URL on
// another host, which the client follows without the access token. The body is
// good for as long as ctx is.
func (g *graph) content(ctx context.Context, id, byteRange string) (*http.Response, error) {
	path, err := itemPath(id)
	if err != nil {
		return nil, err
	}
	header := http.Header{"Accept-Encoding": {"identity"}} // the bytes as they are
	if byteRange != "" {
		header.Set("Range", byteRange)
	}
	return g.openSoon(ctx, path+"/content", header)
}

// photo opens the person's picture; most have none (status 404).
func (g *graph) photo(ctx context.Context) (*http.Response, error) {
	return g.openSoon(ctx, "/me/photo/$value", nil)
}

// openSoon is open with a limit on the time until the body begins.
func (g *graph) openSoon(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(graphPatience, func() { cancel(context.DeadlineExceeded) })
	defer timer.Stop()
	res, err := g.open(ctx, path, header)
	if err != nil {
		cancel(nil)
	}
	return res, err
}

// An appointment is one of those in a person's calendar. Times are in UTC.
type appointment struct {
	Subject string    `json:"subject"`
	Start   time.Time `json:"start"`
	End     time.Time `json:"end"`
	AllDay  bool      `json:"allDay,omitempty"`
	Place   string    `json:"place,omitempty"`
}

// appointments lists what is in the calendar between two times, at most
// mostAppointments, in order. It takes the scope Calendars.Read.
func (g *graph) appointments(ctx context.Context, from, to time.Time) ([]appointment, error) {
	if g.base == "" {
		return nil, errNoCalendar
	}
	// Without a "Prefer: outlook.timezone" all times of the answer are UTC.
	var page struct {
		Value []struct {
			Subject    string
			Start, End struct{ DateTime string }
			IsAllDay   bool
			Location   struct{ DisplayName string }
		}
	}
	err := g.get(ctx, fmt.Sprintf("/me/calendarView?startDateTime=%s&endDateTime=%s&$orderby=start/dateTime&$top=%d&$select=subject,start,end,isAllDay,location",
		from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339), mostAppointments), &page)
	if e, ok := errors.AsType[*graphError](err); ok && e.Status == http.StatusNotFound {
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

// utc reads a time of Graph's type dateTimeTimeZone, "2026-03-02T09:00:00.0000000".
func utc(text string) (time.Time, error) {
	t, err := time.Parse("2006-01-02T15:04:05", text) // the fraction may be there or not
	if err != nil {
		return t, fmt.Errorf("graph: cannot read the answer: %w", err)
	}
	return t, nil
}

// graph returns Graph in the name of the person who is signed in.
func (a *app) graph(r *http.Request) *graph {
	s, _ := msauth.FromContext(r.Context()) // the client of no session refuses to work
	return &graph{base: a.set.graph, http: s.Client(r.Context())}
}
