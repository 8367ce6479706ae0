package graph

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"example.com/msauth/internal/web"
)

// A BatchResponse is the response to one request of a batch. Use [Decode] to
// read its document.
type BatchResponse struct {
	ID     string // of the request
	Status int    // the HTTP status, or 0 if there is no response
	Header http.Header

	// Location is where a response leads to: with status 302, to the content of a
	// file, at a pre-authenticated URL. It is not in Header, and not followed.
	Location SecretURL

	// Body is a JSON document or, if Header has another Content-Type, the content.
	Body []byte

	op  string // for errors
	err error
}

// Err returns an [Error] if the request has failed, and nil if its status is 2xx,
// 302 or 303. If there is no response, the error says why.
func (r BatchResponse) Err() error {
	switch {
	case r.err != nil:
		return r.err
	case r.Status == 0:
		return &callError{cmp.Or(r.op, "batch"), errNoAnswer}
	case succeeded(r.Status):
		return nil
	}
	return r.refusal()
}

func (r *BatchResponse) refusal() *Error {
	body := r.Body
	if len(body) > maxErrorBody {
		body = nil
	}
	return refusal(cmp.Or(r.op, "batch"), r.Status, r.Header, body)
}

// succeeded reports whether a status is none of an error.
func succeeded(status int) bool {
	return status >= 200 && status < 300 || status == http.StatusFound || status == http.StatusSeeOther
}

// Decode returns the document of a response, or the error of [BatchResponse.Err].
// As with [Post], a response with status 202 or 204 and without content gives the
// zero T, and struct{} ignores the content.
func Decode[T any](r BatchResponse) (T, error) {
	var v, zero T
	err := r.Err()
	if err == nil {
		err = decode(cmp.Or(r.op, "batch"), &http.Response{StatusCode: r.Status, Header: r.Header}, r.Body, &v)
	}
	if err != nil {
		return zero, err
	}
	return v, nil
}

// partAnswer is one response in the answer to a batch.
type partAnswer struct {
	ID      string
	Status  int
	Headers json.RawMessage
	Body    json.RawMessage
}

// take reads the answer to a batch. It returns an error if the answer does not
// have exactly one response for each part that was sent; the responses that it has
// are kept.
func (b *batch) take(res *http.Response, doc []byte) error {
	// Of an array that is longer than ours, encoding/json ignores the rest.
	var answer struct {
		Responses [mostParts + 1]*partAnswer
	}
	if err := decode(batchOp, res, doc, &answer); err != nil {
		b.fail(err)
		return err
	}
	var problem error
	bad := func(format string, args ...any) error {
		err := unreadable(batchOp, res, fmt.Errorf(format, args...))
		if problem == nil {
			problem = err
		}
		return err
	}
	seen := make([]bool, len(b.parts))
	for _, a := range answer.Responses {
		if a == nil {
			continue
		}
		i, known := b.index[strings.ToLower(a.ID)]
		switch {
		case !known || !b.parts[i].pending:
			bad("a response has the unknown id %q", web.OneLine(a.ID, maxID))
		case seen[i]:
			b.responses[i] = BatchResponse{ID: b.parts[i].ID, err: bad("there are two responses to request %q", b.parts[i].ID)}
		case a.Status < 200 || a.Status > 599:
			b.responses[i].err = bad("the response to request %q has status %d", b.parts[i].ID, a.Status)
		default:
			b.responses[i] = a.response(&b.parts[i])
		}
		if known {
			seen[i] = true
		}
	}
	for i, p := range b.parts {
		if p.pending && !seen[i] {
			b.responses[i].err = bad("there is no response to request %q", p.ID)
		}
	}
	return problem
}

// response reads a response with a plausible status.
func (a *partAnswer) response(p *batchPart) BatchResponse {
	r := BatchResponse{ID: p.ID, Status: a.Status, Body: a.Body, op: p.op}
	var err error
	if r.Header, err = readHeader(a.Headers); err == nil {
		r.Location = SecretURL(r.Header.Get("Location"))
		r.Header.Del("Location")
		r.Body, err = content(r.Header.Get("Content-Type"), a.Body)
	}
	switch {
	case !succeeded(r.Status):
		r.err = r.refusal()
	case err != nil:
		r.err = unreadable(p.op, &http.Response{StatusCode: r.Status, Header: r.Header}, err)
	}
	return r
}

var (
	errNoAnswer  = errors.New("there is no response")
	errBadHeader = errors.New("the header is larger than 64 KiB or not a JSON object")
	errNotBase64 = errors.New("the content is not base64")
)

// readHeader reads the header of a response. It leaves out fields that HTTP could
// not have transferred.
func readHeader(doc json.RawMessage) (http.Header, error) {
	h := http.Header{}
	if len(doc) == 0 {
		return h, nil
	}
	var fields map[string]any
	if len(doc) > maxErrorBody || json.Unmarshal(doc, &fields) != nil {
		return h, errBadHeader
	}
	for name, value := range fields {
		switch value.(type) {
		case string, float64, bool:
			if text := fmt.Sprint(value); !hasControl(name + text) {
				h.Add(name, text)
			}
		}
	}
	return h, nil
}

// content returns a document as it is, and other content, which is in base64 in
// the answer to a batch, as what it means. An error may be in plain text.
func content(contentType string, body json.RawMessage) ([]byte, error) {
	if string(body) == "null" {
		return nil, nil
	}
	kind, _, _ := mime.ParseMediaType(contentType)
	var text string
	if contentType == "" || kind == "application/json" || strings.HasSuffix(kind, "+json") || json.Unmarshal(body, &text) != nil {
		return body, nil
	}
	// Microsoft says base64url, and its examples have the other alphabet.
	decoded, err := base64.RawStdEncoding.DecodeString(strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "=")))
	if err != nil {
		return []byte(text), errNotBase64
	}
	return decoded, nil
}
