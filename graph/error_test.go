package graph_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"example.com/msauth/graph"
)

func TestErrors(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 26, 13, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name   string
		body   string
		header []string
		want   graph.Error // with Op and Status left out
	}{
		{"nothing", "", nil, graph.Error{}},
		{"a code", `{"error":{"code":"itemNotFound","message":"Not there"}}`, nil, graph.Error{Code: "itemNotFound", Message: "Not there"}},
		{"as Graph", `{"error":{"code":"a","message":"b","innerError":{"date":"2026-11-26T13:00:00","request-id":"r","client-request-id":"c"}}}`, nil,
			graph.Error{Code: "a", Message: "b", RequestID: "r", ClientRequestID: "c", Date: at}},
		{"as OneDrive", `{"error":{"code":"invalidRange","message":"b","innererror":{"code":"fragmentOverlap"}}}`, nil,
			graph.Error{Code: "invalidRange", Message: "b", InnerCodes: []string{"fragmentOverlap"}}},
		{"nested in both spellings", `{"error":{"code":"a","innererror":{"code":"b","innerError":{"code":"c","innererror":{"message":"x"}}}}}`, nil,
			graph.Error{Code: "a", InnerCodes: []string{"b", "c"}}},
		{"nested deep", `{"error":{"code":"a"` + strings.Repeat(`,"innerError":{"code":"x"`, 500) + strings.Repeat("}", 502), nil,
			graph.Error{Code: "a", InnerCodes: []string{"x", "x", "x", "x", "x", "x", "x", "x"}}},
		{"the header first", `{"error":{"code":"a","innerError":{"request-id":"r"}}}`, []string{"request-id", "R", "client-request-id", "C"},
			graph.Error{Code: "a", RequestID: "R", ClientRequestID: "C"}},
		{"a date", "", []string{"Date", at.Format(http.TimeFormat)}, graph.Error{Date: at}},
		{"a wait", "", []string{"Retry-After", "7200"}, graph.Error{RetryAfter: time.Hour}},
		{"a page", "<html>Our services aren't available right now</html>", []string{"Content-Type", "text/html"}, graph.Error{}},
		{"cut off", `{"error":{"code":"a`, nil, graph.Error{}},
		{"not JSON", "itemNotFound", nil, graph.Error{}},
		{"a text", `"itemNotFound"`, nil, graph.Error{}},
		{"a list", `[{"error":{"code":"a"}}]`, nil, graph.Error{}},
		{"null", `{"error":null}`, nil, graph.Error{}},
		{"of OAuth", `{"error":"invalid_request","error_description":"x"}`, nil, graph.Error{}},
		{"a number for a code", `{"error":{"code":404,"message":"b"}}`, nil, graph.Error{Message: "b"}},
		{"a list for a message", `{"error":{"code":"a","message":["b"],"innerError":{"code":"c"}}}`, nil, graph.Error{Code: "a", InnerCodes: []string{"c"}}},
		{"a text for an inner error", `{"error":{"code":"a","innerError":"c"}}`, nil, graph.Error{Code: "a"}},
		{"several lines", `{"error":{"code":"a\nb","message":"c\r\nd\u202e\u0000e"}}`, nil, graph.Error{Code: "a b", Message: "c de"}},
		{"1 MB", `{"error":{"code":"a","message":"` + strings.Repeat("x", 1<<20) + `"}}`, nil, graph.Error{}},
		{"a long text", `{"error":{"code":"a","message":"` + strings.Repeat("ü", 1000) + `"}}`, nil, graph.Error{Code: "a", Message: strings.Repeat("ü", 250) + "..."}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, _ := clientOf(reply(418, test.body, test.header...))
			_, err := graph.Get[graph.User](t.Context(), c, "me/x?secret=1")
			e, ok := err.(*graph.Error)
			if !ok {
				t.Fatalf("%T %v", err, err)
			}
			want := test.want
			if e.Op != "GET /me/x" || e.Status != 418 || e.Code != want.Code || !slices.Equal(e.InnerCodes, want.InnerCodes) || e.Message != want.Message ||
				e.RequestID != want.RequestID || e.ClientRequestID != want.ClientRequestID || !e.Date.Equal(want.Date) || e.RetryAfter != want.RetryAfter || e.Err != nil {
				t.Errorf("%+v, want %+v", e, want)
			}
		})
	}
}

