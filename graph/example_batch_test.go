package graph_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"example.com/msauth/graph"
)

// exampleServer stands in for Graph.
func exampleServer() *httptest.Server {
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v1.0/$batch":
			fmt.Fprint(w, `{"responses":[
				{"id":"2","status":404,"body":{"error":{"code":"itemNotFound","message":"The resource could not be found."}}},
				{"id":"1","status":200,"body":{"displayName":"Ada Lovelace"}}]}`)
		case r.URL.Query().Get("token") == "old":
			w.Header().Set("Location", server.URL+"/v1.0/me/drive/root/delta?token=fresh")
			w.WriteHeader(http.StatusGone)
		default:
			fmt.Fprintf(w, `{"value":[{"id":"1","name":"a.txt"},{"id":"2","deleted":{}}],"@odata.deltaLink":"%s/v1.0/me/drive/root/delta?token=new"}`, server.URL)
		}
	}))
	return server
}

func ExampleClient_Batch() {
	server := exampleServer()
	defer server.Close()
	c := graph.New(server.Client(), server.URL+"/v1.0") // usually session.Client(ctx) and graph.DefaultBase

	responses, err := c.Batch(context.Background(),
		graph.BatchRequest{Path: "me", Query: graph.Query{Select: []string{"displayName"}}},
		graph.BatchRequest{Path: "me/manager"},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	me, err := graph.Decode[graph.User](responses[0])
	fmt.Println(me.DisplayName, err)
	fmt.Println(responses[1].Err())
	// Output:
	// Ada Lovelace <nil>
	// graph: GET /me/manager: HTTP status 404, itemNotFound: The resource could not be found.
}

func ExampleDelta() {
	server := exampleServer()
	defer server.Close()
	c := graph.New(server.Client(), server.URL+"/v1.0")
	saved := server.URL + "/v1.0/me/drive/root/delta?token=old" // what Link returned some time ago

	changes := graph.Delta[graph.DriveItem](c, cmp.Or(saved, "me/drive/root/delta"))
	read := func() error {
		for item, err := range changes.All(context.Background()) {
			switch {
			case err != nil:
				return err
			case item.Deleted != nil:
				fmt.Println("deleted:", item.ID)
			default:
				fmt.Println("new or changed:", item.Name)
			}
		}
		return nil
	}
	err := read()
	if errors.Is(err, graph.ErrResync) {
		fmt.Println("reading all items anew; what does not come is deleted")
		err = read()
	}
	saved = changes.Link() // after an error too
	fmt.Println(err)
	// Output:
	// reading all items anew; what does not come is deleted
	// new or changed: a.txt
	// deleted: 2
	// <nil>
}
