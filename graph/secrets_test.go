package graph_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/msauth/graph"
)

// net/http writes a Location that it cannot parse into its error.
func TestNoLocationInAnError(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"https://storage.example/%zz?tempauth=SECRET", "https://storage.example:port/?tempauth=SECRET"} {
		for _, from := range []string{"graph.example", "storage.example"} {
			for _, status := range []int{301, 302, 303, 307, 308} {
				synctest.Test(t, func(t *testing.T) {
					d := newDrive(t)
					d.put("a", []byte("hello"))
					d.before = func(r *http.Request) (*http.Response, error) {
						if r.URL.Host == from {
							return text(status, "", "Location", bad), nil
						}
						return nil, nil
					}
					_, err := d.myFiles().Download(t.Context(), graph.Ref{Path: "a"}, graph.DownloadOptions{})
					if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "SECRET") {
						t.Errorf("%s, %d: %v", from, status, err)
					}
					_, err = d.client().Photo(t.Context(), "me", 0)
					if err == nil || strings.Contains(err.Error(), "SECRET") {
						t.Errorf("%s, %d: %v", from, status, err)
					}
				})
			}
		}
	}
}

// A host, or a proxy in front of it, may repeat the URL in its message.
func TestNoURLInAMessage(t *testing.T) {
	t.Parallel()
	for _, form := range []func(*http.Request) string{
		func(r *http.Request) string { return r.URL.String() },
		func(r *http.Request) string { return r.URL.RequestURI() },
		func(r *http.Request) string { return r.URL.RawQuery },
	} {
		host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.URL.Scheme, r.URL.Host = "http", r.Host
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"error":{"code":"invalidRequest","message":"I do not like %s, sorry"}}`, form(r))
		}))
		defer host.Close()
		c := graph.New(nil, "http://localhost/v1.0")
		op, err := c.Operation(graph.SecretURL(host.URL + "/monitor/0123456789?tempauth=SECRET"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := op.Status(t.Context()); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%v", err)
		}
	}
}

func TestNoSharingLinkInTheErrorOfCreateLink(t *testing.T) {
	t.Parallel()
	c, _ := clientOf(reply(200, `{"id":"1"}`))
	_, err := c.Files("shares/u!SECRET").CreateLink(t.Context(), graph.Ref{}, graph.LinkOptions{})
	if err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("%v", err)
	}
}

func TestTheItemOfACopyIsAnID(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{
		"": "", "/": "", "https://storage.example/": "", "https://storage.example/v2/drive/items/01AB!2?tempauth=SECRET#x": "01AB!2",
		"https://storage.example/items/..": "", "https://storage.example/items('01AB')": "",
	} {
		d := newDrive(t)
		d.before = func(r *http.Request) (*http.Response, error) {
			res := text(303, "")
			if location != "" {
				res.Header.Set("Location", location)
			}
			return res, nil
		}
		op, err := d.client().Operation("https://storage.example/monitor")
		if err != nil {
			t.Fatal(err)
		}
		if s, err := op.Status(t.Context()); err != nil || !s.Done || s.ItemID != want {
			t.Errorf("%q: %+v, %v", location, s, err)
		}
	}
}

// Work accounts have upload URLs whose last name begins codes too.
func TestACodeIsNotHidden(t *testing.T) {
	t.Parallel()
	c, _ := clientOf(reply(500, ""))
	host := roundTripper(func(*http.Request) (*http.Response, error) {
		return answerDoc(400, map[string]any{"error": map[string]any{"code": "invalidRequest", "message": "No.", "innererror": map[string]any{"code": "uploadSessionFailed"}}}), nil
	})
	_, err := c.WithStorage(host).UploadStatus(t.Context(), graph.UploadSession{URL: "https://contoso.example/items/1/uploadSession?guid=1&tempauth=SECRET", Size: 1})
	e, ok := errors.AsType[*graph.Error](err)
	if !ok || e.Code != "invalidRequest" || e.Message != "No." || !e.HasCode("uploadSessionFailed") {
		t.Errorf("%v", err)
	}
}

// It must not look as if nothing had happened.
func TestACopyThatCannotBeWatched(t *testing.T) {
	t.Parallel()
	c, _ := clientOf(reply(200, `{"id":"1"}`), reply(202, ""))
	_, err := c.Files("").Copy(t.Context(), graph.Ref{Path: "a"}, graph.Ref{}, "", graph.Fail)
	wantError(t, err, 202, "")
}
