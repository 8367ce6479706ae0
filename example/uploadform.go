package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"time"
)

// errFrame means that the body of an upload is not the form of the upload page:
// fields first, one file, and nothing after it.
var errFrame = errors.New("the form has another shape")

// errCut means that the browser has not sent all of a form: it has gone away, or
// nothing came for too long.
var errCut = errors.New("the upload was cut off")

const (
	maxHead  = 64 << 10 // bytes before the file
	maxField = 4 << 10  // bytes of a field
	maxParts = 16       // fields, and the file
)

// An uploadForm is a form with a file. The file's content is read as it arrives,
// and kept nowhere.
type uploadForm struct {
	fields  map[string]string
	name    string // of the file; empty if none was chosen
	content io.Reader
	size    int64 // of the content, if the form is as it should be
}

// readUpload reads the form up to the content of the file (RFC 7578). The size of
// the content follows from the length of the body: what comes before the content
// was read, and what comes after it is the closing delimiter. Where a body has
// something else behind the file, the content is not of that size; whoever reads
// it has to check that.
func readUpload(r *http.Request) (*uploadForm, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	boundary := params["boundary"]
	if err != nil || kind != "multipart/form-data" || boundary == "" || r.ContentLength < 0 {
		return nil, errFrame
	}
	body := bufio.NewReaderSize(r.Body, maxHead)
	head, err := readHead(body, boundary)
	if err != nil {
		return nil, err
	}
	parts := multipart.NewReader(io.MultiReader(bytes.NewReader(head), body), boundary)
	form := &uploadForm{fields: map[string]string{}}
	for range maxParts { // also where readHead has taken a field for the file
		part, err := parts.NextRawPart()
		if err != nil {
			return nil, errors.Join(errFrame, err)
		}
		if !isFile(part) {
			value, err := io.ReadAll(io.LimitReader(part, maxField+1))
			if err != nil || len(value) > maxField {
				return nil, errors.Join(errFrame, err)
			}
			form.fields[part.FormName()] = string(value)
			continue
		}
		form.name, form.content = part.FileName(), part
		form.size = r.ContentLength - int64(len(head)) - int64(len("\r\n--"+boundary+"--\r\n"))
		if form.size < 0 {
			return nil, errFrame
		}
		return form, nil
	}
	return nil, errFrame
}

// readHead reads a form up to the empty line before the content of the file.
func readHead(body *bufio.Reader, boundary string) ([]byte, error) {
	var head []byte
	inHeader, file := false, false
	for {
		line, err := body.ReadSlice('\n')
		if head = append(head, line...); err != nil || len(head) > maxHead {
			return nil, errors.Join(errFrame, err)
		}
		switch text := strings.TrimRight(string(line), "\r\n"); {
		case text == "--"+boundary:
			inHeader, file = true, false
		case inHeader && text == "":
			if file {
				return head, nil
			}
			inHeader = false
		case inHeader && strings.Contains(strings.ToLower(text), "filename="):
			file = true
		}
	}
}

// isFile reports whether a part is a file, be it that none was chosen.
func isFile(part *multipart.Part) bool {
	_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	_, named := params["filename"]
	return err == nil && named
}

// A patientReader allows each part of a request some time, in place of the
// server's ReadTimeout and WriteTimeout for all of it.
type patientReader struct {
	io.Reader
	control *http.ResponseController
}

func (p patientReader) Read(b []byte) (int, error) {
	now := time.Now()
	_ = p.control.SetReadDeadline(now.Add(patience))
	_ = p.control.SetWriteDeadline(now.Add(2 * lastChunk))
	n, err := p.Reader.Read(b)
	if err != nil && err != io.EOF {
		err = errors.Join(errCut, err)
	}
	return n, err
}

// lastChunk is how long Microsoft may take for the last part of a file, after which
// the browser gets its answer.
const lastChunk = 5 * time.Minute
