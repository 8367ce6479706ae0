package nginx_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// uploadLocation is the one of docs/proxies.md.
func uploadLocation(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/proxies.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?ms)^```nginx\n(location = /files/upload .*?)^```").FindSubmatch(text)
	if found == nil {
		t.Fatal("docs/proxies.md has no location for uploads")
	}
	return string(found[1])
}

// With what the guide says, a body of any size reaches the app while it is being
// sent; with nginx's defaults it does not.
func TestUploadPassesNginxAsItComes(t *testing.T) {
	t.Parallel()
	arrived := make(chan int)
	app := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			first := make([]byte, 1000)
			n, _ := io.ReadFull(r.Body, first)
			arrived <- n
			rest, err := io.Copy(io.Discard, r.Body)
			fmt.Fprintf(w, "%s %d of %d bytes, %v", r.URL.Path, int64(n)+rest, r.ContentLength, err)
		})
	}
	p := serveBelow(t, "", uploadLocation(t)+`
		location / { proxy_pass http://127.0.0.1:8080; }`, app)

	const size = 20 << 20
	body, send := io.Pipe()
	req, err := http.NewRequest(http.MethodPost, p.url+"/files/upload", body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = size
	go func() {
		io.Copy(send, io.LimitReader(zeros{}, 100_000))
		select {
		case <-arrived: // before the rest is sent
		case <-time.After(20 * time.Second):
			send.CloseWithError(fmt.Errorf("nothing has arrived"))
			return
		}
		io.Copy(send, io.LimitReader(zeros{}, size-100_000))
		send.Close()
	}()
	res, err := p.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, _ := io.ReadAll(res.Body)
	if want := fmt.Sprintf("/files/upload %d of %d bytes, <nil>", size, size); string(answer) != want {
		t.Errorf("status %d, %q, want %q", res.StatusCode, answer, want)
	}

	res, err = p.client.Post(p.url+"/elsewhere", "text/plain", strings.NewReader(strings.Repeat("x", 2<<20)))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("2 MB elsewhere: status %d, want nginx's 413", res.StatusCode)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
