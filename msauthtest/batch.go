package msauthtest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Limits of "Combine multiple HTTP requests using JSON batching", and of the
// document.
const (
	maxParts = 20
	maxBatch = 4 << 20 // bytes
)

// A batchPart is a request in a batch.
type batchPart struct {
	ID        string            `json:"id"`
	Method    string            `json:"method"`
	URL       string            `json:"url"`
	Headers   map[string]string `json:"headers"`
	Body      json.RawMessage   `json:"body"`
	DependsOn []string          `json:"dependsOn"`
}

func batchProblem(message string) *problem {
	return &problem{http.StatusBadRequest, "BadRequest", message, ""}
}

// checkParts returns the parts in an order in which each comes after those that
// it depends on.
func checkParts(parts []batchPart) ([]batchPart, *problem) {
	if len(parts) == 0 || len(parts) > maxParts {
		return nil, batchProblem("The number of batch request steps must be between 1 and 20.")
	}
	known := map[string]bool{}
	for _, p := range parts {
		id := strings.ToLower(p.ID)
		if id == "" || known[id] {
			return nil, batchProblem("The request id is missing or is not unique: " + p.ID)
		}
		known[id] = true
		u, err := url.Parse(p.URL)
		if err != nil || p.URL == "" || u.IsAbs() || u.Host != "" || strings.HasPrefix(strings.TrimPrefix(p.URL, "/"), "$batch") {
			return nil, batchProblem("The url of request " + p.ID + " is not a relative one.")
		}
	}
	var sorted []batchPart
	done := map[string]bool{}
	for len(sorted) < len(parts) {
		before := len(sorted)
		for _, p := range parts {
			ready := !done[strings.ToLower(p.ID)]
			for _, id := range p.DependsOn {
				if !known[strings.ToLower(id)] {
					return nil, batchProblem("Request " + p.ID + " depends on one that is not in the batch.")
				}
				ready = ready && done[strings.ToLower(id)]
			}
			if ready {
				done[strings.ToLower(p.ID)] = true
				sorted = append(sorted, p)
			}
		}
		if len(sorted) == before {
			return nil, batchProblem("The requests depend on each other.")
		}
	}
	return sorted, nil
}

// batch serves POST /v1.0/$batch. Each part counts as a request of its own. The
// answers come in the reverse of the order in which the parts were run, since
// clients must not rely on any.
func (e *exchange) batch(w http.ResponseWriter, r *http.Request) {
	token := bearerOf(r)
	if token == "" {
		e.deny(w, r, "Access token is empty.")
		return
	}
	if _, _, problem := e.accessToken(token, graphAudience, e.URL); problem != "" {
		e.deny(w, r, problem)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		graphError(w, r, http.StatusMethodNotAllowed, "notSupported", "The method is not allowed here.")
		return
	}
	var ask struct {
		Requests []batchPart `json:"requests"`
	}
	body, bad := readBody(r, maxBatch)
	if bad == nil {
		bad = readDocument(body, &ask)
	}
	var parts []batchPart
	if bad == nil {
		parts, bad = checkParts(ask.Requests)
	}
	if bad != nil {
		bad.write(w, r)
		return
	}
	failed := map[string]bool{}
	answers := []map[string]any{}
	for _, p := range parts {
		var answer map[string]any
		if slices.ContainsFunc(p.DependsOn, func(id string) bool { return failed[strings.ToLower(id)] }) {
			answer = partError(http.StatusFailedDependency, "FailedDependency", "A request that this one depends on has failed.")
		} else {
			answer = e.runPart(r, p)
		}
		answer["id"] = p.ID
		failed[strings.ToLower(p.ID)] = answer["status"].(int) >= 400
		answers = append(answers, answer)
	}
	slices.Reverse(answers)
	writeJSON(w, http.StatusOK, map[string]any{"responses": answers})
}

func partError(status int, code, message string) map[string]any {
	return map[string]any{
		"status": status, "headers": map[string]string{"Content-Type": "application/json"},
		"body": map[string]any{"error": map[string]any{"code": code, "message": message}},
	}
}

// partBody returns the bytes of a part's body: JSON, or others in base64.
func partBody(p batchPart, header http.Header) ([]byte, *problem) {
	if len(p.Body) == 0 || string(p.Body) == "null" {
		return nil, nil
	}
	kind := header.Get("Content-Type")
	if kind == "" {
		return nil, batchProblem("A request with a body requires the header Content-Type.")
	}
	if strings.HasPrefix(kind, "application/json") {
		return p.Body, nil
	}
	var text string
	if err := json.Unmarshal(p.Body, &text); err != nil {
		return nil, batchProblem("A body that is not JSON must be a text in base64.")
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, batchProblem("A body that is not JSON must be a text in base64.")
	}
	return b, nil
}

// runPart serves one part as a request with the token of the batch.
func (e *exchange) runPart(r *http.Request, p batchPart) map[string]any {
	header := http.Header{}
	for name, value := range p.Headers {
		header.Set(name, value)
	}
	body, bad := partBody(p, header)
	if bad != nil {
		return partError(bad.status, bad.code, bad.message)
	}
	in, err := http.NewRequestWithContext(r.Context(), strings.ToUpper(p.Method), e.URL+"/v1.0/"+strings.TrimPrefix(p.URL, "/"), bytes.NewReader(body))
	if err != nil {
		return partError(http.StatusBadRequest, "BadRequest", "The method or the url is not valid.")
	}
	header.Set("Authorization", r.Header.Get("Authorization"))
	in.Header, in.RequestURI, in.RemoteAddr = header, in.URL.RequestURI(), r.RemoteAddr
	var rec recorder
	e.dispatch(&rec, in)
	rec.WriteHeader(http.StatusOK)
	answer := map[string]any{"status": rec.status}
	headers := map[string]string{}
	for name := range rec.sent {
		headers[name] = rec.sent.Get(name)
	}
	answer["headers"] = headers
	switch text := rec.body.Bytes(); {
	case len(text) == 0:
	case strings.HasPrefix(headers["Content-Type"], "application/json") && json.Valid(text):
		answer["body"] = json.RawMessage(text)
	default:
		answer["body"] = base64.StdEncoding.EncodeToString(text)
	}
	return answer
}
