package msauthtest_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
)

// ids reads a list whose pages, but for the last, have pageSize entries.
func (a *app) ids(address, token string, pageSize int) (all []string) {
	a.t.Helper()
	for next := address; next != ""; {
		var page struct {
			Value []struct{ ID string }
			Next  string `json:"@odata.nextLink"`
		}
		a.json2(next, token, &page)
		if len(page.Value) > pageSize || page.Next != "" && len(page.Value) != pageSize {
			a.t.Fatalf("%s: a page of %d", next, len(page.Value))
		}
		for _, g := range page.Value {
			all = append(all, g.ID)
		}
		next = page.Next
	}
	return all
}

// Groups that do not fit into a token are read from Graph.
func TestGroupsOverage(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	var groups []string
	for i := range 250 {
		groups = append(groups, fmt.Sprintf("%08x-0000-4000-8000-000000000000", i))
	}
	ms.SetUser(msauthtest.User{SignInName: "many@contoso.example", Groups: groups})
	rep := a.signIn("many@contoso.example", "scope", "openid offline_access User.Read")
	for _, token := range []string{rep.IDToken, rep.AccessToken} {
		claims := a.claims(token)
		names, _ := claims["_claim_names"].(map[string]any)
		sources, _ := claims["_claim_sources"].(map[string]any)
		if claims["groups"] != nil || names["groups"] != "src1" || !strings.HasSuffix(sources["src1"].(map[string]any)["endpoint"].(string), "/getMemberObjects") {
			t.Errorf("no overage marks: %v", claims)
		}
	}

	graph := ms.URL + "/v1.0/me/"
	var ids struct{ Value []string }
	members := func(path, token string) {
		t.Helper()
		res, text := a.send("POST", graph+path, token, `{"securityEnabledOnly":true}`, "Content-Type", "application/json")
		if err := json.Unmarshal([]byte(text), &ids); err != nil || res.StatusCode != 200 || !slices.Equal(ids.Value, groups) {
			t.Errorf("%s: %d, %d ids", path, res.StatusCode, len(ids.Value))
		}
	}
	list := func(path, token string, pageSize int) {
		t.Helper()
		if all := a.ids(graph+path, token, pageSize); !slices.Equal(all, groups) {
			t.Errorf("%s: %d ids", path, len(all))
		}
	}

	// User.Read is enough for the ids; groups as such need more.
	members("getMemberObjects", rep.AccessToken)
	none := "ffffffff-0000-4000-8000-000000000000"
	if _, text := a.send("POST", graph+"checkMemberGroups", rep.AccessToken, `{"groupIds":["`+none+`","`+strings.ToUpper(groups[3])+`"]}`, "Content-Type", "application/json"); !strings.Contains(text, `"value":["`+strings.ToUpper(groups[3])+`"]`) {
		t.Errorf("checkMemberGroups: %s", text)
	}
	a.refused(400, "Request_BadRequest", "POST", graph+"checkMemberGroups", rep.AccessToken, `{"groupIds":[]}`)
	a.refused(400, "Request_BadRequest", "POST", graph+"checkMemberGroups", rep.AccessToken, `{"groupIds":["`+strings.Repeat(none+`","`, 20)+none+`"]}`)
	a.refused(405, "Request_BadRequest", "GET", graph+"checkMemberGroups", rep.AccessToken, "")
	list("transitiveMemberOf?$select=id", rep.AccessToken, 100)
	const cast = "transitiveMemberOf/microsoft.graph.group"
	a.refused(403, "Authorization_RequestDenied", "POST", graph+"getMemberGroups", rep.AccessToken, `{"securityEnabledOnly":true}`)
	a.refused(403, "Authorization_RequestDenied", "GET", graph+cast+"?$select=id", rep.AccessToken, "")
	if _, text := a.graph(graph+"memberOf?$top=1", rep.AccessToken); !strings.Contains(text, `"displayName":null`) {
		t.Errorf("a group's name without a scope for groups: %s", text)
	}
	for _, scope := range []string{"GroupMember.Read.All", "Directory.Read.All"} {
		ms.Withdraw("many@contoso.example")
		token := a.signIn("many@contoso.example", "scope", "openid "+scope).AccessToken
		members("getMemberGroups", token)
		list(cast+"?$select=id", token, 100)
		list("transitiveMemberOf/graph.group?$select=id&$top=120", token, 120)
		list(cast+"?$top=999", token, 999)
		a.refused(400, "Request_BadRequest", "GET", graph+cast+"?$top=1000", token, "")
		if _, text := a.graph(graph+"memberOf?$top=1", token); !strings.Contains(text, `"displayName":"Group 0000"`) || !strings.Contains(text, `"#microsoft.graph.group"`) {
			t.Errorf("a group: %s", text)
		}
	}
	files := a.signIn(msauthtest.Ada, "scope", "openid Files.Read").AccessToken
	a.refused(403, "Authorization_RequestDenied", "POST", graph+"getMemberObjects", files, `{"securityEnabledOnly":true}`)
	a.refused(403, "Authorization_RequestDenied", "GET", graph+"transitiveMemberOf", files, "")
	a.refused(400, "Request_BadRequest", "POST", graph+"getMemberObjects", rep.AccessToken, `{}`)
	a.refused(405, "Request_BadRequest", "GET", graph+"getMemberObjects", rep.AccessToken, "")
	mia := a.signIn(msauthtest.Mia).AccessToken
	a.refused(403, "Authorization_RequestDenied", "POST", graph+"getMemberObjects", mia, `{"securityEnabledOnly":true}`)

	ms.SetUser(msauthtest.User{SignInName: "many@contoso.example", Groups: make([]string, 11_001)})
	a.refused(400, "Directory_ResultSizeLimitExceeded", "POST", graph+"getMemberObjects", rep.AccessToken, `{"securityEnabledOnly":true}`)
}

func TestCalendar(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	graph := a.ms.URL + "/v1.0/me/"
	without := a.signIn(msauthtest.Ada).AccessToken
	for _, path := range []string{"events", "calendar/events", "calendarView?startDateTime=2026-03-03&endDateTime=2026-03-04"} {
		a.refused(403, "ErrorAccessDenied", "GET", graph+path, without, "")
	}
	token := a.signIn(msauthtest.Ada, "scope", "openid Calendars.Read").AccessToken
	type event struct {
		Subject string
		Start   struct{ DateTime, TimeZone string }
	}
	var page struct {
		Value []event
		Next  string `json:"@odata.nextLink"`
	}
	a.json2(graph+"events?$top=3", token, &page)
	if len(page.Value) != 3 || page.Next == "" || page.Value[0].Subject == "" || page.Value[0].Start.TimeZone != "UTC" {
		t.Errorf("events: %+v", page)
	}
	page.Value = nil
	a.json2(graph+"calendarView?startDateTime=2026-03-03T00:00:00&endDateTime=2026-03-03T11:00:00Z&$select=subject", token, &page)
	if len(page.Value) != 1 || page.Value[0].Subject != "Weekly meeting" || page.Value[0].Start.DateTime != "" {
		t.Errorf("calendarView: %+v", page)
	}
	a.refused(400, "ErrorInvalidParameter", "GET", graph+"calendarView?startDateTime=2026-03-03", token, "")
	a.refused(400, "ErrorInvalidUrlQuery", "GET", graph+"events?$top=0", token, "")
	a.refused(405, "notSupported", "POST", graph+"events", token, "{}")
}
