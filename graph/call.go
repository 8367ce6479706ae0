package graph

import (
	"context"
	"encoding/json"
	"net/http"

	"example.com/msauth/internal/web"
)

// Get reads the resource at path, relative to the base URL:
//
//	me, err := graph.Get[graph.User](ctx, c, "me")
//	drive, err := graph.Get[graph.Drive](ctx, c, "me/drive", graph.Query{Select: []string{"quota"}})
//	raw, err := graph.Get[map[string]any](ctx, c, "me/mailboxSettings")
//
// T is what the JSON document is decoded into. A path may have a query already,
// as the links of a [Page] have. IDs that came from outside must be escaped, as
// [Path] does. A call takes one [Query] at most.
func Get[T any](ctx context.Context, c *Client, path string, query ...Query) (T, error) {
	return call[T](ctx, c, http.MethodGet, path, nil, query)
}

// Post sends body as JSON, and returns what the answer contains: the new resource,
// or what an action returns. If body is nil, no body is sent. An answer
// with status 202 or 204 and without content gives the zero T; struct{} ignores the
// content.
func Post[T any](ctx context.Context, c *Client, path string, body any, query ...Query) (T, error) {
	return call[T](ctx, c, http.MethodPost, path, body, query)
}

// Patch changes the properties of a resource that are in body, and returns the
// resource.
func Patch[T any](ctx context.Context, c *Client, path string, body any, query ...Query) (T, error) {
	return call[T](ctx, c, http.MethodPatch, path, body, query)
}

// Delete deletes a resource.
func (c *Client) Delete(ctx context.Context, path string, query ...Query) error {
	_, err := call[struct{}](ctx, c, http.MethodDelete, path, nil, query)
	return err
}

func call[T any](ctx context.Context, c *Client, method, path string, body any, query []Query) (T, error) {
	var v, zero T
	r, err := c.newRequest(method, path, body, query)
	if err != nil {
		return zero, err
	}
	res, doc, err := c.document(ctx, c.api, r)
	if err == nil {
		err = decode(r.op, res, doc, &v)
	}
	if err != nil {
		return zero, err
	}
	return v, nil
}

// newRequest makes a request to Graph with a JSON body, or with none if body is
// nil.
func (c *Client) newRequest(method, path string, body any, query []Query) (*request, error) {
	q, err := one(query)
	if err != nil {
		return nil, err
	}
	u, err := c.resolve(path, q)
	if err != nil {
		return nil, err
	}
	r := &request{
		op:     web.OneLine(method+" "+hideShare(u.Path[len(c.base.Path):]), maxOp),
		method: method, url: u, repeat: ruleOf(method), header: http.Header{},
	}
	for name, values := range q.Header {
		if err := checkHeader(name, values); err != nil {
			return nil, err
		}
		r.header[http.CanonicalHeaderKey(name)] = values
	}
	if r.header.Get("Accept") == "" {
		r.header.Set("Accept", "application/json")
	}
	if body != nil {
		if r.body, err = json.Marshal(body); err != nil {
			return nil, &InvalidError{Field: "body", Reason: "cannot be written as JSON: " + err.Error()}
		}
		r.header.Set("Content-Type", "application/json")
	}
	if method == http.MethodPost {
		r.sized = true // without a body too, Content-Length says 0
	}
	return r, nil
}
