package msauthtest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// An aadsts is one of Microsoft's error numbers: the OAuth error that it comes
// with and its text. %s takes what the text is about. See "Microsoft Entra
// authentication and authorization error codes".
type aadsts struct {
	err  string
	text string
}

var errorTable = map[int]aadsts{
	16000:   {"interaction_required", "Either multiple user identities are available for the current request or selected account is not supported for the scenario."},
	28000:   {"invalid_request", "Provided value for the input parameter scope is not valid because it contains more than one resource. Scope %s is not valid."},
	50011:   {"invalid_request", "The redirect URI %s specified in the request does not match the redirect URIs configured for the application. Make sure the redirect URI sent in the request matches one added to your application."},
	50020:   {"access_denied", "User account %s does not exist in this tenant and cannot access the application in that tenant. Sign out and sign in again with a different account."},
	50034:   {"invalid_grant", "The user account %s does not exist in the directory."},
	50057:   {"invalid_grant", "The user account is disabled."},
	50058:   {"login_required", "A silent sign-in request was sent but no user is signed in."},
	50074:   {"interaction_required", "Strong Authentication is required."},
	50076:   {"interaction_required", "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access %s."},
	50079:   {"interaction_required", "Due to a configuration change made by your administrator, or because you moved to a new location, you must enroll in multi-factor authentication to access %s."},
	50105:   {"access_denied", "The signed in user is not assigned to a role for the application %s."},
	50126:   {"invalid_grant", "Error validating credentials due to invalid username or password."},
	50133:   {"invalid_grant", "Session is invalid due to expiration or recent password change."},
	50148:   {"invalid_grant", "The code_verifier does not match the code_challenge supplied in the authorization request for PKCE."},
	50158:   {"interaction_required", "External security challenge not satisfied. User will be redirected to another page or authentication provider to satisfy additional authentication challenges."},
	50173:   {"invalid_grant", "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password."},
	50196:   {"invalid_grant", "The server terminated an operation because it encountered a client request loop. Please contact your app vendor."},
	53000:   {"interaction_required", "Device is not in required device state: not compliant. Conditional Access policy requires a compliant device, and the device is not compliant."},
	53003:   {"interaction_required", "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance."},
	54005:   {"invalid_grant", "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token."},
	65001:   {"consent_required", "The user or administrator has not consented to use the application with ID %s. Send an interactive authorization request for this user and resource."},
	65004:   {"access_denied", "User declined to consent to access the app."},
	70000:   {"invalid_grant", "The provided value for the input parameter %s is not valid."},
	70003:   {"unsupported_grant_type", "The app requested an unsupported grant type %s."},
	70007:   {"invalid_request", "%s is not a supported value of 'response_mode' when requesting a code."},
	70008:   {"invalid_grant", "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization request for this user and resource."},
	70011:   {"invalid_scope", "The provided value for the input parameter 'scope' is not valid. %s"},
	70043:   {"invalid_grant", "The refresh token has expired or is invalid due to sign-in frequency checks by conditional access."},
	90002:   {"invalid_tenant", "Tenant %s not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant."},
	90015:   {"invalid_request", "Requested query string is too long."},
	90023:   {"invalid_request", "Unsupported %s value."},
	90033:   {"temporarily_unavailable", "A transient error has occurred. Please try again."},
	90055:   {"temporarily_unavailable", "There are too many incoming requests. This exception is thrown for blocked tenants."},
	90072:   {"access_denied", "User account %s from identity provider does not exist in tenant and cannot access the application in that tenant. The account needs to be added as an external user in the tenant first."},
	90100:   {"invalid_request", "%s parameter is empty or not valid."},
	90094:   {"access_denied", "%s needs permission to access resources in your organization that only an admin can grant. Please ask an admin to grant permission to this app before you can use it."},
	500011:  {"invalid_resource", "The resource principal named %s was not found in the tenant."},
	500112:  {"invalid_client", "The reply address %s does not match the reply address provided when requesting Authorization code."},
	500121:  {"access_denied", "Authentication failed during strong authentication request."},
	500200:  {"access_denied", "User account %s is a personal Microsoft account. Personal Microsoft accounts are not supported for this application unless explicitly invited to an organization. Try signing out and signing back in with an organizational account."},
	501481:  {"invalid_grant", "The Code_Verifier does not match the code_challenge supplied in the authorization request."},
	650053:  {"invalid_client", "The application asked for scope %s. Contact the app vendor."},
	700016:  {"unauthorized_client", "Application with identifier %s was not found in the directory. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant."},
	700027:  {"invalid_client", "The certificate with identifier used to sign the client assertion is not registered on application."},
	700054:  {"unsupported_response_type", "response_type %s is not enabled for the application."},
	700082:  {"invalid_grant", "The refresh token has expired due to inactivity."},
	900144:  {"invalid_request", "The request body must contain the following parameter: %s."},
	900561:  {"invalid_request", "The endpoint only accepts POST requests. Received a %s request."},
	7000215: {"invalid_client", "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app %s."},
	7000218: {"invalid_client", "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."},
	7000222: {"invalid_client", "The provided client secret keys for app %s are expired. Visit the Azure portal to create new keys for your app, or consider using certificate credentials for added security."},
	9002313: {"invalid_request", "Request is malformed or invalid: %s."},
}

