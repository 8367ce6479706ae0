package graph

import (
	"context"
	"errors"
	"iter"
	"net/http"
)

// A Page is one page of a collection.
type Page[T any] struct {
	Value []T `json:"value"`

	// NextLink is the URL of the next page, empty on the last one. A page may be
	// empty and have a next one all the same.
	NextLink string `json:"@odata.nextLink,omitempty"`

	// DeltaLink is where the next round of a delta query begins: see [Delta].
	DeltaLink string `json:"@odata.deltaLink,omitempty"`

	// Count is the number of all items, if [Query.Count] asked for it.
	Count int64 `json:"@odata.count,omitempty"`
}

// List returns the items of a collection, page by page as they are asked for. An
// error is the last that it yields.
//
//	for message, err := range graph.List[map[string]any](ctx, c, "me/messages", graph.Query{Top: 50}) {
//		if err != nil {
//			return err
//		}
//		...
//	}
//
// A next page is read only from where the first came from: a link to another host
// is an [InvalidError]. For pages that people turn, use Get with a [Page] and its
// NextLink.
func List[T any](ctx context.Context, c *Client, path string, query ...Query) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		q, err := one(query)
		if err != nil {
			yield(zero, err)
			return
		}
		next := Query{Header: q.Header}
		for {
			page, err := readPage[T](ctx, c, path, q)
			if err != nil {
				yield(zero, err)
				return
			}
			for _, item := range page.Value {
				if !yield(item, nil) {
					return
				}
			}
			if page.NextLink == "" {
				return
			}
			if path == page.NextLink {
				yield(zero, &InvalidError{Field: "link", Value: linkHost(path), Reason: "leads to the page that it is on"})
				return
			}
			path, q = page.NextLink, next
		}
	}
}

var errNoCollection = errors.New("the answer is not a page of a collection")

// readPage reads a page. An answer without the list is not one of an empty
// collection, but of something else.
func readPage[T any](ctx context.Context, c *Client, path string, q Query) (page Page[T], err error) {
	r, err := c.newRequest(http.MethodGet, path, nil, []Query{q})
	if err != nil {
		return page, err
	}
	res, doc, err := c.document(ctx, c.api, r)
	if err == nil {
		err = decode(r.op, res, doc, &page)
	}
	if err == nil && page.Value == nil {
		err = unreadable(r.op, res, errNoCollection)
	}
	return page, err
}
