package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"example.com/msauth/internal/web"
)

// maxDocument limits a document of the provider, in bytes.
const maxDocument = 1 << 20

// A documentFault says why a document could not be read. Its text names the
// document; it wraps a Failure, by whose class callers decide.
type documentFault struct {
	text  string
	fault *Failure
}

// Error returns the text.
func (e *documentFault) Error() string { return e.text }

// Unwrap returns the failure.
func (e *documentFault) Unwrap() error { return e.fault }

// wrapFault puts the name of the document before the text of an error.
func wrapFault(what string, err error) error {
	if e, ok := errors.AsType[*documentFault](err); ok {
		return &documentFault{what + ": " + e.text, e.fault}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// refusedDocument is the error for a document that was read but cannot be used. The
// configuration has to change, the app's or the provider's.
func refusedDocument(what, where string, reason error) error {
	return &documentFault{
		fmt.Sprintf("msauth: %s at %s: %v", what, where, reason),
		&Failure{Class: Misconfigured, StatusCode: http.StatusOK, Err: reason},
	}
}

// getJSON reads a JSON object of at most maxDocument bytes. Its error is a
// documentFault.
func getJSON(ctx context.Context, client *http.Client, url string) (claims, error) {
	fault := func(e *Failure) (claims, error) {
		text := "GET " + url + ": "
		switch {
		case e.Code != "":
			text += fmt.Sprintf("HTTP status %d: %s: %s", e.StatusCode, e.Code, e.Description)
		case e.Err != nil:
			text += e.Err.Error()
		default:
			text += fmt.Sprintf("HTTP status %d", e.StatusCode)
		}
		return nil, &documentFault{text + remedy(e.Numbers), e}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, &documentFault{err.Error(), &Failure{Class: Misconfigured, Err: err}}
	}
	req.Header.Set("Accept", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return nil, &documentFault{err.Error(), &Failure{Class: Retry, Err: err}}
	}
	defer res.Body.Close()
	body, err := web.ReadAtMost(res.Body, maxDocument)
	var c claims
	isObject := err == nil && json.Unmarshal(body, &c) == nil && c != nil
	if res.StatusCode != http.StatusOK {
		return fault(documentRefusal(res, c))
	}
	if err != nil {
		return fault(&Failure{Class: Retry, StatusCode: res.StatusCode, Err: err})
	}
	if !isObject {
		return fault(&Failure{Class: Retry, StatusCode: res.StatusCode, Err: notJSON(res, body)})
	}
	return c, nil
}

// documentRefusal makes a Failure of a reply with another status than 200. Entra
// answers with the body of an OAuth error if the tenant does not exist.
func documentRefusal(res *http.Response, body claims) *Failure {
	e := failureFrom(res, body)
	switch status := res.StatusCode; {
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status >= 500:
		e.Class = Retry
	case redirects(res) && e.Code == "":
		e.Class, e.Err = Misconfigured, fmt.Errorf("HTTP status %d: %w", status, errRedirects)
	default:
		e.Class = Misconfigured
	}
	return e
}

// notJSON describes a reply that is not a JSON object. Most often it comes from a
// proxy or a captive portal and not from the provider.
func notJSON(res *http.Response, body []byte) error {
	const who = "not JSON: does a proxy or a captive portal stand between this server and the provider?"
	if len(bytes.TrimSpace(body)) == 0 {
		return errors.New("nothing, " + who)
	}
	kind := web.OneLine(res.Header.Get("Content-Type"), 100)
	if kind == "" {
		kind = "no content type"
	}
	if json.Valid(body) {
		return fmt.Errorf("%s, not JSON of the kind that is wanted, an object", kind)
	}
	return fmt.Errorf("%s, %s", kind, who)
}

// redirects reports whether a reply is a redirect.
func redirects(res *http.Response) bool { return res.StatusCode >= 300 && res.StatusCode < 400 }

var errRedirects = errors.New("redirects, which is not followed")
