package graph_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/msauth/graph"
	"example.com/msauth/internal/bearer"
	"golang.org/x/oauth2"
)

// perConnection answers each connection with a function of its own.
func perConnection(t *testing.T, serve func(net.Conn)) (host string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return l.Addr().String()
}

// Once a server has switched protocols, net/http leaves the connection to the
// caller, and no context ends a read of it.
func TestAnAnswer101EndsWithTheContext(t *testing.T) {
	t.Parallel()
	held := make(chan struct{})
	t.Cleanup(func() { close(held) })
	host := perConnection(t, func(conn net.Conn) {
		defer conn.Close()
		conn.Read(make([]byte, 4096))
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		<-held
	})
	c := graph.New(nil, "http://"+host+"/v1.0")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := graph.Get[struct{}](ctx, c, "me")
		ended <- err
	}()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the call goes on 5 seconds after its context has ended")
	}
}

// sessionClient is like what Session.Client returns: it waits where an API asks it
// to.
func sessionClient(ctx context.Context, base http.RoundTripper, host string) *http.Client {
	return &http.Client{Transport: &bearer.Transport{
		Ctx: ctx,
		Token: func(context.Context, []string) (*oauth2.Token, error) {
			return &oauth2.Token{AccessToken: "secret"}, nil
		},
		Hosts: map[string][]string{host: nil}, Base: base,
	}}
}

func download(t *testing.T, d *drive, o graph.DownloadOptions) ([]byte, error) {
	t.Helper()
	in, err := d.myFiles().Download(t.Context(), graph.Ref{Path: "a.bin"}, o)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return io.ReadAll(in)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A question mark would make a query of all that follows: DELETE groups/1?/items/2
// deletes the group.
func TestADriveWithAQuery(t *testing.T) {
	t.Parallel()
	for _, drive := range []string{"groups/1?x=", "me/drive#", "me?"} {
		c, w := clientOf(reply(204, ""))
		err := c.Files(drive).Delete(t.Context(), graph.Ref{ID: "2"})
		if _, ok := errors.AsType[*graph.InvalidError](err); !ok || len(w.got) > 0 {
			t.Errorf("%q: %v, %+v", drive, err, w.got)
		}
	}
	c, w := clientOf(reply(200, "{}"))
	_, err := c.Photo(t.Context(), "me?x=", 0)
	if _, ok := errors.AsType[*graph.InvalidError](err); !ok || len(w.got) > 0 {
		t.Errorf("a photo: %v, %+v", err, w.got)
	}
}

func TestTheStatusOfAnExpiredSession(t *testing.T) {
	t.Parallel()
	for status, code := range map[int]string{401: "expiredToken", 404: "itemNotFound", 400: "uploadSessionFailed"} {
		d := newDrive(t)
		s, err := d.myFiles().StartUpload(t.Context(), graph.Ref{Path: "a"}, 10, graph.UploadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		d.before = func(r *http.Request) (*http.Response, error) { return fault(status, code), nil }
		if _, err := d.client().UploadStatus(t.Context(), s); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d: %v is not fs.ErrNotExist", status, err)
		}
	}
}

func TestAHeaderThatHTTPCannotCarry(t *testing.T) {
	t.Parallel()
	c := serve(t, func(http.ResponseWriter, *http.Request) {})
	for _, h := range []http.Header{{"If-Match": {"a\r\nX: y"}}, {"A b": {"c"}}, {"": {"c"}}} {
		_, err := graph.Get[struct{}](t.Context(), c, "me", graph.Query{Header: h})
		if _, ok := errors.AsType[*graph.InvalidError](err); !ok {
			t.Errorf("%q: %v (%T)", h, err, err)
		}
	}
}

func TestZeroValuesDoNotPanic(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for name, f := range map[string]func() error{
		"Client":    func() error { _, err := graph.Get[struct{}](ctx, new(graph.Client), "me"); return err },
		"no Client": func() error { _, err := graph.Get[struct{}](ctx, nil, "me"); return err },
		"Files":     func() error { _, err := new(graph.Files).Stat(ctx, graph.Ref{}); return err },
		"Upload": func() error {
			_, err := new(graph.Files).Upload(ctx, graph.Ref{Path: "a"}, strings.NewReader("a"), 1, graph.UploadOptions{})
			return err
		},
		"Operation":        func() error { _, err := new(graph.Operation).Wait(ctx, nil); return err },
		"Client.Operation": func() error { _, err := new(graph.Client).Operation("https://a.example/"); return err },
		"Download":         func() error { _, err := io.ReadAll(new(graph.Download)); return err },
		"Close":            func() error { new(graph.Download).Close(); return errDropped },
		"Changes": func() error {
			for _, err := range new(graph.Changes[int]).All(ctx) {
				return err
			}
			return nil
		},
		"Delta": func() error {
			for _, err := range graph.Delta[int](nil, "a").All(ctx) {
				return err
			}
			return nil
		},
		"Batch": func() error { _, err := new(graph.Client).Batch(ctx, graph.BatchRequest{Path: "me"}); return err },
		"Status": func() error {
			_, err := new(graph.Client).UploadStatus(ctx, graph.UploadSession{URL: "https://a.example/"})
			return err
		},
		"Resume": func() error {
			_, err := new(graph.Client).ResumeUpload(ctx, graph.UploadSession{}, nil, graph.UploadOptions{})
			return err
		},
		"Response": func() error { return graph.BatchResponse{}.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("panic: %v", r)
				}
			}()
			if err := f(); err == nil {
				t.Error("no error")
			}
		})
	}
}

