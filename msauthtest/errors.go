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

// mfaChallenge returns a claims document that demands multi-factor
// authentication.
func mfaChallenge() string {
	return `{"access_token":{"capolids":{"essential":true,"values":["` + newGUID() + `"]}}}`
}

// refusal returns the Failure for an AADSTS number. about is inserted into its
// text. The OAuth error depends on the endpoint: see complete.
func refusal(code int, about string) Failure {
	text := errorTable[code].text
	if strings.Contains(text, "%s") {
		text = fmt.Sprintf(text, about)
	}
	return Failure{Codes: []int{code}, Description: text}
}

// complete fills in the fields that a Failure with an Error or a number leaves
// empty. It takes the number's suberror only together with its error.
func (e *exchange) complete(f Failure) Failure {
	if f.Error == "" && len(f.Codes) > 0 {
		known := errorTable[f.Codes[0]]
		older, hasOlder := olderForms[f.Codes[0]]
		switch {
		case e.kind == Authorize || e.kind == Picked:
			f.Error = cmp.Or(known.authorize, known.err)
		case e.tenant.family == plain || e.tenant.family == live: // have no suberrors
			f.Error = known.err
		case e.behavior.V1Errors && hasOlder:
			f.Error, f.Suberror = older.err, cmp.Or(f.Suberror, older.suberror)
		default:
			f.Error, f.Suberror = known.err, cmp.Or(f.Suberror, known.suberror)
		}
		f.Error = cmp.Or(f.Error, "invalid_request")
	}
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

// describe returns error_description: the number with its text, and the IDs to
// look it up by, each on a line of its own.
func (f Failure) describe(trace, correlation string, now time.Time) string {
	text := f.Description
	if len(f.Codes) > 0 && !strings.HasPrefix(text, "AADSTS") {
		text = "AADSTS" + strconv.Itoa(f.Codes[0]) + ": " + text
	}
	return fmt.Sprintf("%s\r\nTrace ID: %s\r\nCorrelation ID: %s\r\nTimestamp: %s", text, trace, correlation, timestamp(now))
}

func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// fail answers with a failure.
func (e *exchange) fail(w http.ResponseWriter, r *http.Request, f Failure) {
	for name, values := range f.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
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
	case f.Claims != "" && (e.kind == Graph || e.kind == Batch || e.kind == OwnAPI):
		e.challengeWith(w, r, ChallengeBearer, f.Claims, cmp.Or(f.Description, "Continuous access evaluation resulted in challenge."))
	case f.Status == http.StatusUnauthorized && f.Header.Get("WWW-Authenticate") == "" && e.kind == OwnAPI,
		f.Status == http.StatusUnauthorized && f.Header.Get("WWW-Authenticate") == "" && (e.kind == Graph || e.kind == Batch) && f.Error == "":
		e.deny(w, r, cmp.Or(f.Description, "Invalid access token."))
	case e.kind == Graph || e.kind == Batch || e.kind == Upload || e.kind == Monitor:
		status := cmp.Or(f.Status, http.StatusInternalServerError)
		code := graphCode(status)
		if status == http.StatusTooManyRequests && (e.kind == Upload || e.kind == Monitor || inDrive(r)) {
			code = "activityLimitReached" // OneDrive's code
		}
		graphError(w, r, status, cmp.Or(f.Error, code), cmp.Or(f.Description, http.StatusText(status)))
	case f.Error == "" && len(f.Codes) == 0:
		status := cmp.Or(f.Status, http.StatusInternalServerError)
		if status < 300 { // an empty body
			w.WriteHeader(status)
			return
		}
		http.Error(w, http.StatusText(status), status)
	case (e.kind == Authorize || e.kind == Picked) && f.Status == 0:
		e.failAuthorize(w, r, f)
	case e.kind == Authorize || e.kind == Picked || e.kind == Logout:
		e.failPage(w, r, f)
	default:
		e.failJSON(w, r, f)
	}
}

// refuse answers with an AADSTS number: with a page where a person sees it,
// otherwise with the error document.
func (e *exchange) refuse(w http.ResponseWriter, r *http.Request, code int, about string) {
	f := refusal(code, about)
	if e.kind == Authorize || e.kind == Picked || e.kind == Logout {
		e.failPage(w, r, f)
		return
	}
	e.failJSON(w, r, f)
}

// failJSON answers with Microsoft's error document, a superset of that of RFC
// 6749 section 5.2.
func (e *exchange) failJSON(w http.ResponseWriter, r *http.Request, f Failure) {
	if e.tenant.family == b2c {
		f = e.complete(f).asB2C()
		writeJSON(w, f.Status, f.b2cError())
		return
	}
	if e.tenant.family == live {
		f = e.asLive(f)
		e.writeLive(w, f.Status, f.plainError())
		return
	}
	f = e.complete(f)
	if e.tenant.family == plain {
		writeJSON(w, f.Status, f.plainError())
		return
	}
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

// answerError returns the error parameters of the authorize endpoint (RFC 6749
// section 4.1.2.1).
func (e *exchange) answerError(f Failure) url.Values {
	if e.tenant.family == b2c {
		return e.complete(f).asB2C().b2cAnswer()
	}
	if e.tenant.family == live {
		return e.asLive(f).plainAnswer()
	}
	f = e.complete(f)
	if e.tenant.family == plain {
		return f.plainAnswer()
	}
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
	if err != nil { // a hook added a value that JSON cannot represent
		http.Error(w, "msauthtest: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(body)
}
