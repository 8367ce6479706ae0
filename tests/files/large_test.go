package files_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"

	"example.com/msauth/graph"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// A stream is content that was never in memory, with its hash.
type stream struct {
	io.Reader
	sum hash.Hash
}

func newStream(size int64) *stream {
	sum := graph.NewQuickXorHash()
	return &stream{io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), size), sum), sum}
}

// largest is how much live heap a transfer may add.
const largest = 16 << 20

// A watch measures the live heap, and says how much it has grown at most.
type watch struct{ before, most uint64 }

func (w *watch) look() {
	if now := testsite.LiveHeap(); now > w.before {
		w.most = max(w.most, now-w.before)
	}
}

// Files of any size go through in the memory of a chunk, up and down. The stand-in
// is in this process too: it keeps files on disk.
func TestLargeFilesTakeLittleMemory(t *testing.T) {
	size := int64(testsite.Times(100, 1000)) * 1_000_000
	p := signIn(t, msauthtest.Ada)
	p.put(t, "warm.bin", content(6<<20, 1)) // connections, buffers
	w := watch{before: testsite.LiveHeap()}
	content := newStream(size)
	it, err := p.files.Upload(t.Context(), graph.Ref{Path: "large.bin"}, content, size, graph.UploadOptions{Progress: func(int64, int64) { w.look() }})
	if err != nil || it.Size != size {
		t.Fatalf("%+v, %v", it, err)
	}
	up := w.most
	w = watch{before: testsite.LiveHeap()}
	d, err := p.files.Download(t.Context(), graph.Ref{ID: it.ID}, graph.DownloadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	sum, n := graph.NewQuickXorHash(), int64(0)
	for {
		part, err := io.CopyN(sum, d, 5<<20)
		w.look()
		if n += part; errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n != size || !bytes.Equal(sum.Sum(nil), content.sum.Sum(nil)) {
		t.Errorf("%d bytes have come back, and they are not the %d that were sent", n, size)
	}
	t.Logf("live heap above that before: at most %.1f MB up, %.1f MB down, for %d MB", float64(up)/1e6, float64(w.most)/1e6, size/1e6)
	if up > largest || w.most > largest {
		t.Errorf("live heap has grown by %d bytes up, %d down; want at most %d", up, w.most, largest)
	}
	p.wantNoTokens(t, msauthtest.Upload, msauthtest.Download)
}

// Three chunks are lost, one comes again that the drive has, the session expires,
// and not a byte is lost or doubled.
func TestUploadOverABadConnection(t *testing.T) {
	everybody(t, func(t *testing.T, p *person) {
		lost := msauthtest.Failure{LoseReply: true}
		busy := msauthtest.Failure{Status: 503, Header: http.Header{"Retry-After": {"1"}}}
		for name, fails := range map[string][]msauthtest.Failure{
			"answers are lost":       {{}, lost, {}, lost, {}, {}, lost},
			"the host is busy":       {{}, busy, {}, busy},
			"the last answer is too": {{}, {}, {}, {}, lost},
		} {
			want := content(4*graph.ChunkUnit+1, 2)
			p.ms.Set(func(b *msauthtest.Behavior) { b.Fail[msauthtest.Upload] = fails })
			it, err := p.files.Upload(t.Context(), graph.Ref{Path: "a.bin"}, bytes.NewReader(want), int64(len(want)), graph.UploadOptions{
				Conflict: graph.Rename, ChunkSize: graph.ChunkUnit,
			})
			if err != nil || !bytes.Equal(p.read(t, graph.Ref{ID: it.ID}), want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := p.names(t, graph.Ref{}); len(got) != 6+3 { // the drive had six
			t.Errorf("the drive has %q", got)
		}
		want := content(6<<20, 3)
		first := true
		it, err := p.files.Upload(t.Context(), graph.Ref{Path: "b.bin"}, bytes.NewReader(want), int64(len(want)), graph.UploadOptions{
			Progress: func(int64, int64) {
				if first {
					p.ms.ExpireUploads()
				}
				first = false
			},
		})
		if err != nil || !bytes.Equal(p.read(t, graph.Ref{ID: it.ID}), want) {
			t.Errorf("an expired session: %v", err)
		}
		p.wantNoTokens(t, msauthtest.Upload)
	})
}

// A download goes on when its connection is cut and its URL has expired.
func TestDownloadOverABadConnection(t *testing.T) {
	everybody(t, func(t *testing.T, p *person) {
		want := content(3<<20, 4)
		it := p.put(t, "a.bin", want)
		cut := msauthtest.Failure{Handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(want)))
			w.Write(want[:1<<20])
			panic(http.ErrAbortHandler)
		}}
		p.ms.Set(func(b *msauthtest.Behavior) { b.Fail[msauthtest.Download] = []msauthtest.Failure{cut, {Status: 503}} })
		d, err := p.files.Download(t.Context(), graph.Ref{ID: it.ID}, graph.DownloadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		first := make([]byte, 500_000)
		if _, err := io.ReadFull(d, first); err != nil {
			t.Fatal(err)
		}
		p.ms.ExpireDownloads()
		rest, err := io.ReadAll(d)
		if err != nil || !bytes.Equal(append(first, rest...), want) {
			t.Errorf("%d bytes, %v", len(first)+len(rest), err)
		}
		part, err := p.files.Download(t.Context(), graph.Ref{ID: it.ID}, graph.DownloadOptions{Offset: 1 << 20, Length: 99, CTag: it.CTag})
		if err != nil {
			t.Fatal(err)
		}
		defer part.Close()
		if got, err := io.ReadAll(part); err != nil || !bytes.Equal(got, want[1<<20:1<<20+99]) {
			t.Errorf("a part: %d bytes, %v", len(got), err)
		}
		p.wantNoTokens(t, msauthtest.Download)
	})
}

// numbers is a content in which each byte tells where it belongs, for comparing
// what two processes have sent.
func numbers(n int) []byte {
	b := make([]byte, 0, n+8)
	for i := uint64(0); len(b) < n; i++ {
		b = binary.BigEndian.AppendUint64(b, i)
	}
	return b[:n]
}
