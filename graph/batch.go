package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.com/msauth/internal/web"
)

const (
	mostParts = 20  // requests of a batch
	maxID     = 100 // bytes of an id
)

// A BatchRequest is one request of a batch.
type BatchRequest struct {
	// ID names the request for the DependsOn of others. The default is its place
	// in the batch, counted from 1. Upper and lower case are the same.
	ID string

	Method string // GET, POST, PUT, PATCH or DELETE; the default is GET
	Path   string // relative to the base URL, as for [Get]; links are not accepted
	Query  Query
	Body   any // sent as JSON, if it is not nil

	// DependsOn are the ids of requests that Graph must complete first. If one
	// of them fails, this one is not made, and is answered with status 424.
	DependsOn []string
}

// Batch sends up to 20 requests as one, which saves time if they are independent
// of each other ("Combine multiple HTTP requests using JSON batching"). The
// responses are in the order of the requests. Each has a status of its own:
//
//	responses, err := c.Batch(ctx,
//		graph.BatchRequest{Path: "me"},
//		graph.BatchRequest{Path: "me/drive/root/children", Query: graph.Query{Top: 10}},
//	)
//	if err != nil {
//		return err
//	}
//	me, err := graph.Decode[graph.User](responses[0])
//
// Requests that were answered with status 429 are sent again, after the longest
// time that Graph asks for: they were not processed. So are GET, PUT and DELETE
// requests after 502, 503, 504 and 509, and requests that were not made because
// they depend on one of these. What they depend on and has succeeded is not
// repeated. A call waits at most one minute in all, and repeats at most five times;
// what is still refused then is in the responses. A batch that is refused as a
// whole is repeated after 429 only. The answer to a batch may have 8 MiB.
//
// A request that was answered with status 401 is not made again with another
// token, even if the HTTP client does that otherwise: pass its Err to msauth's
// Middleware.Challenge.
//
// The error is an [InvalidError], and nothing was sent, if there are more than 20
// requests, if two have the same id, if one depends on an unknown id or on itself,
// or if one would be invalid outside of a batch. After any other error, some
// requests may have been made: the responses are returned too, and Err of those
// that are missing says why.
func (c *Client) Batch(ctx context.Context, requests ...BatchRequest) ([]BatchResponse, error) {
	b, err := c.newBatch(requests)
	if err != nil || len(requests) == 0 {
		return nil, err
	}
	var waits waiting
	for {
		if err := b.send(ctx, c, &waits); err != nil {
			return b.responses, err
		}
		wait, any := b.again()
		if !any {
			return b.responses, nil
		}
		if !waits.pause(ctx, wait) {
			if ctx.Err() != nil {
				return b.responses, &callError{batchOp, context.Cause(ctx)}
			}
			return b.responses, nil
		}
	}
}

const batchOp = "POST /$batch"

// A batch is one call of [Client.Batch].
type batch struct {
	parts     []batchPart
	index     map[string]int // by id in lower case
	responses []BatchResponse
}

// A batchPart is one request of a batch.
type batchPart struct {
	batchJSON
	op      string
	rule    repeatRule
	after   []int // the parts that it depends on
	pending bool  // to be sent, or sent again
}

// batchJSON is a request in the body of a batch.
type batchJSON struct {
	ID        string            `json:"id"`
	Method    string            `json:"method"`
	URL       string            `json:"url"`
	Headers   map[string]string `json:"headers,omitempty"`
	Body      json.RawMessage   `json:"body,omitempty"`
	DependsOn []string          `json:"dependsOn,omitempty"`
}

func (c *Client) newBatch(requests []BatchRequest) (*batch, error) {
	if len(requests) > mostParts {
		return nil, &InvalidError{Field: "batch", Reason: fmt.Sprintf("has %d requests, more than %d", len(requests), mostParts)}
	}
	b := &batch{index: map[string]int{}, responses: make([]BatchResponse, len(requests))}
	for i, r := range requests {
		if r.ID == "" {
			r.ID = strconv.Itoa(i + 1)
		}
		if len(r.ID) > maxID || hasControl(r.ID) {
			return nil, &InvalidError{Field: "id", Value: web.OneLine(r.ID, maxID), Reason: "is too long or contains a control character"}
		}
		if _, double := b.index[strings.ToLower(r.ID)]; double {
			return nil, &InvalidError{Field: "id", Value: r.ID, Reason: "is that of two requests"}
		}
		p, err := c.newPart(r)
		if err != nil {
			return nil, err
		}
		b.index[strings.ToLower(r.ID)] = i
		b.parts = append(b.parts, p)
	}
	for i, r := range requests {
		for _, id := range r.DependsOn {
			other, ok := b.index[strings.ToLower(id)]
			if !ok {
				return nil, &InvalidError{Field: "dependsOn", Value: web.OneLine(id, maxID), Reason: "is the id of no request"}
			}
			b.parts[i].after = append(b.parts[i].after, other)
		}
	}
	return b, b.checkOrder()
}

