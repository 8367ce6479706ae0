package graph_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"example.com/msauth"
	"example.com/msauth/graph"
)

// exampleClient is in place of what Session.Client returns.
func exampleClient() *graph.Client {
	d := &drive{files: map[string]*file{}, sessions: map[string]*session{}}
	d.put("Report.txt", []byte("The ground is firm.\n"))
	return graph.New(&http.Client{Transport: withToken{d}}, graphBase).WithStorage(d)
}

type withToken struct{ http.RoundTripper }

func (t withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer token")
	return t.RoundTripper.RoundTrip(r)
}

// A handler that shows who has signed in.
func Example() {
	var auth *msauth.Middleware // from msauth.New

	hello := func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		c := graph.New(s.Client(r.Context()), graph.DefaultBase)
		me, err := graph.Get[graph.User](r.Context(), c, "me", graph.Query{Select: []string{"displayName", "jobTitle"}})
		switch {
		case auth.Challenge(w, r, err): // only the user can help, and is asked
		case err != nil:
			http.Error(w, "Microsoft is not responding.", http.StatusBadGateway)
		default:
			fmt.Fprintf(w, "Hello, %s (%s)", me.DisplayName, me.JobTitle)
		}
	}
	http.Handle("/hello", auth.Require(http.HandlerFunc(hello)))
}

func ExampleFiles_Upload() {
	ctx, c := context.Background(), exampleClient()
	text := "Bread, olive oil\n"
	item, err := c.Files("me/drive").Upload(ctx, graph.Ref{Path: "Lists/Shopping.txt"},
		strings.NewReader(text), int64(len(text)), graph.UploadOptions{Conflict: graph.Replace})
	fmt.Println(item.Name, item.Size, err)

	_, err = c.Files("me/drive").Upload(ctx, graph.Ref{Path: "Lists/Shopping.txt"},
		strings.NewReader(text), int64(len(text)), graph.UploadOptions{})
	fmt.Println(errors.Is(err, fs.ErrExist))
	// Output:
	// Shopping.txt 17 <nil>
	// true
}

func ExampleFiles_Download() {
	ctx, c := context.Background(), exampleClient()
	d, err := c.Files("me/drive").Download(ctx, graph.Ref{Path: "Report.txt"}, graph.DownloadOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	io.Copy(os.Stdout, d)
	// Output: The ground is firm.
}

func ExampleFiles_List() {
	ctx, c := context.Background(), exampleClient()
	for item, err := range c.Files("me/drive").List(ctx, graph.Ref{}, graph.Query{Select: []string{"name", "size"}}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(item.Name, item.Size)
	}
	// Output: Report.txt 20
}

// An upload that goes on after the process was ended: the session is kept in a file
// until then.
func ExampleClient_ResumeUpload() {
	c := exampleClient()
	const size = 12 << 20
	content := bytes.NewReader(make([]byte, size)) // an *os.File
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	kept := filepath.Join(dir, "large.bin.session")

	ctx, kill := context.WithCancel(context.Background()) // stands for the end of the process
	_, err = c.Files("me/drive").Upload(ctx, graph.Ref{Path: "large.bin"}, content, size, graph.UploadOptions{
		Session: func(s graph.UploadSession) error {
			saved, err := s.MarshalBinary()
			if err != nil {
				return err
			}
			return os.WriteFile(kept, saved, 0o600) // as secret as a password
		},
		Progress: func(done, total int64) {
			if done > 0 {
				kill()
			}
		},
	})
	fmt.Println("broken off:", errors.Is(err, context.Canceled))

	// The next process opens the file again.
	content = bytes.NewReader(make([]byte, size))
	saved, err := os.ReadFile(kept)
	if err != nil {
		log.Fatal(err)
	}
	var s graph.UploadSession
	if err := s.UnmarshalBinary(saved); err != nil {
		log.Fatal(err)
	}
	item, err := c.ResumeUpload(context.Background(), s, content, graph.UploadOptions{})
	fmt.Println(item.Name, item.Size, err)
	// Output:
	// broken off: true
	// large.bin 12582912 <nil>
}

// Items of a collection for which there is no type here, and a filter with values
// from outside.
func ExampleQuery() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.URL.Query().Get("$filter")) // what Graph gets
		fmt.Fprint(w, `{"value": [{"subject": "Lunch?"}]}`)
	}))
	defer server.Close()
	c := graph.New(server.Client(), server.URL)

	type message struct{ Subject string }
	name := "O'Neil"
	for m, err := range graph.List[message](context.Background(), c, "me/messages", graph.Query{
		Select: []string{"subject"},
		Filter: "from/emailAddress/name eq ?",
		Values: []any{name},
		Top:    50,
	}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.Subject)
	}
	// Output:
	// from/emailAddress/name eq 'O''Neil'
	// Lunch?
}
