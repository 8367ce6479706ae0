package graph_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"example.com/msauth/graph"
)

// A part is a request in a batch as Graph sees it.
type part struct {
	ID, Method, URL string
	Headers         map[string]string
	Body            json.RawMessage
	DependsOn       []string
}

func partsOf(t *testing.T, s sent) []part {
	t.Helper()
	var doc struct{ Requests []part }
	if err := json.Unmarshal([]byte(s.body), &doc); err != nil || s.method != "POST" || s.uri != "/v1.0/$batch" || s.header.Get("Content-Type") != "application/json" {
		t.Fatalf("sent %+v: %v", s, err)
	}
	return doc.Requests
}

// batchOf is an answer with these responses.
func batchOf(responses ...string) answerFunc {
	return reply(200, `{"responses":[`+strings.Join(responses, ",")+`]}`)
}

func ids(parts []part) string {
	var all []string
	for _, p := range parts {
		all = append(all, strings.Join(append([]string{p.ID}, p.DependsOn...), "<"))
	}
	return strings.Join(all, " ")
}

func TestBatchSendsWhatEachRequestWouldBe(t *testing.T) {
	t.Parallel()
	c, w := clientOf(batchOf(`{"id":"3","status":204}`, `{"id":"b","status":201,"body":{"id":"new"}}`, `{"id":"1","status":200,"body":{"id":"ada"}}`))
	responses, err := c.Batch(t.Context(),
		graph.BatchRequest{Path: "me", Query: graph.Query{Select: []string{"id"}, Filter: "a eq ?", Values: []any{"ü b"}, Header: http.Header{"consistencylevel": {"eventual"}}}},
		graph.BatchRequest{ID: "b", Method: "POST", Path: "/me/drive/root:/a b%3A:/children", Body: map[string]string{"name": "<x>"}, DependsOn: []string{"1"}},
		graph.BatchRequest{Method: "DELETE", Path: "me/x?y=z", DependsOn: []string{"B", "1"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	parts := partsOf(t, w.got[0])
	if len(parts) != 3 || ids(parts) != "1 b<1 3<b<1" {
		t.Fatalf("sent %+v", parts)
	}
	if p := parts[0]; p.Method != "GET" || p.URL != "/me?$filter=a%20eq%20%27%C3%BC%20b%27&$select=id" || len(p.Headers) != 1 || p.Headers["Consistencylevel"] != "eventual" || p.Body != nil {
		t.Errorf("sent %+v", p)
	}
	if p := parts[1]; p.Method != "POST" || p.URL != "/me/drive/root:/a%20b%3A:/children" || p.Headers["Content-Type"] != "application/json" || len(p.Headers) != 1 {
		t.Errorf("sent %+v", p)
	}
	if p := parts[2]; p.Method != "DELETE" || p.URL != "/me/x?y=z" || p.Headers != nil || p.Body != nil {
		t.Errorf("sent %+v", p)
	}
	// In the order of the requests, whatever order they come back in.
	me, err := graph.Decode[graph.User](responses[0])
	item, err2 := graph.Decode[graph.DriveItem](responses[1])
	nothing, err3 := graph.Decode[*graph.DriveItem](responses[2])
	if errors.Join(err, err2, err3) != nil || me.ID != "ada" || item.ID != "new" || nothing != nil || responses[1].ID != "b" || responses[2].ID != "3" {
		t.Errorf("%+v %+v %v: %v", me, item, nothing, errors.Join(err, err2, err3))
	}
}

func TestBatchesThatAreNotSent(t *testing.T) {
	t.Parallel()
	many := make([]graph.BatchRequest, 21)
	for i := range many {
		many[i].Path = "me"
	}
	one := func(r graph.BatchRequest) []graph.BatchRequest { return []graph.BatchRequest{{Path: "me"}, r} }
	named := func(id string, after ...string) graph.BatchRequest {
		return graph.BatchRequest{ID: id, Path: "me", DependsOn: after}
	}
	for _, test := range []struct {
		name          string
		requests      []graph.BatchRequest
		field, reason string
	}{
		{"too many", many, "batch", "has 21 requests, more than 20"},
		{"the same id", []graph.BatchRequest{named("a"), named("A")}, "id", "is that of two requests"},
		{"the id of a place", []graph.BatchRequest{named("2"), named("")}, "id", "is that of two requests"},
		{"a long id", one(named(strings.Repeat("a", 101))), "id", "is too long"},
		{"an id of two lines", one(named("a\nb")), "id", "control character"},
		{"an unknown dependency", one(named("a", "b")), "dependsOn", "is the id of no request"},
		{"on itself", one(named("a", "a")), "dependsOn", "depends on itself"},
		{"in a circle", []graph.BatchRequest{named("a", "c"), named("b", "a"), named("c", "b"), named("d")}, "dependsOn", "depends on itself"},
		{"a link", one(graph.BatchRequest{Path: base + "/me"}), "path", "is not relative to the base URL"},
		{"another host", one(graph.BatchRequest{Path: "https://evil.example/v1.0/me"}), "path", "is not relative to the base URL"},
		{"up", one(graph.BatchRequest{Path: "../me"}), "path", `".."`},
		{"a host without scheme", one(graph.BatchRequest{Path: "//evil.example/me"}), "path", "empty"},
		{"no path", one(graph.BatchRequest{}), "path", "empty"},
		{"another method", one(graph.BatchRequest{Method: "get", Path: "me"}), "method", "is not GET"},
		{"a bad query", one(graph.BatchRequest{Path: "me", Query: graph.Query{Filter: "a eq ?"}}), "filter", "question marks"},
		{"a bad body", one(graph.BatchRequest{Method: "POST", Path: "me", Body: make(chan int)}), "body", "cannot be written as JSON"},
		{"a header of two lines", one(graph.BatchRequest{Path: "me", Query: graph.Query{Header: http.Header{"Prefer": {"a\r\nb: c"}}}}), "header", "control character"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, w := clientOf(batchOf())
			responses, err := c.Batch(t.Context(), test.requests...)
			if wantInvalid(t, err, test.field, test.reason); len(w.got) > 0 || responses != nil {
				t.Errorf("%d requests, responses %v", len(w.got), responses)
			}
		})
	}
	c, w := clientOf(batchOf())
	if responses, err := c.Batch(t.Context()); err != nil || len(responses) != 0 || len(w.got) > 0 {
		t.Errorf("no requests: %v, %v, sent %v", responses, err, w.got)
	}
	chain := slices.Clone(many[:20]) // each after the next one, which is an order too
	for i := range chain[:19] {
		chain[i].DependsOn = []string{fmt.Sprint(i + 2)}
	}
	if _, err := c.Batch(t.Context(), chain...); len(w.got) != 1 {
		t.Errorf("20 requests in a row: %v", err)
	}
}

func TestBatchResponses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		response string // without id
		status   int
		body     string
		err      string // of Decode, "" for none
	}{
		{"a document", `"status":200,"headers":{"content-type":"application/json; charset=utf-8"},"body":{"id":"x"}`, 200, `{"id":"x"}`, ""},
		{"of no type", `"status":200,"body":{"id":"x"}`, 200, `{"id":"x"}`, ""},
		{"of another type of JSON", `"status":200,"headers":{"Content-Type":"application/scim+json"},"body":"eA=="`, 200, `"eA=="`, "cannot unmarshal string"},
		{"nothing, and that is right", `"status":204,"body":null`, 204, "", ""},
		{"nothing, and that is wrong", `"status":200`, 200, "", "GET /me: HTTP status 200: the answer is empty"},
		{"content", `"status":200,"headers":{"Content-Type":"image/jpeg"},"body":"` + base64.StdEncoding.EncodeToString([]byte("\xff\xd8\xff~?")) + `"`, 200, "\xff\xd8\xff~?", "invalid character"},
		{"content in the other alphabet", `"status":200,"headers":{"Content-Type":"image/jpeg"},"body":"` + base64.RawURLEncoding.EncodeToString([]byte("\xff\xd8\xff~?")) + `"`, 200, "\xff\xd8\xff~?", "invalid character"},
		{"a number as text", `"status":200,"headers":{"Content-Type":"text/plain"},"body":5`, 200, "5", "cannot unmarshal number"},
		{"content that is damaged", `"status":200,"headers":{"Content-Type":"image/jpeg"},"body":"***"`, 200, "***", "GET /me: HTTP status 200: the content is not base64"},
		{"an error in plain text", `"status":503,"headers":{"Content-Type":"text/html"},"body":"<html>"`, 503, "<html>", "GET /me: HTTP status 503"},
		{"an error", `"status":404,"body":{"error":{"code":"itemNotFound","message":"Not there"}}`, 404, "", "GET /me: HTTP status 404, itemNotFound: Not there"},
		{"an error without a code", `"status":403,"body":{"error":{"code":"","message":"No"}}`, 403, "", "GET /me: HTTP status 403: No"},
		{"header fields of other types", `"status":200,"headers":{"Content-Type":5,"a":null,"b":{},"c":"x\r\ny"},"body":{}`, 200, "{}", ""},
		{"a header that is a text", `"status":200,"headers":"x","body":{}`, 200, "{}", "the header is larger than 64 KiB or not a JSON object"},
		{"a large header", `"status":200,"headers":{"a":"` + strings.Repeat("x", 64<<10) + `"},"body":{}`, 200, "{}", "the header is larger than 64 KiB"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, _ := clientOf(batchOf(`{"id":"1",` + test.response + "}"))
				responses, err := c.Batch(t.Context(), graph.BatchRequest{Path: "me"})
				if err != nil {
					t.Fatal(err)
				}
				r := responses[0]
				for name, values := range r.Header {
					if strings.ContainsAny(name+values[0], "\r\n") {
						t.Errorf("the field %s: %q", name, values)
					}
				}
				if r.Status != test.status || test.body != "" && string(r.Body) != test.body {
					t.Errorf("status %d, body %q, want %q", r.Status, r.Body, test.body)
				}
				_, err = graph.Decode[*graph.User](r)
				if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want %q", err, test.err)
				}
				if e := r.Err(); e != nil && (err == nil || e.Error() != err.Error()) {
					t.Errorf("Err %v, and Decode %v", e, err)
				}
			})
		})
	}
}

