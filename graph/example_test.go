package graph_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"

	"example.com/msauth"
	"example.com/msauth/graph"
)

// client is in place of what Session.Client returns.
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
		case auth.Challenge(w, r, err): // only the person can help, and is asked
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

// An upload that goes on after the process was ended: the session is kept in a
// file until then.
func ExampleClient_ResumeUpload() {
	ctx, c := context.Background(), exampleClient()
	file, err := os.Open("large.bin")
	if err != nil {
		return
	}
	defer file.Close()
	if saved, err := os.ReadFile("large.bin.session"); err == nil {
		var s graph.UploadSession
		if err := s.UnmarshalBinary(saved); err == nil {
			item, err := c.ResumeUpload(ctx, s, file, graph.UploadOptions{})
			fmt.Println(item.Name, err)
			return
		}
	}
	info, err := file.Stat()
	if err != nil {
		return
	}
	item, err := c.Files("me/drive").Upload(ctx, graph.Ref{Path: "large.bin"}, file, info.Size(), graph.UploadOptions{
		Session: func(s graph.UploadSession) error {
			saved, err := s.MarshalBinary()
			if err != nil {
				return err
			}
			return os.WriteFile("large.bin.session", saved, 0o600) // as secret as a password
		},
	})
	fmt.Println(item.Name, err)
}

// Items of a collection for which there is no type here, and a filter with values
// from outside.
func ExampleQuery() {
	ctx, c := context.Background(), exampleClient()
	type message struct{ Subject string }
	name := "O'Neil"
	for m, err := range graph.List[message](ctx, c, "me/messages", graph.Query{
		Select: []string{"subject"},
		Filter: "from/emailAddress/name eq ?",
		Values: []any{name},
		Top:    50,
	}) {
		if err != nil {
			break
		}
		fmt.Println(m.Subject)
	}
}
