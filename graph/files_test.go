package graph_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/msauth/graph"
)

func TestCheckName(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, reason string }{
		{"Report.txt", ""},
		{"100% #1 & 'more' + (2) = {3}; ~a^ `b` @c$!,.txt", ""},
		{"測定結果.csv", ""},
		{"Ünïcödé 🎉.png", ""},
		{".hidden", ""},
		{"a.b.", "ends with a period"},
		{"CONS", ""},
		{"COM10", ""},
		{"console.txt", ""},
		{"con.txt", ""},
		{"lock", ""},
		{strings.Repeat("a", 255), ""},
		{strings.Repeat("a", 256), "is longer than 255 characters"},
		{strings.Repeat("🎉", 127), ""},
		{strings.Repeat("🎉", 128), "is longer than 255 characters"},
		{"", "is empty"},
		{" a", "begins or ends with a space"},
		{"a ", "begins or ends with a space"},
		{"a\u3000", "begins or ends with a space"},
		{".", "ends with a period"},
		{"..", "ends with a period"},
		{"a\x00b", "contains a control character"},
		{"a\nb", "contains a control character"},
		{"a\x7fb", "contains a control character"},
		{"a\xffb", "is not UTF-8"},
		{"CON", "is reserved"}, {"prn", "is reserved"}, {"Aux", "is reserved"}, {"NUL", "is reserved"},
		{"COM0", "is reserved"}, {"com9", "is reserved"}, {"LPT1", "is reserved"},
		{".lock", "is reserved"}, {"Desktop.ini", "is reserved"},
		{"~$Report.docx", "begins with ~$"},
		{"~Report", ""},
		{"a_vti_b", "contains _vti_"},
	} {
		err := graph.CheckName(test.name)
		e, _ := errors.AsType[*graph.InvalidError](err)
		if (err != nil) != (test.reason != "") || e != nil && (e.Field != "name" || e.Reason != test.reason) {
			t.Errorf("%q: %v, want %q", test.name, err, test.reason)
		}
	}
	for _, r := range `"*:<>?/\|` {
		if e, ok := errors.AsType[*graph.InvalidError](graph.CheckName("a" + string(r))); !ok || e.Reason != `contains one of " * : < > ? / \ |` {
			t.Errorf("%c: %v", r, e)
		}
	}
}

// A name that is allowed reaches Graph as it is, whatever is in it.
func FuzzCheckName(f *testing.F) {
	for _, s := range []string{"a", "100% #1.txt", "a'b", "..", "ü+ü", "%2e%2e", "a;b=c,d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		var got string
		c := graph.New(&http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			got = strings.TrimPrefix(r.URL.Path, "/v1.0/me/drive/root:/folder/")
			return answerDoc(200, doc{"id": "x"}), nil
		})}, graphBase)
		if graph.CheckName(name) != nil {
			return
		}
		if _, err := c.Files("").Stat(t.Context(), graph.Ref{Path: "folder/" + name}); err != nil || got != name {
			t.Errorf("%q arrived as %q: %v", name, got, err)
		}
	})
}

// asked returns a client whose requests get one answer, and what was asked for.
func asked(t *testing.T, status int, answer any) (*graph.Client, *[]string) {
	var seen []string
	c := graph.New(&http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		body := []byte{}
		if r.Body != nil {
			body, _ = io.ReadAll(r.Body)
		}
		seen = append(seen, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
		return answerDoc(status, answer), nil
	})}, graphBase)
	return c, &seen
}