func TestBatchErrorsAreThoseOfTheirRequests(t *testing.T) {
	t.Parallel()
	c, _ := clientOf(batchOf(
		`{"id":"1","status":401,"headers":{"www-authenticate":"Bearer error=\"insufficient_claims\"","request-id":"r1"},"body":{"error":{"code":"a"}}}`,
		`{"id":"2","status":409,"headers":{"Retry-After":120},"body":{"error":{"code":"nameAlreadyExists","innererror":{"request-id":"r2"}}}}`,
		`{"id":"3","status":302,"headers":{"LOCATION":"https://storage.example/?tempauth=abc","X":"y"}}`))
	responses, err := c.Batch(t.Context(),
		graph.BatchRequest{Path: "me?x=secret"}, graph.BatchRequest{Method: "POST", Path: "me/x"}, graph.BatchRequest{Path: "me/drive/items/1/content"})
	if err != nil {
		t.Fatal(err)
	}
	if e := wantError(t, responses[0].Err(), 401, "a"); e.Op != "GET /me" || e.RequestID != "r1" || !slices.Equal(e.WWWAuthenticate(), []string{`Bearer error="insufficient_claims"`}) {
		t.Errorf("%+v", e)
	}
	if e := wantError(t, responses[1].Err(), 409, "nameAlreadyExists"); e.Op != "POST /me/x" || e.RequestID != "r2" || e.RetryAfter != 2*time.Minute || e.WWWAuthenticate() != nil {
		t.Errorf("%+v", e)
	}
	r := responses[2]
	if r.Err() != nil || string(r.Location) != "https://storage.example/?tempauth=abc" || r.Header.Get("X") != "y" {
		t.Errorf("%+v", r)
	}
	if text := fmt.Sprintf("%v %+v %#v", r, r, r); strings.Contains(text, "tempauth") {
		t.Errorf("the location prints: %s", text)
	}
}