func TestErrorTexts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want string
	}{
		{&graph.Error{Op: "GET /me", Status: 404}, "graph: GET /me: HTTP status 404"},
		{&graph.Error{Op: "GET /me", Status: 404, Code: "a", InnerCodes: []string{"b", "c"}, Message: "Not there", RequestID: "r"},
			"graph: GET /me: HTTP status 404, a, b, c: Not there (request r)"},
		{&graph.Error{Op: "GET /me", Status: 200, Err: io.ErrUnexpectedEOF}, "graph: GET /me: HTTP status 200: unexpected EOF"},
		{&graph.InvalidError{Field: "path", Value: "a\nb", Reason: "is bad"}, `graph: path "a\nb" is bad`},
		{&graph.InvalidError{Field: "link", Reason: "is bad"}, "graph: link is bad"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

func TestErrorsThatOtherPackagesKnow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  graph.Error
		want []error
	}{
		{graph.Error{Status: 404}, []error{fs.ErrNotExist}},
		{graph.Error{Status: 410}, []error{fs.ErrNotExist}},
		{graph.Error{Status: 403}, []error{fs.ErrPermission}},
		{graph.Error{Status: 409, Code: "NameAlreadyExists"}, []error{fs.ErrExist}},
		{graph.Error{Status: 409, Code: "x", InnerCodes: []string{"nameAlreadyExists"}}, []error{fs.ErrExist}},
		{graph.Error{Status: 409, Code: "conflict"}, nil},
		{graph.Error{Status: 401}, nil},
		{graph.Error{Status: 200, Err: io.ErrUnexpectedEOF}, []error{io.ErrUnexpectedEOF}},
	} {
		err := fmt.Errorf("x: %w", &test.err)
		for _, target := range []error{fs.ErrNotExist, fs.ErrPermission, fs.ErrExist, io.ErrUnexpectedEOF, graph.ErrResync} {
			if got := errors.Is(err, target); got != slices.Contains(test.want, target) {
				t.Errorf("%v is %q: %v", err, target, got)
			}
		}
	}
}

// nil and an empty list are different answers to the question who can help.
func TestWWWAuthenticate(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status int
		header []string
		want   []string
	}{
		{401, []string{"WWW-Authenticate", `Bearer realm=""`, "WWW-Authenticate", "Negotiate"}, []string{`Bearer realm=""`, "Negotiate"}},
		{401, nil, []string{}},
		{403, []string{"WWW-Authenticate", "Bearer"}, nil},
		{404, nil, nil},
	} {
		c, _ := clientOf(reply(test.status, "", test.header...))
		_, err := graph.Get[graph.User](t.Context(), c, "me")
		got := wantError(t, err, test.status, "").WWWAuthenticate()
		if !slices.Equal(got, test.want) || (got == nil) != (test.want == nil) {
			t.Errorf("%d: %#v, want %#v", test.status, got, test.want)
		}
		if len(got) > 0 {
			got[0] = "changed"
			if again := wantError(t, err, test.status, "").WWWAuthenticate(); again[0] == "changed" {
				t.Error("the error can be changed from outside")
			}
		}
	}
}

// Whatever an answer is, the error is one short line.
func FuzzError(f *testing.F) {
	f.Add(404, "5", `Bearer error="x"`, `{"error":{"code":"a","message":"b","innerError":{"date":"2026-11-26T13:00:00","request-id":"r"}}}`)
	f.Add(503, "Thu, 26 Nov 2026 13:00:00 GMT", "", "<html>")
	f.Add(200, "-1", "", `{"value":`)
	f.Add(401, "1e400", "Bearer\r\nX", `{"error":{"innererror":{"innererror":{"code":5}}}}`)
	f.Fuzz(func(t *testing.T, status int, wait, challenge, body string) {
		if status < 200 || status > 599 {
			status = 500
		}
		answer := func(s sent) *http.Response {
			res := reply(status, body)(s)
			res.Header["Retry-After"], res.Header["Www-Authenticate"], res.Header["Request-Id"] = []string{wait}, []string{challenge}, []string{wait}
			return res
		}
		synctest.Test(t, func(t *testing.T) {
			c, _ := clientOf(answer)
			_, err := graph.Get[map[string]any](t.Context(), c, "me")
			if e, ok := err.(*graph.Error); err != nil && (!ok || e.Status != status || e.RetryAfter < 0 || e.RetryAfter > time.Hour || len(e.InnerCodes) > 8) {
				t.Errorf("%#v", err)
			}
			if err != nil && (len(err.Error()) > 2500 || strings.ContainsFunc(err.Error(), unicode.IsControl)) {
				t.Errorf("%q", err)
			}
		})
	})
}

func TestAnswersThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		raw  string // the answer, after "HTTP/1.1 "
		want error  // in the chain, nil for any
		text string
	}{
		{"half a body", "200 OK\r\nContent-Length: 100\r\n\r\n{\"id\":", io.ErrUnexpectedEOF, "unexpected EOF"},
		{"half a chunk", "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\n{\"id\":", io.ErrUnexpectedEOF, "unexpected EOF"},
		{"no last chunk", "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", io.ErrUnexpectedEOF, "unexpected EOF"},
		{"half a document", "200 OK\r\nContent-Length: 6\r\n\r\n{\"id\":", nil, "unexpected end of JSON input"},
		{"an empty one", "200 OK\r\nContent-Length: 0\r\n\r\n", nil, "the answer is empty"},
		{"white space", "200 OK\r\nContent-Length: 2\r\n\r\n\r\n", nil, "the answer is empty"},
		{"201 and nothing", "201 Created\r\nContent-Length: 0\r\n\r\n", nil, "the answer is empty"},
		{"a page", "200 OK\r\nContent-Length: 6\r\n\r\n<html>", nil, "invalid character '<'"},
		{"another type", "200 OK\r\nContent-Length: 8\r\n\r\n{\"id\":5}", nil, "cannot unmarshal number"},
		{"two documents", "200 OK\r\nContent-Length: 4\r\n\r\n{}{}", nil, "after top-level value"},
		{"an absurd length", "200 OK\r\nContent-Length: 9000000000000\r\n\r\n{}", nil, "larger than 8 MiB"},
		{"a redirect", "302 Found\r\nLocation: https://evil.example/?secret\r\nContent-Length: 0\r\n\r\n", nil, "HTTP status 302"},
		{"not modified", "304 Not Modified\r\n\r\n", nil, "HTTP status 304"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := graph.New(nil, "http://"+rawServer(t, "HTTP/1.1 "+test.raw)+"/v1.0")
			user, err := graph.Get[graph.User](t.Context(), c, "me")
			e, ok := errors.AsType[*graph.Error](err)
			if !ok || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "secret") {
				t.Fatalf("%v, want %q", err, test.text)
			}
			if user.ID != "" || e.Status < 300 && e.Err == nil {
				t.Errorf("%+v, %+v", user, e)
			}
		})
	}
}

// rawServer answers every connection with a text, and closes it.
func rawServer(t *testing.T, answer string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Read(make([]byte, 4096))
			io.WriteString(conn, answer)
			conn.Close()
		}
	}()
	return listener.Addr().String()
}

func TestLargeDocuments(t *testing.T) {
	t.Parallel()
	const most = 8 << 20
	for _, size := range []int{most, most + 1} {
		for _, length := range []int64{int64(size), -1} { // known in advance, or not
			c, _ := clientOf(func(sent) *http.Response {
				body := io.NopCloser(strings.NewReader(strings.Repeat("x", size)))
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: body, ContentLength: length}
			})
			// Documents that are read take seconds with the race detector.
			_, err := graph.Get[struct{}](t.Context(), c, "x")
			if tooLarge := err != nil && strings.Contains(err.Error(), "the answer is larger than 8 MiB"); tooLarge != (size > most) {
				t.Errorf("%d bytes: %v", size, err)
			}
		}
	}
	body := &endless{}
	for _, status := range []int{200, 400} {
		c, _ := clientOf(func(sent) *http.Response {
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: body, ContentLength: -1}
		})
		if _, err := graph.Get[string](t.Context(), c, "x"); err == nil || body.read > 24<<20 {
			t.Errorf("status %d without end: %v after %d bytes", status, err, body.read)
		}
	}
}

