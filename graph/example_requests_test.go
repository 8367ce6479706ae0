package graph_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"

	"example.com/msauth/graph"
)

// A client for the whole program, where the token is one of the program's own:
// in a handler, pass session.Client(ctx) and graph.DefaultBase.
func ExampleNew() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"displayName": "Contoso"}`)
	}))
	defer server.Close()

	c := graph.New(http.DefaultClient, server.URL) // of a proxy, or of another cloud
	organization, err := graph.Get[struct{ DisplayName string }](context.Background(), c, "organization/contoso")
	fmt.Println(organization.DisplayName, err)
	// Output: Contoso <nil>
}

// The profile of whoever has signed in.
func ExampleGet() {
	c, end := signedIn()
	defer end()
	me, err := graph.Get[graph.User](context.Background(), c, "me", graph.Query{Select: []string{"displayName", "userPrincipalName"}})
	fmt.Println(me.DisplayName, err)

	// What there is no type for here. A part that came from outside goes through Path.
	_, err = graph.Get[map[string]any](context.Background(), c, graph.Path("me", "drive", "items", "no such item"))
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	// Output:
	// Mia Müller <nil>
	// true
}

// All items of a collection, over as many pages as it has: here what Graph names
// "children" of a folder.
func ExampleList() {
	c, end := signedIn()
	defer end()
	folders := 0
	for item, err := range graph.List[graph.DriveItem](context.Background(), c, "me/drive/root/children", graph.Query{Top: 2}) {
		if err != nil {
			log.Fatal(err) // the last that comes
		}
		if item.Folder != nil {
			folders++
		}
	}
	fmt.Println(folders > 0)
	// Output: true
}

// A resource is made, changed and deleted.
func ExamplePost() {
	ctx := context.Background()
	c, end := signedIn()
	defer end()

	folder, err := graph.Post[graph.DriveItem](ctx, c, "me/drive/root/children", map[string]any{"name": "2027", "folder": struct{}{}})
	if err != nil {
		log.Fatal(err)
	}
	folder, err = graph.Patch[graph.DriveItem](ctx, c, graph.Path("me", "drive", "items", folder.ID), map[string]any{"name": "Plans for 2027"})
	fmt.Println(folder.Name, err)
	err = c.Delete(ctx, graph.Path("me", "drive", "items", folder.ID))
	fmt.Println(err)
	// Output:
	// Plans for 2027 <nil>
	// <nil>
}

// Each segment is escaped: what came from outside cannot lead to another resource.
func ExamplePath() {
	fmt.Println(graph.Path("users", "ada@contoso.example", "drive", "items", "1/../../me?x"))
	// Output: users/ada@contoso.example/drive/items/1%2F..%2F..%2Fme%3Fx
}

// Why Graph refused a call, for a log and for a decision.
func ExampleError() {
	c, end := signedIn()
	defer end()
	_, err := c.Files("me/drive").Stat(context.Background(), graph.Ref{Path: "No such file.txt"})
	if failure, ok := errors.AsType[*graph.Error](err); ok {
		fmt.Println(failure.Status, failure.HasCode("itemNotFound"), failure.RequestID != "")
	}
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	// Output:
	// 404 true true
	// true
}

// A picture of the person, if they have one.
func ExampleClient_Photo() {
	c, end := signedIn()
	defer end()
	photo := func(w http.ResponseWriter, r *http.Request) {
		p, err := c.Photo(r.Context(), "me", 96)
		if errors.Is(err, graph.ErrNoPhoto) {
			http.Redirect(w, r, "/static/nobody.svg", http.StatusSeeOther)
			return
		}
		if err != nil {
			http.Error(w, "no picture right now", http.StatusBadGateway)
			return
		}
		defer p.Close()
		w.Header().Set("Content-Type", p.ContentType)
		io.Copy(w, p)
	}
	w := httptest.NewRecorder()
	photo(w, httptest.NewRequest("GET", "/photo", nil))
	fmt.Println(w.Code, w.Header().Get("Content-Type"), w.Body.Len() > 0)
	// Output: 200 image/jpeg true
}
