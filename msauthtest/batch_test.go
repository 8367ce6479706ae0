package msauthtest_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
)

type batchAnswer struct {
	ID      string
	Status  int
	Headers map[string]string
	Body    json.RawMessage
}

// batch sends parts and returns the answers by id.
func (a *app) batch(token string, parts ...string) (answers map[string]batchAnswer, order []string) {
	a.t.Helper()
	res, text := a.send("POST", a.ms.URL+"/v1.0/$batch", token, `{"requests":[`+strings.Join(parts, ",")+`]}`, "Content-Type", "application/json")
	var doc struct{ Responses []batchAnswer }
	if err := json.Unmarshal([]byte(text), &doc); err != nil || res.StatusCode != 200 {
		a.t.Fatalf("$batch: %d %s", res.StatusCode, text)
	}
	answers = map[string]batchAnswer{}
	for _, answer := range doc.Responses {
		answers[answer.ID] = answer
		order = append(order, answer.ID)
	}
	return answers, order
}

// into decodes the body of an answer with a status.
func (b batchAnswer) into(t *testing.T, status int, doc any) {
	t.Helper()
	if b.Status != status {
		t.Fatalf("part %s: %d %s, want %d", b.ID, b.Status, b.Body, status)
	}
	if err := json.Unmarshal(b.Body, doc); err != nil {
		t.Fatalf("part %s: %v", b.ID, err)
	}
}

func (b batchAnswer) code(t *testing.T) string {
	t.Helper()
	var doc struct{ Error struct{ Code string } }
	b.into(t, b.Status, &doc)
	return doc.Error.Code
}

func TestBatch(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Ada)
	file := a.do(200, "GET", drive+"/root:/Measurements.csv", token, "")
	a.ms.ResetCalls()
	content := base64.StdEncoding.EncodeToString([]byte("sent in a batch"))
	answers, order := a.batch(token,
		`{"id":"1","method":"GET","url":"/me/drive/root:/Documents?$select=name"}`,
		`{"id":"2","method":"POST","url":"me/drive/root/children","headers":{"Content-Type":"application/json"},"body":{"name":"Made","folder":{}}}`,
		`{"id":"3","method":"PUT","url":"/me/drive/root:/Made/a.txt:/content","headers":{"content-type":"text/plain"},"body":"`+content+`","dependsOn":["2"]}`,
		`{"id":"4","method":"GET","url":"/me/photo/$value"}`,
		`{"id":"5","method":"GET","url":"/me/drive/items/`+file.ID+`/content"}`,
		`{"id":"6","method":"DELETE","url":"/me/drive/root:/Shopping%20list.txt"}`,
		`{"id":"7","method":"GET","url":"/me/messages"}`,
		`{"id":"8","method":"GET","url":"/me/drive/root/search(q='made')"}`,
	)
	if len(order) != 8 || slices.IsSorted(order) {
		t.Errorf("the answers are in the order %q", order)
	}
	var it item
	if answers["1"].into(t, 200, &it); it.Name != "Documents" || it.ID != "" {
		t.Errorf("1: %+v", it)
	}
	answers["2"].into(t, 201, &it)
	if answers["3"].into(t, 201, &it); it.Name != "a.txt" {
		t.Errorf("3: %+v", it)
	}
	if got := a.text(drive, it.ID, token); got != "sent in a batch" {
		t.Errorf("3: content %q", got)
	}
	var photo []byte
	if answers["4"].into(t, 200, &photo); answers["4"].Headers["Content-Type"] != "image/jpeg" || http.DetectContentType(photo) != "image/jpeg" {
		t.Errorf("4: %v", answers["4"].Headers)
	}
	where, _ := url.Parse(answers["5"].Headers["Location"])
	if answers["5"].Status != 302 || where.Hostname() != "localhost" || answers["5"].Body != nil {
		t.Errorf("5: %+v", answers["5"])
	}
	if answers["6"].Status != 204 || answers["6"].Body != nil {
		t.Errorf("6: %+v", answers["6"])
	}
	if answers["7"].Status != 404 || answers["7"].code(t) != "Request_ResourceNotFound" {
		t.Errorf("7: %+v", answers["7"])
	}
	if n, parts := a.ms.Count(msauthtest.Batch), a.ms.Count(msauthtest.Graph)-1; n != 1 || parts != 8 { // one for its content
		t.Errorf("%d batches, %d parts", n, parts)
	}
}