// defaultCode suits an OAuth error when a Failure names no number.
var defaultCode = map[string]int{
	"access_denied":           65004,
	"consent_required":        65001,
	"interaction_required":    50076,
	"invalid_client":          7000215,
	"invalid_grant":           70000,
	"invalid_request":         9002313,
	"invalid_resource":        500011,
	"invalid_scope":           70011,
	"login_required":          50058,
	"temporarily_unavailable": 90033,
	"unauthorized_client":     700016,
	"unsupported_grant_type":  70003,
}

// mfaChallenge is the claims document of a demand for multi-factor
// authentication.
func mfaChallenge() string {
	return `{"access_token":{"capolids":{"essential":true,"values":["` + newGUID() + `"]}}}`
}

// refusal makes the Failure for an AADSTS number; about fills in its text.
func refusal(code int, about string) Failure {
	known := errorTable[code]
	text := known.text
	if strings.Contains(text, "%s") {
		text = fmt.Sprintf(text, about)
	}
	return Failure{Error: known.err, Codes: []int{code}, Description: text}
}

// complete fills in what a Failure with an Error leaves open.
func (f Failure) complete() Failure {
	if len(f.Codes) == 0 {
		if code := defaultCode[f.Error]; code != 0 {
			f.Codes = []int{code}
		}
	}
	if f.Description == "" {
		text := "Request refused."
		if len(f.Codes) > 0 && errorTable[f.Codes[0]].text != "" {
			text = strings.ReplaceAll(errorTable[f.Codes[0]].text, "%s", "the resource")
		}
		f.Description = text
	}
	if f.Status == 0 {
		switch f.Error {
		case "invalid_client":
			f.Status = http.StatusUnauthorized
		case "server_error":
			f.Status = http.StatusInternalServerError
		case "temporarily_unavailable":
			f.Status = http.StatusServiceUnavailable
		default:
			f.Status = http.StatusBadRequest
		}
	}
	return f
}

// describe is error_description: number, text, and the ids to look it up by.
func (f Failure) describe(trace, correlation string, now time.Time) string {
	text := f.Description
	if len(f.Codes) > 0 && !strings.HasPrefix(text, "AADSTS") {
		text = "AADSTS" + strconv.Itoa(f.Codes[0]) + ": " + text
	}
	return fmt.Sprintf("%s Trace ID: %s Correlation ID: %s Timestamp: %s", text, trace, correlation, timestamp(now))
}

