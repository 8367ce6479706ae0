package msauthtest_test

import (
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

func TestDownloadConditions(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Ada)
	it := a.do(201, "PUT", drive+"/root:/digits.txt:/content", token, "0123456789")
	res, text := a.graph(it.DownloadURL, "")
	tag := res.Header.Get("ETag")
	if text != "0123456789" || tag == "" || tag == it.ETag || res.Header.Get("Accept-Ranges") != "bytes" {
		t.Fatalf("download: %q %v", text, res.Header)
	}
	for _, tt := range []struct {
		name    string
		headers []string
		status  int
		want    string
	}{
		{"a range", []string{"Range", "bytes=2-4"}, 206, "234"},
		{"the end", []string{"Range", "bytes=7-"}, 206, "789"},
		{"the last two", []string{"Range", "bytes=-2"}, 206, "89"},
		{"a range of this version", []string{"Range", "bytes=2-4", "If-Range", tag}, 206, "234"},
		{"a range of another version", []string{"Range", "bytes=2-4", "If-Range", `"other"`}, 200, "0123456789"},
		{"this version", []string{"If-Match", tag}, 200, "0123456789"},
		{"another version", []string{"If-Match", `"other"`}, 412, ""},
		{"not this version", []string{"If-None-Match", tag}, 304, ""},
		{"a range beyond the end", []string{"Range", "bytes=10-"}, 416, "invalid range: failed to overlap\n"},
	} {
		if res, text := a.graph(it.DownloadURL, "", tt.headers...); res.StatusCode != tt.status || text != tt.want {
			t.Errorf("%s: %d %q, want %d %q", tt.name, res.StatusCode, text, tt.status, tt.want)
		}
	}
	if res, _ := a.graph(drive+"/items/"+it.ID+"/content", token, "If-None-Match", it.ETag); res.StatusCode != 304 {
		t.Errorf("content that is known: %d", res.StatusCode)
	}
	a.do(200, "PUT", drive+"/items/"+it.ID+"/content", token, "abcdefghij")
	if res, text := a.graph(it.DownloadURL, "", "Range", "bytes=2-4", "If-Range", tag); res.StatusCode != 200 || text != "abcdefghij" {
		t.Errorf("after a change: %d %q", res.StatusCode, text)
	}
}

func TestDownloadExpires(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	drive, token := a.writer(msauthtest.Ada)
	address := func() string {
		return a.do(200, "GET", drive+"/root:/Measurements.csv", token, "").DownloadURL
	}
	old := address()
	ms.ExpireDownloads()
	a.refusedBy(401, "unauthenticated", "expiredToken", "GET", old, "", "")
	if res, _ := a.graph(address(), ""); res.StatusCode != 200 {
		t.Errorf("a new URL: %d", res.StatusCode)
	}
	ms.Set(func(b *msauthtest.Behavior) { b.DownloadExpires = time.Nanosecond })
	a.refusedBy(401, "unauthenticated", "expiredToken", "GET", address(), "", "")
}
