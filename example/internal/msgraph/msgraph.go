// Package msgraph sends requests to Microsoft Graph for the two examples.
package msgraph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	// Timeout is how long a response may take to begin, and JSON to arrive.
	Timeout = 15 * time.Second

	// MaxJSON is how much of a JSON document is read, in bytes.
	MaxJSON = 4 << 20
)

// An Error is an error response of Graph. Its text is for the log, not for pages.
type Error struct {
	Status     int
	Code       string
	Message    string
	RequestID  string
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	return fmt.Sprintf("graph: HTTP status %d: %.100q: %.300q (request %.50q)", e.Status, e.Code, e.Message, e.RequestID)
}

// Open sends a GET request and returns a successful response. client is one that
// msauth's Session.Client returned: it adds the access token.
func Open(ctx context.Context, client *http.Client, address string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, &Error{Status: http.StatusNotFound, Message: "not a URL"}
	}
	for name, values := range header {
		req.Header[name] = values
	}
	res, err := client.Do(req)
	if err != nil {
		// A *url.Error contains the URL, and anybody can use that of a download
		// without a token: it must not be logged.
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return nil, err
	}
	if res.StatusCode == http.StatusOK || res.StatusCode == http.StatusPartialContent {
		return res, nil
	}
	defer res.Body.Close()
	var doc struct {
		Error struct{ Code, Message string }
	}
	_ = json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(&doc) // the body need not be JSON
	seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
	return nil, &Error{
		Status:     res.StatusCode,
		Code:       doc.Error.Code,
		Message:    doc.Error.Message,
		RequestID:  res.Header.Get("Request-Id"),
		RetryAfter: time.Duration(min(max(seconds, 0), 3600)) * time.Second,
	}
}

// Get reads a JSON document into out.
func Get(ctx context.Context, client *http.Client, address string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	res, err := Open(ctx, client, address, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, MaxJSON)).Decode(out); err != nil {
		return fmt.Errorf("graph: cannot read the response: %w", err)
	}
	return nil
}