// newPart checks one request as if it were made by itself.
func (c *Client) newPart(from BatchRequest) (batchPart, error) {
	switch from.Method {
	case "":
		from.Method = http.MethodGet
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return batchPart{}, &InvalidError{Field: "method", Value: web.OneLine(from.Method, maxID), Reason: "is not GET, POST, PUT, PATCH or DELETE"}
	}
	if isLink(from.Path) {
		return batchPart{}, &InvalidError{Field: "path", Value: linkHost(from.Path), Reason: "is not relative to the base URL"}
	}
	r, err := c.newRequest(from.Method, from.Path, from.Body, []Query{from.Query})
	if err != nil {
		return batchPart{}, err
	}
	p := batchPart{op: r.op, rule: r.repeat, pending: true}
	p.ID, p.Method, p.Body = from.ID, from.Method, r.body
	p.URL = r.url.EscapedPath()[len(c.base.EscapedPath()):]
	if r.url.RawQuery != "" {
		p.URL += "?" + r.url.RawQuery
	}
	p.Headers = map[string]string{}
	for name, values := range r.header {
		p.Headers[name] = strings.Join(values, ", ")
		if hasControl(name + p.Headers[name]) {
			return batchPart{}, &InvalidError{Field: "header", Value: web.OneLine(name, maxID), Reason: "contains a control character"}
		}
	}
	if from.Query.Header.Get("Accept") == "" {
		delete(p.Headers, "Accept") // content has other types
	}
	return p, nil
}

// checkOrder checks that the parts can be put into an order.
func (b *batch) checkOrder() error {
	done := make([]bool, len(b.parts))
	for range b.parts {
		for i, p := range b.parts {
			done[i] = true
			for _, other := range p.after {
				done[i] = done[i] && done[other] && other != i
			}
		}
	}
	for i, ok := range done {
		if !ok {
			return &InvalidError{Field: "dependsOn", Value: b.parts[i].ID, Reason: "depends on itself"}
		}
	}
	return nil
}

// send sends the parts that are pending, and takes their responses.
func (b *batch) send(ctx context.Context, c *Client, waits *waiting) error {
	var body struct {
		Requests []batchJSON `json:"requests"`
	}
	for i, p := range b.parts {
		if !p.pending {
			continue
		}
		b.responses[i] = BatchResponse{ID: p.ID, op: p.op}
		for _, other := range p.after {
			if b.parts[other].pending { // the others have succeeded
				p.DependsOn = append(p.DependsOn, b.parts[other].ID)
			}
		}
		body.Requests = append(body.Requests, p.batchJSON)
	}
	r, err := c.newRequest(http.MethodPost, "$batch", body, nil)
	if err != nil {
		return err
	}
	res, doc, err := c.documentWithin(ctx, c.api, r, waits)
	if err == nil {
		return b.take(res, doc)
	}
	b.fail(err)
	return err
}

// fail gives the parts that were sent an error in place of a response.
func (b *batch) fail(err error) {
	for i, p := range b.parts {
		if p.pending {
			b.responses[i].err = err
		}
	}
}

// again marks the parts to send again as pending. It returns how long to wait
// before, and whether there are any.
func (b *batch) again() (wait time.Duration, any bool) {
	for i := range b.parts {
		p, status := &b.parts[i], b.responses[i].Status
		p.pending = p.rule.allows(status) || status == http.StatusFailedDependency
	}
	for range b.parts { // until nothing changes
		for i := range b.parts {
			p := &b.parts[i]
			waitsFor, lost := false, false
			for _, other := range p.after {
				waitsFor = waitsFor || b.parts[other].pending
				lost = lost || !b.parts[other].pending && !succeeded(b.responses[other].Status)
			}
			if lost || b.responses[i].Status == http.StatusFailedDependency && !waitsFor {
				p.pending = false
			}
		}
	}
	for i, p := range b.parts {
		if !p.pending {
			continue
		}
		any = true
		if e, ok := errors.AsType[*Error](b.responses[i].Err()); ok {
			wait = max(wait, e.RetryAfter)
		}
	}
	return wait, any
}