func TestBatchAnswersThatCannotBeRight(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		answer answerFunc
		err    string
		first  bool // the response to the first request can be used
	}{
		{"one is missing", batchOf(`{"id":"1","status":204}`), `there is no response to request "2"`, true},
		{"all are missing", reply(200, `{"responses":[]}`), `there is no response to request "1"`, false},
		{"no list", reply(200, `{}`), `there is no response to request "1"`, false},
		{"null", batchOf("null", `{"id":"1","status":204}`, "null"), `there is no response to request "2"`, true},
		{"one is there twice", batchOf(`{"id":"2","status":204}`, `{"id":"1","status":204}`, `{"id":"2","status":404}`), `there are two responses to request "2"`, true},
		{"an unknown id", batchOf(`{"id":"1","status":204}`, `{"id":"2","status":204}`, `{"id":"3\n","status":204}`), `unknown id "3 "`, true},
		{"no id", batchOf(`{"id":"1","status":204}`, `{"status":204}`), `unknown id ""`, true},
		{"no status", batchOf(`{"id":"1","status":204}`, `{"id":"2"}`), `request "2" has status 0`, true},
		{"status 1000", batchOf(`{"id":"1","status":204}`, `{"id":"2","status":1000}`), `request "2" has status 1000`, true},
		{"status 100", batchOf(`{"id":"1","status":204}`, `{"id":"2","status":100}`), `request "2" has status 100`, true},
		{"a status below zero", batchOf(`{"id":"1","status":204}`, `{"id":"2","status":-1}`), `request "2" has status -1`, true},
		{"a status that is a text", batchOf(`{"id":"1","status":204}`, `{"id":"2","status":"204"}`), "cannot unmarshal", false},
		{"one too many", batchOf(append(slices.Repeat([]string{"null"}, 20), `{"id":"1","status":204}`, `{"id":"2","status":204}`)...), `no response to request "2"`, true},
		{"a page", reply(200, "<html>"), "invalid character", false},
		{"nothing", reply(200, ""), "the answer is empty", false},
		{"204", reply(204, ""), `there is no response to request "1"`, false},
		{"an error", reply(400, `{"error":{"code":"invalidBatch"}}`), "HTTP status 400, invalidBatch", false},
		{"503: it may have been carried out", reply(503, ""), "HTTP status 503", false},
		{"no answer", lost, "the connection is lost", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, w := clientOf(test.answer)
			responses, err := c.Batch(t.Context(), graph.BatchRequest{Path: "me"}, graph.BatchRequest{Path: "me/drive"})
			if err == nil || !strings.Contains(err.Error(), "graph: POST /$batch: ") || !strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("error %v, want %q", err, test.err)
			}
			if len(w.got) != 1 || len(responses) != 2 {
				t.Fatalf("%d requests, %d responses", len(w.got), len(responses))
			}
			if first := responses[0].Err(); (first == nil) != test.first || first != nil && first.Error() != err.Error() {
				t.Errorf("the first response: %v", first)
			}
			if test.err != `unknown id "3 "` && (responses[1].Status != 0 || responses[1].Err() == nil) {
				t.Errorf("the second response: %+v", responses[1])
			}
		})
	}
	byHand := graph.BatchResponse{Status: 404, Body: []byte(`{"error":{"code":"itemNotFound"}}`)}
	wantError(t, byHand.Err(), 404, "itemNotFound")
	byHand.Body = append(byHand.Body, make([]byte, 64<<10)...)
	wantError(t, byHand.Err(), 404, "")
	var zero graph.BatchResponse
	if _, err := graph.Decode[struct{}](zero); err == nil || !strings.Contains(err.Error(), "there is no response") {
		t.Errorf("a response that is not there: %v", err)
	}
}

