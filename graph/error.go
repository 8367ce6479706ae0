package graph

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"example.com/msauth/internal/web"
)

// An Error is an answer of Graph, or of a storage host, that is an error or
// cannot be read. Find it in an error chain with [errors.AsType]. Its texts come
// from outside and must be escaped before they are shown; none of them contains
// a token or a pre-authenticated URL.
//
// [errors.Is] finds fs.ErrNotExist in one with status 404 or 410, fs.ErrExist in
// one with code nameAlreadyExists, and fs.ErrPermission in one with status 403.
type Error struct {
	// Op is the method and the path of the request, at most 300 bytes and without
	// a sharing link, or what was asked of a storage host: "upload", "download",
	// "monitor".
	Op string

	// Status is the HTTP status. If it is below 300, the request has succeeded
	// but its answer cannot be read, and Err says why.
	Status int

	// Code is the error code, such as "itemNotFound", and InnerCodes the more
	// detailed ones below it, from the general to the detailed. Codes may be
	// added at any time ("Microsoft Graph error responses and resource types").
	Code       string
	InnerCodes []string
	Message    string // for developers; at most 500 bytes, in one line

	// RequestID and Date are what Microsoft's support asks for.
	RequestID       string
	ClientRequestID string
	Date            time.Time

	// RetryAfter is how long Graph asks to wait, at most one hour, or 0.
	RetryAfter time.Duration

	Err error

	challenges []string
	location   string // of an answer with status 410
}

// Error returns a description in one line.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "graph: %s: HTTP status %d", e.Op, e.Status)
	for _, code := range append([]string{e.Code}, e.InnerCodes...) {
		if code != "" {
			fmt.Fprintf(&b, ", %s", code)
		}
	}
	if e.Message != "" {
		fmt.Fprintf(&b, ": %s", e.Message)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if e.RequestID != "" {
		fmt.Fprintf(&b, " (request %s)", e.RequestID)
	}
	return b.String()
}

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// Is makes [errors.Is] find errors of package io/fs.
func (e *Error) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e.Status == http.StatusNotFound || e.Status == http.StatusGone
	case fs.ErrExist:
		return e.HasCode("nameAlreadyExists")
	case fs.ErrPermission:
		return e.Status == http.StatusForbidden
	}
	return false
}

// HasCode reports whether code is e.Code or among e.InnerCodes, in any case.
func (e *Error) HasCode(code string) bool {
	same := func(other string) bool { return strings.EqualFold(code, other) }
	return same(e.Code) || slices.ContainsFunc(e.InnerCodes, same)
}

// WWWAuthenticate returns the WWW-Authenticate fields of an answer of Graph with
// status 401, which may contain a claims challenge: an empty slice if it has none,
// and nil if e is anything else. msauth's Middleware.Challenge reads them.
func (e *Error) WWWAuthenticate() []string { return slices.Clone(e.challenges) }

// An InvalidError means that a request was not made, or an answer not followed,
// because something in it is not valid.
type InvalidError struct {
	Field  string // what is invalid: "path", "name", "link", "query", "size", ...
	Value  string // its text, if that is not a secret
	Reason string // "contains a control character"
}

// Error returns a description in one line.
func (e *InvalidError) Error() string {
	if e.Value == "" {
		return "graph: " + e.Field + " " + e.Reason
	}
	return fmt.Sprintf("graph: %s %q %s", e.Field, e.Value, e.Reason)
}

func isInvalid(err error) bool {
	_, ok := errors.AsType[*InvalidError](err)
	return ok
}

const (
	maxErrorBody = 64 << 10
	maxOp        = 300
	maxMessage   = 500
	maxCodes     = 8
)

// refusal makes an error of an answer, whatever its body is.
func refusal(op string, status int, header http.Header, body []byte) *Error {
	e := &Error{
		Op: op, Status: status,
		RequestID:       web.OneLine(header.Get("Request-Id"), 100),
		ClientRequestID: web.OneLine(header.Get("Client-Request-Id"), 100),
		RetryAfter:      web.RetryAfter(header.Get("Retry-After"), time.Now()),
	}
	if e.Date, _ = http.ParseTime(header.Get("Date")); status == http.StatusUnauthorized {
		e.challenges = append([]string{}, header.Values("WWW-Authenticate")...)
	}
	if status == http.StatusGone {
		e.location = header.Get("Location")
	}
	var doc struct{ Error *errorDocument }
	err := json.Unmarshal(body, &doc)
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); err != nil && !ok || doc.Error == nil {
		return e // a proxy's page, or nothing
	}
	e.read(doc.Error) // without what is of another type
	return e
}

// An errorDocument is Graph's object "error", or "innerError" within one.
type errorDocument struct {
	Code, Message   string
	InnerError      *errorDocument // "innererror" too: encoding/json does not tell them apart
	Date            string
	RequestID       string `json:"request-id"`
	ClientRequestID string `json:"client-request-id"`
}

// read takes what the document says and the header did not.
func (e *Error) read(doc *errorDocument) {
	e.Code, e.Message = web.OneLine(doc.Code, 100), web.OneLine(doc.Message, maxMessage)
	for inner := doc.InnerError; inner != nil && len(e.InnerCodes) < maxCodes; inner = inner.InnerError {
		if inner.Code != "" {
			e.InnerCodes = append(e.InnerCodes, web.OneLine(inner.Code, 100))
		}
		if e.RequestID == "" {
			e.RequestID = web.OneLine(inner.RequestID, 100)
		}
		if e.ClientRequestID == "" {
			e.ClientRequestID = web.OneLine(inner.ClientRequestID, 100)
		}
		for _, layout := range []string{"2006-01-02T15:04:05", time.RFC3339} {
			if at, err := time.Parse(layout, inner.Date); err == nil {
				e.Date = at
			}
		}
	}
}

// hide removes texts that have a URL in them: a storage host, or a proxy in front of
// it, may repeat the one that it was asked for. Texts can be cut off.
func (e *Error) hide(u *url.URL) {
	secrets := []string{"://"}
	// Short ones are words, such as "uploadSession", which begins codes too.
	for _, s := range []string{u.RequestURI(), u.RawQuery, path.Base(u.EscapedPath())} {
		if len(s) >= 20 || len(s) >= 8 && strings.ContainsAny(s, "/=") {
			secrets = append(secrets, s[:min(len(s), 20)])
		}
	}
	clean := func(text string) string {
		if slices.ContainsFunc(secrets, func(s string) bool { return strings.Contains(text, s) }) {
			return hidden
		}
		return text
	}
	e.Code, e.Message, e.RequestID, e.ClientRequestID = clean(e.Code), clean(e.Message), clean(e.RequestID), clean(e.ClientRequestID)
	for i, code := range e.InnerCodes {
		e.InnerCodes[i] = clean(code)
	}
}

var errEmpty = errors.New("the answer is empty")

// unreadable makes an error of a successful answer that cannot be read.
func unreadable(op string, res *http.Response, err error) *Error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	e := refusal(op, res.StatusCode, res.Header, nil)
	e.Err = err
	return e
}
