package register_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	tenantID      = "aaaabbbb-0000-cccc-1111-dddd2222eeee"
	graphAppID    = "00000003-0000-0000-c000-000000000000"
	operatorID    = "11112222-bbbb-3333-cccc-4444dddd5555"
	operatorName  = "operator of these tests"
	operatorProof = "operator~secret"
	accessToken   = "operator-access-token"
)

// delegated are some permissions of Microsoft Graph, with IDs that are not the real
// ones: nobody may know them by heart.
var delegated = map[string]string{}

func init() {
	for _, name := range []string{"openid", "profile", "email", "offline_access", "User.Read", "Files.Read", "Files.ReadWrite", "Calendars.Read", "Mail.Read"} {
		delegated[name] = newID()
	}
}

func newID() string {
	b := make([]byte, 16)
	rand.Read(b)
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

type object = map[string]any

// A request is one that Microsoft Graph was asked to change something by.
type request struct {
	method, path string
	body         object
}

func (r request) String() string {
	names := slices.Sorted(maps.Keys(r.body))
	return r.method + " " + regexp.MustCompile(`[0-9a-f-]{36}`).ReplaceAllString(r.path, "ID") + " " + strings.Join(names, ",")
}

// microsoft is what az talks to: Microsoft Graph as far as app registrations need it
// (the pages application, servicePrincipal, federatedIdentityCredential and
// oAuth2PermissionGrant of its reference, v1.0), the token endpoint of the authority,
// and a Resource Manager without subscriptions: what a newly made tenant has.
type microsoft struct {
	proxy, caFile string

	mu   sync.Mutex
	hung chan struct{} // closed when hangAfter has come
	tenant
}

// A tenant is what there is at Microsoft, and what happened to it.
type tenant struct {
	apps       []object
	principals []object
	grants     []object
	federated  map[string][]object // by the app's object ID
	secrets    map[string]string   // values of client secrets, by key ID
	writes     []request
	seen       []string // all that az has sent
	lag        int      // how many requests for something just made find nothing
	lagging    map[string]int
	hangAfter  int // the number of the write request whose answer never comes; 0: none
}

// now returns a copy of what there is.
func (m *microsoft) now() tenant {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := func(objects []object) (copies []object) {
		for _, o := range objects {
			copies = append(copies, copyOf(o).(object))
		}
		return copies
	}
	federated := map[string][]object{}
	for id, list := range m.federated {
		federated[id] = all(list)
	}
	return tenant{apps: all(m.apps), principals: all(m.principals), grants: all(m.grants), federated: federated,
		secrets: maps.Clone(m.secrets), writes: slices.Clone(m.writes), seen: slices.Clone(m.seen)}
}

// change changes it, as somebody else would.
func (m *microsoft) change(by func(now *tenant)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	by(&m.tenant)
}

func newMicrosoft(t *testing.T) *microsoft {
	m := &microsoft{hung: make(chan struct{}), tenant: tenant{federated: map[string][]object{}, secrets: map[string]string{}, lagging: map[string]int{}}}
	var scopes []any
	for n := range 800 { // Graph has about as many, with long texts
		scopes = append(scopes, object{"id": newID(), "value": fmt.Sprintf("Other.Read.%d", n), "adminConsentDescription": strings.Repeat("Allows the app to read. ", 20)})
	}
	for name, id := range delegated {
		scopes = append(scopes, object{"id": id, "value": name, "isEnabled": true, "type": "User"})
	}
	m.principals = []object{{"id": newID(), "appId": graphAppID, "displayName": "Microsoft Graph", "oauth2PermissionScopes": scopes}}
	m.proxy, m.caFile = startProxy(t, http.HandlerFunc(m.serve))
	return m
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if body != nil {
		json.NewEncoder(w).Encode(body)
	}
}

// A refusal is an error of Microsoft Graph.
type refusal struct {
	status        int
	code, message string
}

func (r *refusal) Error() string { return r.message }

func bad(format string, args ...any) error {
	return &refusal{http.StatusBadRequest, "Request_BadRequest", fmt.Sprintf(format, args...)}
}

func missing(id string) error {
	return &refusal{http.StatusNotFound, "Request_ResourceNotFound", "Resource '" + id + "' does not exist or one of its queried reference-property objects are not present."}
}

func (m *microsoft) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	m.mu.Lock()
	m.seen = append(m.seen, r.Method+" "+r.URL.String()+"\n"+string(body))
	m.mu.Unlock()
	path, role := r.URL.Path, strings.Split(r.Host, ".")[0]
	switch {
	case role == "login" && strings.HasSuffix(path, "/.well-known/openid-configuration"):
		tenant := "https://" + r.Host + "/" + strings.Split(path, "/")[1]
		answer(w, 200, object{"issuer": tenant + "/v2.0", "authorization_endpoint": tenant + "/oauth2/v2.0/authorize", "token_endpoint": tenant + "/oauth2/v2.0/token"})
	case role == "login" && strings.HasSuffix(path, "/discovery/instance"):
		answer(w, 200, object{"tenant_discovery_endpoint": "https://" + r.Host + "/" + tenantID + "/v2.0/.well-known/openid-configuration", "api-version": "1.1", "metadata": []any{}})
	case role == "login" && strings.HasSuffix(path, "/oauth2/v2.0/token"):
		form, _ := url.ParseQuery(string(body))
		if form.Get("client_id") != operatorID || form.Get("client_secret") != operatorProof {
			answer(w, 401, object{"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."})
			return
		}
		answer(w, 200, object{"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": accessToken})
	case role == "management":
		answer(w, 200, object{"value": []any{}})
	case role == "graph" && strings.HasPrefix(path, "/v1.0/"):
		m.graph(w, r, strings.TrimPrefix(path, "/v1.0/"), body)
	default:
		answer(w, 404, object{"error": object{"code": "NotFound", "message": "no such path: " + r.Host + path}})
	}
}