func TestBatchRepeatsWhatWasRefused(t *testing.T) {
	t.Parallel()
	ok := func(id string) string { return `{"id":"` + id + `","status":204}` }
	is := func(id string, status int) string {
		return fmt.Sprintf(`{"id":%q,"status":%d,"headers":{"Retry-After":"2"}}`, id, status)
	}
	r := func(id, method string, after ...string) graph.BatchRequest {
		return graph.BatchRequest{ID: id, Method: method, Path: "me/" + id, DependsOn: after}
	}
	for _, test := range []struct {
		name     string
		requests []graph.BatchRequest
		answers  []answerFunc
		rounds   []string // ids that are sent, each with what it depends on
		want     string   // the statuses at the end
	}{
		{"what was throttled, whatever the method is", []graph.BatchRequest{r("a", "GET"), r("b", "POST"), r("c", "PATCH")},
			[]answerFunc{batchOf(is("a", 429), ok("c"), is("b", 429)), batchOf(is("b", 429), ok("a")), batchOf(ok("b"))},
			[]string{"a b c", "a b", "b"}, "204 204 204"},
		{"other failures, of what may be repeated", []graph.BatchRequest{r("a", "GET"), r("b", "POST"), r("c", "PATCH"), r("d", "PUT"), r("e", "DELETE")},
			[]answerFunc{batchOf(is("a", 503), is("b", 503), is("c", 502), is("d", 504), is("e", 503)), batchOf(ok("a"), ok("d"), ok("e"))},
			[]string{"a b c d e", "a d e"}, "204 503 502 204 204"},
		{"nothing else", []graph.BatchRequest{r("a", "GET"), r("b", "GET"), r("c", "GET")},
			[]answerFunc{batchOf(is("a", 500), is("b", 404), is("c", 401))}, []string{"a b c"}, "500 404 401"},
		{"with those that depend on it", []graph.BatchRequest{r("a", "POST"), r("b", "POST", "a"), r("c", "GET", "b"), r("d", "GET")},
			[]answerFunc{batchOf(is("a", 429), is("b", 424), is("c", 424), ok("d")), batchOf(ok("a"), is("b", 429), is("c", 424)), batchOf(ok("b"), ok("c"))},
			[]string{"a b<a c<b d", "a b<a c<b", "b c<b"}, "204 204 204 204"},
		{"without what has succeeded", []graph.BatchRequest{r("a", "POST"), r("b", "POST", "a"), r("c", "POST", "a", "b")},
			[]answerFunc{batchOf(ok("a"), is("b", 429), is("c", 424)), batchOf(ok("b"), ok("c"))},
			[]string{"a b<a c<a<b", "b c<b"}, "204 204 204"},
		{"not what depends on a failure too", []graph.BatchRequest{r("a", "POST"), r("b", "POST"), r("c", "POST", "a", "b"), r("d", "POST", "c")},
			[]answerFunc{batchOf(is("a", 429), is("b", 409), is("c", 424), is("d", 424)), batchOf(ok("a"))},
			[]string{"a b c<a<b d<c", "a"}, "204 409 424 424"},
		{"not what depends on a failure, though throttled", []graph.BatchRequest{r("a", "POST"), r("b", "GET", "a")},
			[]answerFunc{batchOf(is("a", 503), is("b", 429))}, []string{"a b<a"}, "503 429"},
		{"not a failed dependency of nothing", []graph.BatchRequest{r("a", "POST"), r("b", "POST", "a"), r("c", "POST")},
			[]answerFunc{batchOf(ok("a"), is("b", 424), is("c", 424))}, []string{"a b<a c"}, "204 424 424"},
		{"with dependencies on later ones", []graph.BatchRequest{r("c", "POST", "b"), r("b", "POST", "a"), r("a", "POST")},
			[]answerFunc{batchOf(is("a", 429), is("b", 424), is("c", 424)), batchOf(ok("a"), ok("b"), ok("c"))},
			[]string{"c<b b<a a", "c<b b<a a"}, "204 204 204"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, w := clientOf(test.answers...)
				responses, err := c.Batch(t.Context(), test.requests...)
				if err != nil {
					t.Fatal(err)
				}
				var rounds []string
				for i, s := range w.got {
					rounds = append(rounds, ids(partsOf(t, s)))
					if i > 0 {
						if wait := s.at.Sub(w.got[i-1].at); wait < 2*time.Second || wait > 3*time.Second {
							t.Errorf("round %d after %v", i, wait)
						}
					}
				}
				if !slices.Equal(rounds, test.rounds) {
					t.Errorf("sent %q, want %q", rounds, test.rounds)
				}
				var statuses []string
				for i, r := range responses {
					if statuses = append(statuses, fmt.Sprint(r.Status)); r.ID != test.requests[i].ID {
						t.Errorf("response %d is that to %q", i, r.ID)
					}
				}
				if got := strings.Join(statuses, " "); got != test.want {
					t.Errorf("statuses %s, want %s", got, test.want)
				}
			})
		})
	}
}

