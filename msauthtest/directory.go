package msauthtest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Scopes for groups and calendars: see the permission tables of "Get member
// objects", "List a user's memberships (direct and transitive)" and "List
// calendarView".
var (
	objectsNeed = need{[]string{"User.Read", "User.ReadWrite", "User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}, denied, insufficient}
	groupsNeed  = need{[]string{"GroupMember.Read.All", "Group.Read.All", "GroupMember.ReadWrite.All", "Group.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}, denied, insufficient}
	memberNeed  = need{append([]string{"User.Read", "User.ReadWrite", "User.Read.All", "User.ReadWrite.All"}, groupsNeed.scopes...), denied, insufficient}
	eventsNeed  = need{[]string{"Calendars.ReadBasic", "Calendars.Read", "Calendars.ReadWrite", "Calendars.Read.Shared", "Calendars.ReadWrite.Shared"}, "ErrorAccessDenied", "Access is denied. Check credentials and try again."}
)

// directory maps the paths of groups and calendars to their handlers.
var directory = map[string]handler{
	"me/getMemberObjects": func(e *exchange, w http.ResponseWriter, r *http.Request) { e.memberIDs(w, r, objectsNeed) },
	"me/getMemberGroups":  func(e *exchange, w http.ResponseWriter, r *http.Request) { e.memberIDs(w, r, groupsNeed) },

	"me/checkMemberGroups": (*exchange).checkGroups,

	"me/transitiveMemberOf":             func(e *exchange, w http.ResponseWriter, r *http.Request) { e.memberOf(w, r, memberNeed, false) },
	"me/transitiveMemberOf/graph.group": func(e *exchange, w http.ResponseWriter, r *http.Request) { e.memberOf(w, r, groupsNeed, true) },
	"me/memberOf":                       func(e *exchange, w http.ResponseWriter, r *http.Request) { e.memberOf(w, r, memberNeed, false) },
	"me/memberOf/graph.group":           func(e *exchange, w http.ResponseWriter, r *http.Request) { e.memberOf(w, r, groupsNeed, true) },

	"me/events":                (*exchange).events,
	"me/calendar/events":       (*exchange).events,
	"me/calendarView":          (*exchange).events,
	"me/calendar/calendarView": (*exchange).events,
}

// maxMemberIDs is the documented limit of getMemberGroups and getMemberObjects.
const maxMemberIDs = 11_000

// memberIDs serves getMemberObjects and getMemberGroups.
func (e *exchange) memberIDs(w http.ResponseWriter, r *http.Request, need need) {
	var ask struct {
		SecurityEnabledOnly *bool `json:"securityEnabledOnly"`
	}
	u, ok := e.directoryPost(w, r, need, &ask)
	if !ok {
		return
	}
	if ask.SecurityEnabledOnly == nil {
		graphError(w, r, http.StatusBadRequest, "Request_BadRequest", "The parameter securityEnabledOnly is required.")
		return
	}
	if len(u.Groups) > maxMemberIDs {
		graphError(w, r, http.StatusBadRequest, "Directory_ResultSizeLimitExceeded", "The result size limit is exceeded.")
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"@odata.context": e.URL + "/v1.0/$metadata#Collection(Edm.String)",
		"value":          append([]string{}, u.Groups...),
	})
}

// maxGroupsChecked is the documented limit of checkMemberGroups.
const maxGroupsChecked = 20

// checkGroups serves "Check member groups": which of the given groups a person
// is a member of.
func (e *exchange) checkGroups(w http.ResponseWriter, r *http.Request) {
	var ask struct{ GroupIDs []string }
	u, ok := e.directoryPost(w, r, objectsNeed, &ask)
	if !ok {
		return
	}
	if len(ask.GroupIDs) == 0 || len(ask.GroupIDs) > maxGroupsChecked {
		graphError(w, r, http.StatusBadRequest, "Request_BadRequest", "The parameter groupIds must have 1 to 20 entries.")
		return
	}
	found := []string{}
	for _, id := range ask.GroupIDs {
		if slices.ContainsFunc(u.Groups, func(group string) bool { return strings.EqualFold(group, id) }) {
			found = append(found, id)
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"@odata.context": e.URL + "/v1.0/$metadata#Collection(Edm.String)",
		"value":          found,
	})
}

// directoryPost returns the person whose token a POST carries, and decodes its
// body into doc. If it returns false, it has answered with an error.
func (e *exchange) directoryPost(w http.ResponseWriter, r *http.Request, need need, doc any) (User, bool) {
	u, ok := e.bearer(w, r, need)
	if !ok || !e.inDirectory(w, r, u) {
		return u, false
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		graphError(w, r, http.StatusMethodNotAllowed, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.")
		return u, false
	}
	body, bad := readBody(r, maxDocument)
	if bad != nil {
		bad.write(w, r)
		return u, false
	}
	if err := json.Unmarshal(body, doc); err != nil {
		graphError(w, r, http.StatusBadRequest, "Request_BadRequest", "The body is not the expected document.")
		return u, false
	}
	return u, true
}

// inDirectory refuses personal accounts, which are in no directory.
func (e *exchange) inDirectory(w http.ResponseWriter, r *http.Request, u User) bool {
	if u.personal() {
		graphError(w, r, http.StatusForbidden, denied, "This API is not supported for personal Microsoft accounts.")
		return false
	}
	return true
}

// directoryPage is the page size of directory objects.
const directoryPage = 100

// memberOf lists memberships. Without a scope for groups, the list contains IDs
// only.
func (e *exchange) memberOf(w http.ResponseWriter, r *http.Request, need need, cast bool) {
	u, ok := e.bearer(w, r, need)
	if !ok || !e.inDirectory(w, r, u) || !readOnly(w, r) {
		return
	}
	q := r.URL.Query()
	top, skip, bad := paging(q, directoryPage)
	if bad != nil {
		graphError(w, r, bad.status, "Request_BadRequest", bad.message)
		return
	}
	t, _, _ := e.accessToken(bearerOf(r), graphAudience, e.URL)
	named := cast || groupsNeed.met(t.scopes)
	part, next := cut(e, r, u.Groups, top, skip)
	list := []map[string]any{}
	for _, id := range part {
		group := map[string]any{"id": id, "displayName": nil, "securityEnabled": nil, "mailEnabled": nil}
		if named {
			group["displayName"], group["securityEnabled"], group["mailEnabled"] = "Group "+strings.ToUpper(id[:min(4, len(id))]), true, false
		}
		group = selected(group, q.Get("$select"))
		if !cast {
			group["@odata.type"] = "#microsoft.graph.group"
		}
		list = append(list, group)
	}
	doc := map[string]any{"@odata.context": e.URL + "/v1.0/$metadata#directoryObjects", "value": list}
	if cast {
		doc["@odata.context"] = e.URL + "/v1.0/$metadata#groups"
	}
	if next != "" {
		doc["@odata.nextLink"] = next
	}
	writeJSON(w, http.StatusOK, doc)
}

// An event is an appointment in a calendar.
type event struct {
	subject, place string
	start          time.Time
	length         time.Duration
}

// appointments are the events of every person, in UTC.
var appointments = []event{
	{"Site visit", "Harbour", time.Date(2026, time.March, 2, 9, 0, 0, 0, time.UTC), 2 * time.Hour},
	{"Weekly meeting", "Room 4", time.Date(2026, time.March, 3, 10, 0, 0, 0, time.UTC), 30 * time.Minute},
	{"Lunch with Priya", "Canteen", time.Date(2026, time.March, 3, 12, 0, 0, 0, time.UTC), time.Hour},
	{"Report is due", "", time.Date(2026, time.March, 6, 16, 0, 0, 0, time.UTC), 15 * time.Minute},
}

// events lists appointments. calendarView lists those of a time window.
func (e *exchange) events(w http.ResponseWriter, r *http.Request) {
	u, ok := e.bearer(w, r, eventsNeed)
	if !ok || !readOnly(w, r) {
		return
	}
	q := r.URL.Query()
	top, skip, bad := paging(q, 10)
	if bad != nil {
		graphError(w, r, bad.status, "ErrorInvalidUrlQuery", bad.message)
		return
	}
	list := appointments
	if strings.HasSuffix(r.URL.Path, "/calendarView") {
		from, ok := moment(q.Get("startDateTime"))
		to, ok2 := moment(q.Get("endDateTime"))
		if !ok || !ok2 {
			graphError(w, r, http.StatusBadRequest, "ErrorInvalidParameter", "This request requires a time window specified by the query string parameters StartDateTime and EndDateTime.")
			return
		}
		list = without(list, func(ev event) bool { return !ev.start.Before(to) || !ev.start.Add(ev.length).After(from) })
	}
	part, next := cut(e, r, list, top, skip)
	value := []map[string]any{}
	at := func(t time.Time) map[string]any {
		return map[string]any{"dateTime": t.Format("2006-01-02T15:04:05.0000000"), "timeZone": "UTC"}
	}
	for _, ev := range part {
		value = append(value, selected(map[string]any{
			"id":        "AAMk" + b64([]byte(derivedGUID("event "+u.ObjectID+ev.subject))),
			"subject":   ev.subject,
			"start":     at(ev.start),
			"end":       at(ev.start.Add(ev.length)),
			"isAllDay":  false,
			"location":  map[string]any{"displayName": ev.place},
			"organizer": map[string]any{"emailAddress": map[string]any{"name": u.Name, "address": u.SignInName}},
		}, q.Get("$select")))
	}
	doc := map[string]any{"@odata.context": e.URL + "/v1.0/$metadata#users('" + u.ObjectID + "')/events", "value": value}
	if next != "" {
		doc["@odata.nextLink"] = next
	}
	writeJSON(w, http.StatusOK, doc)
}

// moment parses a date and time. Without an offset it is in UTC.
func moment(text string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