func (m *microsoft) graph(w http.ResponseWriter, r *http.Request, path string, text []byte) {
	if r.Header.Get("Authorization") != "Bearer "+accessToken {
		answer(w, 401, object{"error": object{"code": "InvalidAuthenticationToken", "message": "Access token is empty."}})
		return
	}
	var body object
	if len(text) > 0 {
		if err := json.Unmarshal(text, &body); err != nil || r.Header.Get("Content-Type") != "application/json" {
			answer(w, 400, object{"error": object{"code": "BadRequest", "message": "Unable to read JSON request payload."}})
			return
		}
	}
	m.mu.Lock()
	status, result, err := m.do(r.Method, path, r.URL.Query(), body)
	result = copyOf(result) // it is sent without the lock
	hang := false
	if r.Method != "GET" {
		if err == nil {
			m.writes = append(m.writes, request{r.Method, path, body})
		}
		if m.hangAfter > 0 && len(m.writes) == m.hangAfter {
			m.hangAfter, hang = 0, true
		}
	}
	m.mu.Unlock()
	if hang {
		close(m.hung)
		<-r.Context().Done()
		return
	}
	if no, ok := err.(*refusal); ok {
		answer(w, no.status, object{"error": object{"code": no.code, "message": no.message, "innerError": object{"date": "2026-01-01T00:00:00", "request-id": newID()}}})
		return
	}
	answer(w, status, result)
}

// condition is one of a $filter; of its operators only eq is needed.
var condition = regexp.MustCompile(`^(\w+) eq '((?:[^']|'')*)'(?: and )?`)

func filter(all []object, q string) (found []any, err error) {
	want := map[string]string{}
	for rest := q; rest != ""; {
		part := condition.FindStringSubmatch(rest)
		if part == nil {
			return nil, bad("Invalid filter clause: %s", q)
		}
		want[part[1]] = strings.ReplaceAll(part[2], "''", "'")
		rest = rest[len(part[0]):]
	}
	found = []any{}
	for _, o := range all {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(want)), func(name string) bool { return !strings.EqualFold(fmt.Sprint(o[name]), want[name]) }) {
			found = append(found, o)
		}
	}
	return found, nil
}

func byID(all []object, id string) object {
	if i := slices.IndexFunc(all, func(o object) bool { return o["id"] == id }); i >= 0 {
		return all[i]
	}
	return nil
}

// unknown reports whether something that was just made is not yet known.
func (m *microsoft) unknown(id string) bool {
	if m.lagging[id] == 0 {
		return false
	}
	m.lagging[id]--
	return true
}