// In the answer to a repeat, a request that was not repeated is unknown.
func TestBatchRepeatsAreAnsweredByThemselves(t *testing.T) {
	t.Parallel()
	throttled := `{"id":"1","status":429}`
	for _, test := range []struct {
		answer answerFunc
		err    string
		status [2]int
	}{
		{batchOf(`{"id":"1","status":204}`, `{"id":"2","status":500}`), `unknown id "2"`, [2]int{204, 204}},
		{batchOf(), `no response to request "1"`, [2]int{0, 204}},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, _ := clientOf(batchOf(throttled, `{"id":"2","status":204}`), test.answer)
			responses, err := c.Batch(t.Context(), graph.BatchRequest{Path: "me"}, graph.BatchRequest{Path: "me/drive"})
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("error %v, want %q", err, test.err)
			}
			if got := [2]int{responses[0].Status, responses[1].Status}; got != test.status || (responses[0].Err() == nil) != (got[0] != 0) {
				t.Errorf("statuses %v, want %v; %v", got, test.status, responses[0].Err())
			}
		})
	}
}

func TestHowLongABatchWaits(t *testing.T) {
	t.Parallel()
	throttled := func(id, wait string) string {
		return `{"id":"` + id + `","status":429,"headers":{"retry-after":"` + wait + `"}}`
	}
	requests := []graph.BatchRequest{{Path: "me"}, {Path: "me/drive"}}
	run := func(t *testing.T, ctx func() (context.Context, context.CancelFunc), answers ...answerFunc) (*wire, []graph.BatchResponse, time.Duration, error) {
		c, w := clientOf(answers...)
		begin := time.Now()
		within, cancel := ctx()
		defer cancel()
		responses, err := c.Batch(within, requests...)
		return w, responses, time.Since(begin), err
	}
	for _, test := range []struct {
		name        string
		answers     []answerFunc
		requests    int
		least, most time.Duration
		statuses    [2]int
	}{
		{"the longest", []answerFunc{batchOf(throttled("1", "20"), throttled("2", "0.249")), batchOf(`{"id":"1","status":204}`, `{"id":"2","status":204}`)}, 2, 20 * time.Second, 25 * time.Second, [2]int{204, 204}},
		{"a minute in all", []answerFunc{batchOf(throttled("1", "25"), `{"id":"2","status":204}`), batchOf(throttled("1", "25"))}, 3, 50 * time.Second, 60 * time.Second, [2]int{429, 204}},
		{"five times", []answerFunc{batchOf(throttled("1", ""), throttled("2", ""))}, 6, 15500 * time.Millisecond, 19375 * time.Millisecond, [2]int{429, 429}},
		{"not for an hour", []answerFunc{batchOf(throttled("1", "3600"), throttled("2", "1"))}, 1, 0, 0, [2]int{429, 429}},
		{"with what the batch itself waits", []answerFunc{reply(429, "", "Retry-After", "40"), batchOf(throttled("1", "40"), throttled("2", "40"))}, 2, 40 * time.Second, 50 * time.Second, [2]int{429, 429}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, responses, took, err := run(t, func() (context.Context, context.CancelFunc) { return t.Context(), func() {} }, test.answers...)
				if err != nil || len(w.got) != test.requests || took < test.least || took > test.most {
					t.Errorf("%d requests in %v, %v, want %d in %v to %v", len(w.got), took, err, test.requests, test.least, test.most)
				}
				if got := [2]int{responses[0].Status, responses[1].Status}; got != test.statuses {
					t.Errorf("statuses %v, want %v", got, test.statuses)
				}
			})
		})
	}
	first := batchOf(throttled("1", "20"), `{"id":"2","status":204}`)
	synctest.Test(t, func(t *testing.T) {
		w, responses, took, err := run(t, func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(3*time.Second, cancel)
			return ctx, cancel
		}, first)
		if !errors.Is(err, context.Canceled) || took != 3*time.Second || len(w.got) != 1 {
			t.Errorf("cancelled: %d requests in %v, %v", len(w.got), took, err)
		}
		if responses[0].Status != 429 || responses[1].Err() != nil {
			t.Errorf("cancelled: %+v", responses)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w, responses, took, err := run(t, func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), 10*time.Second)
		}, first)
		if err != nil || took != 0 || len(w.got) != 1 || responses[0].Status != 429 {
			t.Errorf("a deadline before the wait is over: %d requests in %v, %v", len(w.got), took, err)
		}
	})
	// What became of the requests that were sent again is not known then.
	synctest.Test(t, func(t *testing.T) {
		_, responses, _, err := run(t, func() (context.Context, context.CancelFunc) { return t.Context(), func() {} }, first, lost)
		if !errors.Is(err, errConnection) || responses[0].Status != 0 || !errors.Is(responses[0].Err(), errConnection) || responses[1].Err() != nil {
			t.Errorf("a lost connection: %v, %+v", err, responses)
		}
	})
}