// What each call asks for, word for word.
func TestFilesAskForWhatTheyShould(t *testing.T) {
	t.Parallel()
	inA, file := graph.Ref{ID: "A!1", Path: "b c/d#e"}, graph.Ref{ID: "F!2"}
	for _, test := range []struct {
		name string
		call func(f *graph.Files) error
		want []string
	}{
		{"Drive", func(f *graph.Files) error { _, err := f.Drive(t.Context()); return err }, []string{"GET /v1.0/me/drive"}},
		{"Stat of the root", func(f *graph.Files) error { _, err := f.Stat(t.Context(), graph.Ref{}); return err }, []string{"GET /v1.0/me/drive/root"}},
		{"Stat", func(f *graph.Files) error { _, err := f.Stat(t.Context(), inA); return err }, []string{"GET /v1.0/me/drive/items/A%211:/b%20c/d%23e"}},
		{"List", func(f *graph.Files) error {
			for _, err := range f.List(t.Context(), inA, graph.Query{Select: []string{"id", "name"}, Top: 5}) {
				return err
			}
			return nil
		}, []string{"GET /v1.0/me/drive/items/A%211:/b%20c/d%23e:/children?$select=id%2Cname&$top=5"}},
		{"Search", func(f *graph.Files) error {
			for _, err := range f.Search(t.Context(), graph.Ref{}, "Ada's a/b 100%") {
				return err
			}
			return nil
		}, []string{"GET /v1.0/me/drive/root/search(q='Ada%27%27s%20a%20b%20100%25')"}},
		{"CreateFolder", func(f *graph.Files) error {
			_, err := f.CreateFolder(t.Context(), graph.Ref{}, "New", graph.Rename)
			return err
		}, []string{`POST /v1.0/me/drive/root/children {"@microsoft.graph.conflictBehavior":"rename","folder":{},"name":"New"}`}},
		{"Rename", func(f *graph.Files) error { _, err := f.Rename(t.Context(), file, "New", graph.Fail); return err },
			[]string{`PATCH /v1.0/me/drive/items/F%212 {"name":"New"}`}},
		{"Rename and replace", func(f *graph.Files) error { _, err := f.Rename(t.Context(), file, "New", graph.Replace); return err },
			[]string{`PATCH /v1.0/me/drive/items/F%212 {"@microsoft.graph.conflictBehavior":"replace","name":"New"}`}},
		{"Move by ID", func(f *graph.Files) error {
			_, err := f.Move(t.Context(), file, graph.Ref{ID: "A!1"}, "", graph.Fail)
			return err
		}, []string{`PATCH /v1.0/me/drive/items/F%212 {"parentReference":{"id":"A!1"}}`}},
		{"Move to the root", func(f *graph.Files) error {
			_, err := f.Move(t.Context(), file, graph.Ref{}, "New", graph.Fail)
			return err
		}, []string{"GET /v1.0/me/drive/root?$select=id%2CparentReference", `PATCH /v1.0/me/drive/items/F%212 {"name":"New","parentReference":{"id":"ID"}}`}},
		{"Delete", func(f *graph.Files) error { return f.Delete(t.Context(), file) }, []string{"DELETE /v1.0/me/drive/items/F%212"}},
		{"DeletePermanently", func(f *graph.Files) error { return f.DeletePermanently(t.Context(), file) }, []string{"POST /v1.0/me/drive/items/F%212/permanentDelete"}},
		{"Restore", func(f *graph.Files) error { _, err := f.Restore(t.Context(), "F!2", nil, ""); return err },
			[]string{"POST /v1.0/me/drive/items/F%212/restore {}"}},
		{"Restore elsewhere", func(f *graph.Files) error {
			_, err := f.Restore(t.Context(), "F!2", &graph.Ref{ID: "A!1"}, "New")
			return err
		}, []string{`POST /v1.0/me/drive/items/F%212/restore {"name":"New","parentReference":{"id":"A!1"}}`}},
		{"CreateLink", func(f *graph.Files) error {
			_, err := f.CreateLink(t.Context(), file, graph.LinkOptions{Type: "edit", Scope: "anonymous", Password: "p", Expires: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)})
			return err
		}, []string{`POST /v1.0/me/drive/items/F%212/createLink {"expirationDateTime":"2027-01-02T03:04:05Z","password":"p","scope":"anonymous","type":"edit"}`}},
		{"Permissions", func(f *graph.Files) error {
			for _, err := range f.Permissions(t.Context(), file) {
				return err
			}
			return nil
		}, []string{"GET /v1.0/me/drive/items/F%212/permissions"}},
		{"DeletePermission", func(f *graph.Files) error { return f.DeletePermission(t.Context(), file, "a/b") }, nil},
		{"Thumbnails", func(f *graph.Files) error { _, err := f.Thumbnails(t.Context(), file); return err }, []string{"GET /v1.0/me/drive/items/F%212/thumbnails"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, seen := asked(t, 200, doc{"id": "ID", "value": []doc{}, "link": doc{"webUrl": "https://1drv.example/x"}})
			if err := test.call(c.Files("")); err != nil && test.want != nil {
				t.Error(err)
			}
			if got, want := strings.Join(*seen, "\n"), strings.Join(test.want, "\n"); got != want {
				t.Errorf("asked for\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// An item is nothing else than what a Ref says, whatever is in it.
func TestRefsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, ref := range []graph.Ref{
		{ID: "a/b"}, {ID: ".."}, {ID: "a?b"}, {ID: "a:b"}, {ID: "a%2fb"}, {ID: "a b"}, {ID: "a\nb"}, {ID: "a#"}, {ID: "ü"}, {ID: strings.Repeat("a", 401)},
		{Path: "a/../b"}, {Path: ".."}, {Path: "./a"}, {Path: "a//b"}, {Path: "a/\nb"}, {Path: `a\b`}, {Path: "a:b"}, {Path: "a/b?c"}, {Path: "//"}, {Path: "https://evil.example"},
		{Path: strings.Repeat("a/", 201) + "a"},
	} {
		c, seen := asked(t, 200, doc{"id": "ID"})
		f := c.Files("")
		for name, call := range map[string]func() error{
			"Stat":         func() error { _, err := f.Stat(t.Context(), ref); return err },
			"Delete":       func() error { return f.Delete(t.Context(), ref) },
			"Rename":       func() error { _, err := f.Rename(t.Context(), ref, "a", graph.Fail); return err },
			"CreateFolder": func() error { _, err := f.CreateFolder(t.Context(), ref, "a", graph.Fail); return err },
			"Download":     func() error { _, err := f.Download(t.Context(), ref, graph.DownloadOptions{}); return err },
			"Thumbnail":    func() error { _, err := f.Thumbnail(t.Context(), ref, "small"); return err },
			"Move":         func() error { _, err := f.Move(t.Context(), graph.Ref{ID: "A"}, ref, "", graph.Fail); return err },
			"Copy":         func() error { _, err := f.Copy(t.Context(), graph.Ref{ID: "A"}, ref, "", graph.Fail); return err },
			"Search": func() error {
				for _, err := range f.Search(t.Context(), ref, "x") {
					return err
				}
				return nil
			},
		} {
			if err := call(); !isInvalid(err, "id") && !isInvalid(err, "path") {
				t.Errorf("%s of %+v: %v", name, ref, err)
			}
		}
		if len(*seen) > 0 {
			t.Errorf("%+v: requests %q", ref, *seen)
		}
	}
}

func TestNamesThatAreRefused(t *testing.T) {
	t.Parallel()
	c, seen := asked(t, 200, doc{"id": "ID"})
	f := c.Files("")
	for name, call := range map[string]func() error{
		"CreateFolder": func() error { _, err := f.CreateFolder(t.Context(), graph.Ref{}, "a:b", graph.Fail); return err },
		"Rename":       func() error { _, err := f.Rename(t.Context(), graph.Ref{ID: "A"}, "", graph.Fail); return err },
		"Move": func() error {
			_, err := f.Move(t.Context(), graph.Ref{ID: "A"}, graph.Ref{ID: "B"}, "a?", graph.Fail)
			return err
		},
		"Restore": func() error { _, err := f.Restore(t.Context(), "A", nil, "NUL"); return err },
	} {
		if err := call(); !isInvalid(err, "name") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{"", " ", "a\x00"} {
		for _, err := range f.Search(t.Context(), graph.Ref{}, text) {
			if !isInvalid(err, "search text") {
				t.Errorf("Search for %q: %v", text, err)
			}
		}
	}
	if len(*seen) > 0 {
		t.Errorf("requests %q", *seen)
	}
}

// A folder that was made is not lost because the drive has not shown it.
func TestCreateFolderWithAnEmptyAnswer(t *testing.T) {
	t.Parallel()
	d := newDrive(t)
	d.put("Documents/New", nil)
	d.before = func(r *http.Request) (*http.Response, error) {
		if r.Method == "POST" {
			return text(201, ""), nil
		}
		return nil, nil
	}
	it, err := d.myFiles().CreateFolder(t.Context(), graph.Ref{Path: "Documents"}, "New", graph.Fail)
	if err != nil || it.Name != "New" {
		t.Errorf("%+v, %v", it, err)
	}
}

func TestPhoto(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		size   int
		answer *http.Response
		path   string
		err    error
	}{
		{0, text(200, "JPEG", "Content-Type", "image/jpeg"), "/v1.0/me/photo/$value", nil},
		{96, text(200, "JPEG", "Content-Type", "image/jpeg"), "/v1.0/me/photos/96x96/$value", nil},
		{0, fault(404, "ImageNotFound"), "/v1.0/me/photo/$value", graph.ErrNoPhoto},
		{0, fault(404, "ErrorItemNotFound"), "/v1.0/me/photo/$value", graph.ErrNoPhoto},
		{0, fault(404, "ConsumerPhotoIsNotSupported"), "/v1.0/me/photo/$value", graph.ErrNoPhoto},
		{0, fault(404, "Request_ResourceNotFound"), "/v1.0/me/photo/$value", fs.ErrNotExist},
		{0, fault(403, "accessDenied"), "/v1.0/me/photo/$value", fs.ErrPermission},
	} {
		var path string
		c := graph.New(&http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			path = r.URL.Path
			return test.answer, nil
		})}, graphBase)
		s, err := c.Photo(t.Context(), "me", test.size)
		if !errors.Is(err, test.err) || path != test.path {
			t.Errorf("%s: %v, want %s: %v", path, err, test.path, test.err)
		}
		if errors.Is(err, graph.ErrNoPhoto) != (test.err == graph.ErrNoPhoto) {
			t.Errorf("%v is ErrNoPhoto", err)
		}
		if err == nil {
			got, _ := io.ReadAll(s)
			if s.Close(); string(got) != "JPEG" || s.ContentType != "image/jpeg" || s.Length != 4 {
				t.Errorf("%q, %+v", got, s)
			}
		}
	}
}

// A thumbnail comes from a storage host, without the token.
func TestThumbnail(t *testing.T) {
	t.Parallel()
	d := newDrive(t)
	d.before = func(r *http.Request) (*http.Response, error) {
		switch r.URL.Path {
		case "/v1.0/me/drive/items/A/thumbnails/0/medium/content":
			return text(302, "", "Location", "https://storage.example/picture"), nil
		case "/picture":
			return text(200, "PNG", "Content-Type", "image/png"), nil
		}
		return nil, nil
	}
	s, err := d.myFiles().Thumbnail(t.Context(), graph.Ref{ID: "A"}, "medium")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got, _ := io.ReadAll(s); string(got) != "PNG" || s.ContentType != "image/png" {
		t.Errorf("%q, %+v", got, s)
	}
	if _, err := d.myFiles().Thumbnail(t.Context(), graph.Ref{ID: "A"}, "../x"); !isInvalid(err, "thumbnail size") {
		t.Errorf("another size: %v", err)
	}
}

// The URL of a thumbnail is a permission: it does not print.
func TestThumbnailsDoNotPrint(t *testing.T) {
	t.Parallel()
	c, _ := asked(t, 200, doc{"value": []doc{{"id": "0", "small": doc{"width": 96, "height": 64, "url": "https://storage.example/t"}}}})
	sets, err := c.Files("").Thumbnails(t.Context(), graph.Ref{ID: "A"})
	if err != nil || len(sets) != 1 || string(sets[0].Small.URL) != "https://storage.example/t" || sets[0].Medium != nil {
		t.Fatalf("%+v, %v", sets, err)
	}
	written, _ := json.Marshal(sets)
	for _, text := range []string{fmt.Sprintf("%+v %#v", sets, *sets[0].Small), string(written)} {
		if strings.Contains(text, "storage.example") {
			t.Errorf("it prints: %s", text)
		}
	}
}