func TestAnswersWithoutContent(t *testing.T) {
	t.Parallel()
	for _, status := range []int{202, 204} {
		c, w := clientOf(reply(status, ""))
		user, err := graph.Post[*graph.User](t.Context(), c, "me/action", nil)
		if err != nil || user != nil {
			t.Errorf("%d: %v, %v", status, user, err)
		}
		if err := c.Delete(t.Context(), "me/x"); err != nil {
			t.Errorf("%d: %v", status, err)
		}
		if s := w.got[0]; s.body != "" || s.header.Get("Content-Type") != "" {
			t.Errorf("sent %+v", s)
		}
	}
	for _, body := range []string{"", "{}", "<html>", `{"value":`} {
		c, _ := clientOf(reply(200, body))
		if _, err := graph.Patch[struct{}](t.Context(), c, "me", struct{}{}); err != nil {
			t.Errorf("%q: %v", body, err)
		}
	}
	c, _ := clientOf(reply(200, ""))
	if _, err := graph.Post[struct{}](t.Context(), c, "me", make(chan int)); err == nil {
		t.Error("a channel as a body")
	} else {
		wantInvalid(t, err, "body", "cannot be written as JSON")
	}
}

// A sharing link is a permission, and a delta token is long.
func TestErrorsDoNotHaveAllOfThePath(t *testing.T) {
	t.Parallel()
	c, _ := clientOf(reply(404, ""))
	for path, want := range map[string]string{
		"shares/u!secret/driveItem":      "graph: GET /shares/[hidden]/driveItem: HTTP status 404",
		"/Shares/s!secret?x":             "graph: GET /Shares/[hidden]: HTTP status 404",
		"shares/u!secret/":               `graph: path "shares/[hidden]/" has a segment that is empty, "." or ".."`,
		base + "/shares/u!secret":        "graph: GET /shares/[hidden]: HTTP status 404",
		"me/drive/root:/shares/plan.txt": "graph: GET /me/drive/root:/shares/plan.txt: HTTP status 404",
		strings.Repeat("a", 400):         "graph: GET /" + strings.Repeat("a", 295) + "...: HTTP status 404",
	} {
		if _, err := graph.Get[struct{}](t.Context(), c, path); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
	responses, err := c.Batch(t.Context(), graph.BatchRequest{Path: "shares/u!secret"})
	if err == nil || strings.Contains(fmt.Sprintf("%v %+v", err, responses), "secret") {
		t.Errorf("%v, %+v", err, responses)
	}
}

// What is known of a connection's failure does not include the URL.
func TestConnectionErrors(t *testing.T) {
	t.Parallel()
	c, _ := clientOf(lost)
	_, err := graph.Get[graph.User](t.Context(), c, "me?x=secret")
	if !errors.Is(err, errConnection) || err.Error() != "graph: GET /me: the connection is lost" {
		t.Errorf("%v", err)
	}
	cause := errors.New("the page was closed")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err = graph.Get[graph.User](ctx, c, "me"); !errors.Is(err, cause) {
		t.Errorf("%v, want the cause", err)
	}
}

func TestSecretURLsDoNotPrint(t *testing.T) {
	t.Parallel()
	const secret = "https://storage.example/?tempauth=abc"
	var item graph.DriveItem
	if err := json.Unmarshal([]byte(`{"thumbnails":[{"small":{"url":"`+secret+`"}}]}`), &item); err != nil {
		t.Fatal(err)
	}
	thumbnail := item.Thumbnails[0].Small
	if string(thumbnail.URL) != secret {
		t.Fatalf("read %q", string(thumbnail.URL))
	}
	var log strings.Builder
	for _, logger := range []*slog.Logger{slog.New(slog.NewJSONHandler(&log, nil)), slog.New(slog.NewTextHandler(&log, nil))} {
		logger.Info("x", "url", thumbnail.URL, "all", thumbnail, "item", item)
	}
	document, err := json.Marshal(item)
	if err != nil {
		t.Fatal(err)
	}
	all := log.String() + string(document) + fmt.Sprint(errors.New(thumbnail.URL.String()))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%10s"} {
		all += fmt.Sprintf(verb, thumbnail.URL) + fmt.Sprintf(verb, &thumbnail.URL) + fmt.Sprintf(verb, *thumbnail) + fmt.Sprintf(verb, []graph.SecretURL{thumbnail.URL})
	}
	if strings.Contains(all, "tempauth") || strings.Contains(all, fmt.Sprintf("%x", "tempauth")) || !strings.Contains(all, "[hidden]") {
		t.Error(all)
	}
}