// The root is a folder as any other.
func TestASlashIsTheRoot(t *testing.T) {
	t.Parallel()
	c, _ := clientOf(reply(200, `{"id":"1"}`))
	if _, err := c.Files("").Stat(t.Context(), graph.Ref{Path: "/"}); err != nil {
		t.Error(err)
	}
}

func TestContextsThatAreDone(t *testing.T) {
	d := newDrive(t)
	d.put("a", content(10))
	cause := errors.New("cause")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	c, f := d.client(), d.myFiles()
	for name, do := range map[string]func() error{
		"get": func() error { _, err := graph.Get[struct{}](ctx, c, "me"); return err },
		"up": func() error {
			_, err := f.Upload(ctx, graph.Ref{Path: "b"}, strings.NewReader("a"), 1, graph.UploadOptions{})
			return err
		},
		"up0": func() error {
			_, err := f.Upload(ctx, graph.Ref{Path: "b"}, strings.NewReader(""), 0, graph.UploadOptions{})
			return err
		},
		"upR": func() error {
			_, err := f.Upload(ctx, graph.Ref{Path: "b"}, strings.NewReader("a"), 1, graph.UploadOptions{Conflict: graph.Replace})
			return err
		},
		"down":  func() error { _, err := f.Download(ctx, graph.Ref{Path: "a"}, graph.DownloadOptions{}); return err },
		"batch": func() error { _, err := c.Batch(ctx, graph.BatchRequest{Path: "me"}); return err },
		"photo": func() error { _, err := c.Photo(ctx, "me", 0); return err },
		"copy":  func() error { _, err := f.Copy(ctx, graph.Ref{Path: "a"}, graph.Ref{}, "", graph.Fail); return err },
		"wait":  func() error { o, _ := c.Operation("https://storage.example/x"); _, err := o.Wait(ctx, nil); return err },
		"list": func() error {
			for _, err := range f.List(ctx, graph.Ref{}) {
				return err
			}
			return nil
		},
		"delta": func() error {
			for _, err := range graph.Delta[int](c, "me/drive/root/delta").All(ctx) {
				return err
			}
			return nil
		},
		"resume": func() error {
			_, err := c.ResumeUpload(ctx, graph.UploadSession{URL: "https://storage.example/upload/1", Size: 1}, strings.NewReader("a"), graph.UploadOptions{})
			return err
		},
		"cancel": func() error {
			return c.CancelUpload(ctx, graph.UploadSession{URL: "https://storage.example/upload/1", Size: 1})
		},
	} {
		if err := do(); !errors.Is(err, cause) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
