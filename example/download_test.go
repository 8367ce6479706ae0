package main

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
)

func TestParseRange(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text           string
		size           int64
		offset, length int64
		ok             bool
	}{
		{"bytes=0-0", 10, 0, 1, true},
		{"bytes=2-5", 10, 2, 4, true},
		{"bytes=2-", 10, 2, 8, true},
		{"bytes=2-99", 10, 2, 8, true},
		{"bytes=-3", 10, 7, 3, true},
		{"bytes=-30", 10, 0, 10, true},
		{"bytes= 2-5", 10, 2, 4, true},
		{"bytes=10-", 10, 0, 0, true},
		{"bytes=-0", 10, 10, 0, true},
		{"bytes=99-100", 10, 0, 0, true},
		{"bytes=5-2", 10, 0, 0, false},
		{"bytes=0-1,4-5", 10, 0, 0, false},
		{"bytes=-", 10, 0, 0, false},
		{"bytes=+1-2", 10, 0, 0, false},
		{"bytes=1--2", 10, 0, 0, false},
		{"bytes=9223372036854775808-", 10, 0, 0, false},
		{"items=0-1", 10, 0, 0, false},
		{"0-1", 10, 0, 0, false},
		{"bytes=0-", 0, 0, 0, false},
		{"", 10, 0, 0, false},
	} {
		offset, length, ok := parseRange(tt.text, tt.size)
		if offset != tt.offset || length != tt.length || ok != tt.ok {
			t.Errorf("%q of %d bytes: %d, %d, %t, want %d, %d, %t", tt.text, tt.size, offset, length, ok, tt.offset, tt.length, tt.ok)
		}
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.writer(msauthtest.Ada)
	link := b.get("/files").link("Measurements.csv")
	whole := b.get(link).want(http.StatusOK)
	tag, text := whole.Header.Get("ETag"), whole.body
	if len(tag) != 34 || whole.Header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("ETag %q, Accept-Ranges %q", tag, whole.Header.Get("Accept-Ranges"))
	}
	size := len(text)
	for _, tt := range []struct{ text, want string }{
		{"bytes=0-4", text[:5]}, {"bytes=100-", text[100:]}, {"bytes=-7", text[size-7:]}, {"bytes=100-99999999", text[100:]},
	} {
		a := b.get(link, "Range", tt.text, "If-Range", tag).want(http.StatusPartialContent)
		if a.body != tt.want || a.ContentLength != int64(len(tt.want)) || a.Header.Get("ETag") != tag {
			t.Errorf("%s: %d bytes, Content-Length %d, %q, want %d bytes", tt.text, len(a.body), a.ContentLength, a.Header.Get("Content-Range"), len(tt.want))
		}
	}
	if a := b.get(link, "Range", "bytes=0-1,4-5").want(http.StatusOK); a.body != text {
		t.Errorf("several ranges: %d bytes, want the whole file", len(a.body))
	}
	if a := b.get(link, "Range", "bytes=99999999-").want(http.StatusRequestedRangeNotSatisfiable, "The file is shorter than requested"); !strings.HasPrefix(a.Header.Get("Content-Range"), "bytes */") {
		t.Errorf("Content-Range %q", a.Header.Get("Content-Range"))
	}
	if a := b.send(http.MethodHead, link, "Range", "bytes=0-4").want(http.StatusPartialContent); a.ContentLength != 5 {
		t.Errorf("HEAD of a range: Content-Length %d, want 5", a.ContentLength)
	}

	// A download that goes on after the file has changed begins again.
	b.upload("", "replace", "Measurements.csv", "other").want(http.StatusOK)
	if a := b.get(link, "Range", "bytes=2-", "If-Range", tag).want(http.StatusOK); a.body != "other" || a.Header.Get("ETag") == tag {
		t.Errorf("after a change: %.20q, ETag %q", a.body, a.Header.Get("ETag"))
	}
	b.upload("", "ask", "Empty.txt", "").want(http.StatusOK)
	if a := b.get(b.get("/files").link("Empty.txt"), "Range", "bytes=0-").want(http.StatusOK); a.body != "" {
		t.Errorf("an empty file has %d bytes", len(a.body))
	}
}

// What Microsoft cuts off arrives cut off: never as if it were the whole file.
func TestDownloadCut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn()
	list := b.get("/files")
	link := list.link("Measurements.csv")
	whole := b.get(link).body

	// Another connection brings the rest.
	cut := msauthtest.Failure{Handler: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "99999999")
		io.WriteString(w, whole[:50_000]) // more than buffers hold
		panic(http.ErrAbortHandler)
	}}
	half := msauthtest.Failure{Handler: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(whole)))
		io.WriteString(w, whole[:50_000]) // more than buffers hold
		panic(http.ErrAbortHandler)
	}}
	for name, failures := range map[string][]msauthtest.Failure{"half of it": {half}, "another size": {cut}} {
		s.ms.Set(func(b *msauthtest.Behavior) { b.Fail[msauthtest.Download] = failures })
		if a := b.get(link).want(http.StatusOK); a.body != whole {
			t.Errorf("%s: %d bytes, want %d", name, len(a.body), len(whole))
		}
	}

	// The content changes on its way.
	wrong := msauthtest.Failure{Handler: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(whole)))
		io.WriteString(w, strings.Repeat("x", len(whole)))
	}}
	s.ms.Set(func(b *msauthtest.Behavior) { b.Fail[msauthtest.Download] = []msauthtest.Failure{wrong} })
	res, err := b.Get(s.URL + link)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d bytes with error %v, want %v", len(body), err, io.ErrUnexpectedEOF)
	}
	b.get(link).want(http.StatusOK)
}