// Whatever the answer to a batch is, each request has a response with a status or
// an error, and what the error says is one line.
func FuzzBatch(f *testing.F) {
	f.Add(`{"responses":[{"id":"2","status":200,"headers":{"Content-Type":"image/jpeg"},"body":"AAAA"},{"id":"1","status":429,"headers":{"Retry-After":"1"}}]}`)
	f.Add(`{"responses":[{"id":"1","status":302,"headers":{"location":"https://storage.example/"}},null,{"id":"1","status":204}]}`)
	f.Add(`{"responses":{"id":5}}`)
	f.Add(`{"RESPONSES":[{"ID":"2","Status":424,"headers":[],"body":{"error":{"code":"a\n"}}},{"id":"1","status":503}]}`)
	f.Fuzz(func(t *testing.T, answer string) {
		synctest.Test(t, func(t *testing.T) {
			c, w := clientOf(reply(200, answer))
			responses, err := c.Batch(t.Context(), graph.BatchRequest{Path: "me"}, graph.BatchRequest{Path: "me/drive", DependsOn: []string{"1"}})
			if len(responses) != 2 || len(w.got) > 6 {
				t.Fatalf("%d responses after %d requests: %v", len(responses), len(w.got), err)
			}
			for _, r := range responses {
				if r.Status == 0 && (r.Err() == nil || err == nil) || r.Status != 0 && (r.Status < 200 || r.Status > 599) || r.Header.Get("Location") != "" {
					t.Errorf("%+v, error %v", r, err)
				}
				for _, err := range []error{err, r.Err()} {
					if err != nil && (len(err.Error()) > 2500 || strings.ContainsFunc(err.Error(), unicode.IsControl)) {
						t.Errorf("%q", err)
					}
				}
			}
		})
	})
}
