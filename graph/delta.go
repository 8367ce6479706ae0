package graph

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"
)

// ErrResync means that Graph no longer knows what has changed since a link was
// made: the changes must be read from the beginning. See [Changes.All].
var ErrResync = errors.New("graph: the changes must be read from the beginning")

// Changes are the results of a delta query, which tells what has changed since the
// last one ("Use delta query to track changes in Microsoft Graph data"; for files
// "driveItem: delta"). Use [Delta] to make them. They must not be used by several
// goroutines at once.
type Changes[T any] struct {
	c     *Client
	err   error  // of the arguments
	query Query  // of a first request
	first string // the URL of a first request, "" if a link was given
	link  string // what is read next
}

// Delta begins a delta query at start: a path such as "me/drive/root/delta", which
// returns all items there are, or a link that [Changes.Link] returned before.
//
//	changes := graph.Delta[graph.DriveItem](c, cmp.Or(saved, "me/drive/root/delta"))
//	for item, err := range changes.All(ctx) {
//		if err != nil {
//			return err
//		}
//		...
//	}
//	saved = changes.Link() // after an error too
//
// The parameters of the query, at most one, go with the first request only: links
// contain them. Its header fields go with each. Give the query with a link too, for
// the case that Graph wants to begin again.
func Delta[T any](c *Client, start string, query ...Query) *Changes[T] {
	d := &Changes[T]{c: c, link: start}
	if d.query, d.err = one(query); d.err != nil {
		return d
	}
	q := d.query
	if isLink(start) {
		q = Query{}
	}
	u, err := c.resolve(start, q)
	if err != nil {
		d.err = err
		return d
	}
	if d.link = u.String(); !isLink(start) {
		d.first = d.link
	}
	return d
}

// Link returns the link to keep for the next time, or for [Changes.All] to go on.
//
// After a loop that ended by itself, it leads to the changes since. If the loop was
// broken off, or ended with an error, it leads to the page whose items were not all
// seen, so that each item is seen at least once, and some twice. A link contains no
// credential, but is long: 16 KiB at most.
func (d *Changes[T]) Link() string { return d.link }

// All returns the changes, page by page as they are asked for. An error is the last
// that it yields. An item can come several times; its last state counts. Another
// call goes on at [Changes.Link].
//
// If the error matches [ErrResync], Graph cannot tell what has changed. Link then
// leads to all items there are: it is what Graph said or, if it said nothing, the
// start that was given, without the token if that was a link. The app must read all
// items anew, and treat those that it knows and that do not come as deleted. The
// [Error] in the chain may have a code about changes that the app has made itself
// and not sent ("driveItem: delta"): resyncChangesApplyDifferences, if Graph's state
// counts, or resyncChangesUploadDifferences, if items that only the app has are to
// be kept. Both have been seen without "Changes" in them.
//
// Links to another host are an [InvalidError], and are not followed.
func (d *Changes[T]) All(ctx context.Context) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		for {
			page, err := d.page(ctx)
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
				d.link = page.DeltaLink
				return
			}
			d.link = page.NextLink
		}
	}
}

var errNoLink = errors.New("the page has neither a next link nor a delta link")

// page reads the page at d.link, and checks where it leads to.
func (d *Changes[T]) page(ctx context.Context) (Page[T], error) {
	var page Page[T]
	if d.err != nil {
		return page, d.err
	}
	r, err := d.c.newRequest(http.MethodGet, d.link, nil, []Query{{Header: d.query.Header}})
	if err != nil {
		return page, err
	}
	res, doc, err := d.c.document(ctx, d.c.api, r)
	if e, ok := errors.AsType[*Error](err); ok && (e.Status == http.StatusGone || e.HasCode("resyncRequired")) {
		d.restart(r.url, e.location)
		return page, fmt.Errorf("%w: %w", ErrResync, err)
	}
	if err == nil {
		err = decode(r.op, res, doc, &page)
	}
	if err != nil {
		return page, err
	}
	switch {
	case page.NextLink != "":
		if _, err = d.c.checkLink(page.NextLink); err == nil && page.NextLink == d.link {
			err = &InvalidError{Field: "link", Value: linkHost(d.link), Reason: "leads to the page that it is on"}
		}
	case page.DeltaLink != "":
		_, err = d.c.checkLink(page.DeltaLink)
	default:
		err = unreadable(r.op, res, errNoLink)
	}
	return page, err
}

// restart sets the link to where Graph says that everything begins again, or else
// to the first request or, if that is not known, to the path of a link without its
// token.
func (d *Changes[T]) restart(at *url.URL, location string) {
	if _, err := d.c.checkLink(location); err == nil {
		d.link = location
		return
	}
	if d.first != "" {
		d.link = d.first
		return
	}
	u := *at
	u.RawQuery = ""
	// The token may be an argument: "delta(token='...')".
	path := u.EscapedPath()
	if i := strings.LastIndex(path, "delta(token="); i >= 0 {
		path = path[:i] + "delta"
	}
	u.RawPath = path
	u.Path, _ = url.PathUnescape(path)
	if d.query.addTo(&u) == nil {
		d.link = u.String()
	}
}