func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// fail answers with a failure.
func (e *exchange) fail(w http.ResponseWriter, r *http.Request, f Failure) {
	for name, values := range f.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	if f.Error == "" && len(f.Codes) > 0 && e.kind != Graph && e.kind != Upload && e.kind != OwnAPI {
		known := refusal(f.Codes[0], "the resource")
		f.Error = known.Error
	}
	switch {
	case f.Handler != nil:
		f.Handler(w, r)
	case f.Hang:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case f.Close:
		panic(http.ErrAbortHandler)
	case f.Body != "":
		if f.Header.Get("Content-Type") == "" {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
		}
		w.WriteHeader(cmp.Or(f.Status, http.StatusOK))
		w.Write([]byte(f.Body))
	case f.Claims != "" && (e.kind == Graph || e.kind == OwnAPI):
		e.deny(w, r, f.Claims, cmp.Or(f.Description, "Continuous access evaluation resulted in challenge."))
	case f.Status == http.StatusUnauthorized && f.Header.Get("WWW-Authenticate") == "" && e.kind == OwnAPI,
		f.Status == http.StatusUnauthorized && f.Header.Get("WWW-Authenticate") == "" && e.kind == Graph && f.Error == "":
		e.deny(w, r, "", cmp.Or(f.Description, "Invalid access token."))
	case e.kind == Graph || e.kind == Upload:
		status := cmp.Or(f.Status, http.StatusInternalServerError)
		graphError(w, r, status, cmp.Or(f.Error, graphCode(status)), cmp.Or(f.Description, http.StatusText(status)))
	case f.Error == "":
		status := cmp.Or(f.Status, http.StatusInternalServerError)
		http.Error(w, http.StatusText(status), status)
	case (e.kind == Authorize || e.kind == Picked) && f.Status == 0:
		e.failAuthorize(w, r, f)
	case e.kind == Authorize || e.kind == Picked || e.kind == Logout:
		e.failPage(w, r, f)
	default:
		e.failJSON(w, r, f)
	}
}

// refuse answers with an AADSTS number: a page where a person is looking, else
// the error document.
func (e *exchange) refuse(w http.ResponseWriter, r *http.Request, code int, about string) {
	f := refusal(code, about)
	if e.kind == Authorize || e.kind == Picked || e.kind == Logout {
		e.failPage(w, r, f)
		return
	}
	e.failJSON(w, r, f)
}

// failJSON answers with Microsoft's error document, a superset of RFC 6749
// section 5.2.
func (e *exchange) failJSON(w http.ResponseWriter, r *http.Request, f Failure) {
	if e.tenant.family == b2c {
		f = f.asB2C()
		writeJSON(w, f.Status, f.b2cError())
		return
	}
	f = f.complete()
	now := time.Now()
	trace, correlation := newGUID(), newGUID()
	if id := r.Header.Get("Client-Request-Id"); id != "" && len(id) <= 64 {
		correlation = id
	}
	doc := map[string]any{
		"error":             f.Error,
		"error_description": f.describe(trace, correlation, now),
		"error_codes":       append([]int{}, f.Codes...),
		"timestamp":         timestamp(now),
		"trace_id":          trace,
		"correlation_id":    correlation,
	}
	if len(f.Codes) > 0 {
		doc["error_uri"] = e.URL + "/error?code=" + strconv.Itoa(f.Codes[0])
	}
	if f.Suberror != "" {
		doc["suberror"] = f.Suberror
	}
	if f.Claims != "" {
		doc["claims"] = f.Claims
	}
	w.Header().Set("X-Ms-Request-Id", trace)
	writeJSON(w, f.Status, doc)
}

// answerError is the error answer of the authorize endpoint (RFC 6749 section
// 4.1.2.1).
func (e *exchange) answerError(f Failure) url.Values {
	if e.tenant.family == b2c {
		return f.asB2C().b2cAnswer()
	}
	f = f.complete()
	answer := url.Values{
		"error":             {f.Error},
		"error_description": {f.describe(newGUID(), newGUID(), time.Now())},
	}
	if len(f.Codes) > 0 {
		answer.Set("error_uri", e.URL+"/error?code="+strconv.Itoa(f.Codes[0]))
	}
	if f.Suberror != "" {
		answer.Set("error_subcode", f.Suberror)
	}
	return answer
}

func writeJSON(w http.ResponseWriter, status int, doc any) {
	body, err := json.Marshal(doc)
	if err != nil { // a hook put in what JSON cannot say
		http.Error(w, "msauthtest: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(body)
}