func (m *microsoft) do(method, path string, query url.Values, body object) (status int, result any, err error) {
	list := func(all []object) (int, any, error) {
		found, err := filter(all, query.Get("$filter"))
		return 200, object{"value": found}, err
	}
	collection, rest, _ := strings.Cut(path, "/")
	id, sub, _ := strings.Cut(rest, "/")
	switch method + " " + collection {
	case "GET servicePrincipals":
		return list(m.principals)
	case "POST servicePrincipals":
		appID, _ := body["appId"].(string)
		if m.unknown(appID) || !slices.ContainsFunc(m.apps, func(o object) bool { return o["appId"] == appID }) {
			return 0, nil, bad("The appId '%s' of the service principal does not reference a valid application object.", appID)
		}
		if found, _ := filter(m.principals, "appId eq '"+appID+"'"); len(found) > 0 {
			return 0, nil, &refusal{409, "Request_MultipleObjectsWithSameKeyValue", "The service principal cannot be created, updated, or restored because the service principal name " + appID + " is already in use."}
		}
		made := object{"id": newID(), "appId": appID, "tags": body["tags"]}
		m.principals = append(m.principals, made)
		return 201, made, nil
	case "GET oauth2PermissionGrants":
		return list(m.grants)
	case "POST oauth2PermissionGrants":
		client, _ := body["clientId"].(string)
		resource, _ := body["resourceId"].(string)
		if byID(m.principals, client) == nil || byID(m.principals, resource) == nil || body["consentType"] != "AllPrincipals" {
			return 0, nil, bad("One or more properties are invalid.")
		}
		made := object{"id": newID()}
		maps.Copy(made, body)
		m.grants = append(m.grants, made)
		return 201, made, nil
	case "PATCH oauth2PermissionGrants":
		grant := byID(m.grants, id)
		if grant == nil {
			return 0, nil, missing(id)
		}
		maps.Copy(grant, body)
		return 204, nil, nil
	case "GET applications":
		if id == "" {
			status, result, err = list(m.apps)
			if err == nil { // the bytes of certificates come when one app is asked for them
				result = copyOf(result)
				for _, app := range result.(object)["value"].([]any) {
					for _, key := range app.(object)["keyCredentials"].([]any) {
						key.(object)["key"] = nil
					}
				}
			}
			return status, result, err
		}
	case "POST applications":
		if id == "" {
			app := object{"id": newID(), "appId": newID(), "signInAudience": "AzureADMyOrg", "web": object{"redirectUris": []any{}, "logoutUrl": nil},
				"api": object{"requestedAccessTokenVersion": nil}, "appRoles": []any{}, "requiredResourceAccess": []any{}, "keyCredentials": []any{},
				"passwordCredentials": []any{}, "groupMembershipClaims": nil, "optionalClaims": nil}
			if err := patch(app, body); err != nil {
				return 0, nil, err
			}
			m.apps = append(m.apps, app)
			m.lagging[app["id"].(string)], m.lagging[app["appId"].(string)] = m.lag, m.lag
			return 201, app, nil
		}
	}
	if collection != "applications" {
		return 0, nil, missing(path)
	}
	app := byID(m.apps, id)
	if app == nil || m.unknown(id) {
		return 0, nil, missing(id)
	}
	name, _, _ := strings.Cut(sub, "/")
	switch method + " " + name {
	case "GET ":
		if query.Get("$select") == "keyCredentials" {
			return 200, object{"keyCredentials": app["keyCredentials"]}, nil
		}
		return 200, app, nil
	case "PATCH ":
		next := copyOf(app).(object)
		if err := patch(next, body); err != nil {
			return 0, nil, err
		}
		maps.Copy(app, next)
		return 204, nil, nil
	case "POST addPassword":
		wanted, _ := body["passwordCredential"].(object)
		old := app["passwordCredentials"].([]any)
		if len(old) == 2 && strings.Contains(app["signInAudience"].(string), "Personal") {
			return 0, nil, bad("The maximum number of passwords is 2.")
		}
		made := object{"keyId": newID(), "displayName": wanted["displayName"], "endDateTime": wanted["endDateTime"], "secretText": nil}
		app["passwordCredentials"] = append(old, any(made))
		shown := maps.Clone(made)
		value := "Kd8Q~" + rand.Text()
		m.secrets[made["keyId"].(string)] = value
		shown["secretText"] = value
		return 200, shown, nil
	case "GET federatedIdentityCredentials":
		found, _ := filter(m.federated[id], "")
		return 200, object{"value": found}, nil
	case "POST federatedIdentityCredentials":
		for _, other := range m.federated[id] {
			if other["name"] == body["name"] || other["issuer"] == body["issuer"] && other["subject"] == body["subject"] {
				return 0, nil, &refusal{409, "Request_MultipleObjectsWithSameKeyValue", "FederatedIdentityCredential with name " + fmt.Sprint(body["name"]) + " already exists."}
			}
		}
		made := object{"id": newID()}
		maps.Copy(made, body)
		m.federated[id] = append(m.federated[id], made)
		return 201, made, nil
	case "PATCH federatedIdentityCredentials":
		_, which, _ := strings.Cut(sub, "/")
		one := byID(m.federated[id], which)
		if one == nil || body["name"] != nil {
			return 0, nil, bad("The name of a federated identity credential cannot be changed.")
		}
		maps.Copy(one, body)
		return 204, nil, nil
	}
	return 0, nil, missing(path)
}