// Each part can fail as a request of its own would.
func TestBatchOfFailures(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	_, token := a.writer(msauthtest.Ada)
	ms.Set(func(b *msauthtest.Behavior) {
		b.Fail[msauthtest.Graph] = []msauthtest.Failure{{}, {Status: 429, Header: http.Header{"Retry-After": {"7"}}}, {}, {Status: 503}}
	})
	get := func(id, dependsOn string) string {
		return `{"id":"` + id + `","method":"GET","url":"/me/drive/root","dependsOn":[` + dependsOn + `]}`
	}
	answers, _ := a.batch(token, get("a", ""), get("b", ""), get("c", ""), get("d", ""), get("e", `"B"`), get("f", `"a"`), get("g", `"e","a"`))
	for id, want := range map[string]int{"a": 200, "b": 429, "c": 200, "d": 503, "e": 424, "f": 200, "g": 424} {
		if answers[id].Status != want {
			t.Errorf("%s: %d %s, want %d", id, answers[id].Status, answers[id].Body, want)
		}
	}
	if answers["b"].Headers["Retry-After"] != "7" || answers["b"].code(t) != "activityLimitReached" {
		t.Errorf("b: %+v", answers["b"])
	}
	ms.Set(func(b *msauthtest.Behavior) { b.Fail[msauthtest.Batch] = []msauthtest.Failure{{Status: 503}} })
	a.refused(503, "serviceNotAvailable", "POST", ms.URL+"/v1.0/$batch", token, "{}")

	// The scopes of the token count for each part.
	reader := a.signIn(msauthtest.Bruno, "scope", "openid User.Read Files.Read").AccessToken
	answers, _ = a.batch(reader, get("a", ""), `{"id":"b","method":"DELETE","url":"/me/drive/root:/Measurements.csv"}`)
	if answers["a"].Status != 200 || answers["b"].Status != 403 {
		t.Errorf("a reader: %+v", answers)
	}
}

func TestBatchesThatAreRefused(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	_, token := a.writer(msauthtest.Ada)
	address := a.ms.URL + "/v1.0/$batch"
	part := func(id, target, more string) string {
		return fmt.Sprintf(`{"id":%q,"method":"GET","url":%q%s}`, id, target, more)
	}
	var many []string
	for i := range 21 {
		many = append(many, part(fmt.Sprint(i), "/me", ""))
	}
	for name, parts := range map[string][]string{
		"none": nil, "21": many,
		"the same id":           {part("a", "/me", ""), part("A", "/me", "")},
		"no id":                 {part("", "/me", "")},
		"no url":                {part("a", "", "")},
		"another host":          {part("a", "https://graph.microsoft.com/v1.0/me", "")},
		"a host without scheme": {part("a", "//graph.microsoft.com/v1.0/me", "")},
		"a batch in a batch":    {part("a", "/$batch", "")},
		"an unknown id":         {part("a", "/me", `,"dependsOn":["b"]`)},
		"a circle":              {part("a", "/me", `,"dependsOn":["b"]`), part("b", "/me", `,"dependsOn":["a"]`)},
	} {
		a.t.Logf("%s", name)
		a.refused(400, "BadRequest", "POST", address, token, `{"requests":[`+strings.Join(parts, ",")+`]}`)
	}
	a.refused(400, "BadRequest", "POST", address, token, `{`)
	a.refused(405, "notSupported", "GET", address, token, "")
	a.refused(401, "InvalidAuthenticationToken", "POST", address, "", "{}")
	a.refused(401, "InvalidAuthenticationToken", "POST", address, "none", "{}")

	answers, _ := a.batch(token,
		`{"id":"a","method":"PUT","url":"/me/drive/root:/x:/content","body":"eA=="}`,
		`{"id":"b","method":"PUT","url":"/me/drive/root:/x:/content","headers":{"Content-Type":"text/plain"},"body":"no base64"}`,
		`{"id":"c","method":"A B","url":"/me"}`)
	for id, answer := range answers {
		if answer.Status != 400 {
			t.Errorf("%s: %+v", id, answer)
		}
	}
	if len(answers) != 3 {
		t.Errorf("%d answers", len(answers))
	}
}