func copyOf(v any) (c any) {
	if v == nil {
		return nil
	}
	text, _ := json.Marshal(v)
	json.Unmarshal(text, &c)
	return c
}

var guid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// patch changes an application as a request says: properties of complex types one by
// one, lists as a whole. It refuses what Microsoft Graph is known to refuse.
func patch(app, body object) error {
	for name, value := range body {
		switch name {
		case "displayName", "signInAudience", "optionalClaims", "groupMembershipClaims", "requiredResourceAccess":
			app[name] = value
		case "web", "api":
			fields, ok := value.(object)
			if !ok {
				return bad("Invalid value for property '%s'.", name)
			}
			maps.Copy(app[name].(object), fields)
		case "appRoles":
			if err := patchRoles(app, value); err != nil {
				return err
			}
		case "keyCredentials":
			if err := patchKeys(app, value); err != nil {
				return err
			}
		default: // passwordCredentials too: there is addPassword
			return bad("Invalid property '%s'.", name)
		}
	}
	if name, _ := app["displayName"].(string); name == "" {
		return bad("Invalid value specified for property 'displayName' of resource 'Application'.")
	}
	personal := strings.Contains(app["signInAudience"].(string), "Personal")
	if version, _ := app["api"].(object)["requestedAccessTokenVersion"].(float64); personal && version != 2 {
		return bad("Property api.requestedAccessTokenVersion is invalid.")
	}
	web := app["web"].(object)
	if logout, ok := web["logoutUrl"].(string); ok && !strings.HasPrefix(logout, "https://") {
		return bad("Invalid value specified for property 'logoutUrl' of resource 'Application'.")
	}
	seen := map[string]bool{}
	for _, v := range web["redirectUris"].([]any) {
		u, err := url.Parse(v.(string))
		if err != nil || seen[v.(string)] || u.Scheme != "https" && (u.Scheme != "http" || u.Hostname() != "localhost" && u.Hostname() != "127.0.0.1") {
			return bad("Invalid value specified for property 'redirectUris' of resource 'Application'.")
		}
		seen[v.(string)] = true
	}
	for _, v := range app["requiredResourceAccess"].([]any) {
		for _, access := range v.(object)["resourceAccess"].([]any) {
			if kind := access.(object)["type"]; kind != "Scope" && kind != "Role" || !guid.MatchString(fmt.Sprint(access.(object)["id"])) {
				return bad("Invalid value specified for property 'requiredResourceAccess' of resource 'Application'.")
			}
		}
	}
	return nil
}

func patchRoles(app object, value any) error {
	next, ok := value.([]any)
	if !ok {
		return bad("Invalid value for property 'appRoles'.")
	}
	ids, values := map[any]object{}, map[any]bool{}
	for _, v := range next {
		role := v.(object)
		text, _ := role["value"].(string)
		id, _ := role["id"].(string)
		switch {
		case role["origin"] != nil, !guid.MatchString(id), ids[id] != nil, values[text], text == "", strings.ContainsAny(text, " \t"), strings.HasPrefix(text, "."), role["displayName"] == "", role["description"] == "":
			return bad("Invalid value specified for property 'appRoles' of resource 'Application'.")
		}
		ids[id], values[text] = role, true
	}
	for _, v := range app["appRoles"].([]any) {
		old := v.(object)
		next := ids[old["id"]]
		if old["isEnabled"] == true && (next == nil || next["value"] != old["value"]) {
			return &refusal{400, "CannotDeleteOrUpdateEnabledEntitlement", "Permission (scope or role) cannot be deleted or updated unless disabled first."}
		}
	}
	app["appRoles"] = next
	return nil
}

func patchKeys(app object, value any) error {
	next, ok := value.([]any)
	if !ok {
		return bad("Invalid value for property 'keyCredentials'.")
	}
	for _, v := range next {
		key := v.(object)
		der, err := base64.StdEncoding.DecodeString(fmt.Sprint(key["key"]))
		if err != nil {
			return bad("Key credential is not base64.")
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil || key["type"] != "AsymmetricX509Cert" || key["usage"] != "Verify" {
			return bad("Key value is not a certificate.")
		}
		from, err1 := time.Parse(time.RFC3339, fmt.Sprint(key["startDateTime"]))
		to, err2 := time.Parse(time.RFC3339, fmt.Sprint(key["endDateTime"]))
		if err1 != nil || err2 != nil || from.Before(cert.NotBefore) || to.After(cert.NotAfter) {
			return &refusal{400, "KeyCredentialsInvalidEndDate", "Key credential end date is invalid."}
		}
		if key["keyId"] == nil {
			key["keyId"] = newID()
		}
	}
	app["keyCredentials"] = next
	return nil
}
