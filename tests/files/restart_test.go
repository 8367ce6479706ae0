package files_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"errors"

	"example.com/msauth/graph"
	"example.com/msauth/msauthtest"
)

// childEnv tells a process of this program that it is one that uploads a file:
// the base URL. Its other settings are in the variables below.
const (
	childEnv    = "MSAUTH_TEST_UPLOAD_TO"
	tokenEnv    = "MSAUTH_TEST_TOKEN"
	folderEnv   = "MSAUTH_TEST_FOLDER" // with the file, and the session
	sessionFile = "session"
)

type withToken string

func (token withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(token))
	return http.DefaultTransport.RoundTrip(r)
}

// child uploads a file as a program does that may be killed at any time: it keeps
// its upload session in a file, and goes on with the one that it finds there.
func child() {
	dir := os.Getenv(folderEnv)
	c := graph.New(&http.Client{Transport: withToken(os.Getenv(tokenEnv))}, os.Getenv(childEnv))
	file, err := os.Open(filepath.Join(dir, "content"))
	if err != nil {
		panic(err)
	}
	o := graph.UploadOptions{
		ChunkSize: graph.ChunkUnit,
		Session: func(s graph.UploadSession) error {
			b, err := s.MarshalBinary()
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, sessionFile), b, 0o600)
		},
	}
	var s graph.UploadSession
	switch b, err := os.ReadFile(filepath.Join(dir, sessionFile)); {
	case errors.Is(err, fs.ErrNotExist):
		info, err := file.Stat()
		if err != nil {
			panic(err)
		}
		_, err = c.Files("").Upload(context.Background(), graph.Ref{Path: "a.bin"}, file, info.Size(), o)
		done(err)
	case err != nil:
		panic(err)
	default:
		if err := s.UnmarshalBinary(b); err != nil {
			panic(err)
		}
		_, err := c.ResumeUpload(context.Background(), s, file, o)
		done(err)
	}
}

func done(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// A process is killed several times, and the file that the last one completes has
// each byte once.
func TestUploadByProcessesThatAreKilled(t *testing.T) {
	everybody(t, func(t *testing.T, p *person) {
		dir := t.TempDir()
		want := numbers(12*graph.ChunkUnit + 5)
		if err := os.WriteFile(filepath.Join(dir, "content"), want, 0o600); err != nil {
			t.Fatal(err)
		}
		p.ms.Set(func(b *msauthtest.Behavior) {
			b.Delay = map[msauthtest.Kind]time.Duration{msauthtest.Upload: 50 * time.Millisecond}
		})
		start := func() *exec.Cmd {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childEnv+"="+p.ms.URL+"/v1.0", tokenEnv+"="+p.token(t), folderEnv+"="+dir)
			cmd.Stderr = new(bytes.Buffer)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			return cmd
		}
		const kills = 3
		for n := 1; n <= kills; n++ {
			cmd := start()
			for deadline := time.Now().Add(30 * time.Second); p.ms.Count(msauthtest.Upload) < 3*n; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("it does not upload: ", cmd.Stderr)
				}
			}
			cmd.Process.Kill() // SIGKILL
			cmd.Wait()
			if _, err := p.files.Stat(t.Context(), graph.Ref{Path: "a.bin"}); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("the file is there already, or %v", err)
			}
		}
		cmd := start()
		if err := cmd.Wait(); err != nil {
			t.Fatal(err, cmd.Stderr)
		}
		if got := p.read(t, graph.Ref{Path: "a.bin"}); !bytes.Equal(got, want) {
			t.Errorf("the file has %d bytes, and they are not the %d of the content", len(got), len(want))
		}
		sent := 0
		for _, call := range p.ms.Calls(msauthtest.Upload) {
			if call.Method == http.MethodPut {
				sent++
			}
		}
		if sent > 13+kills {
			t.Errorf("%d chunks of 13 were sent: what had arrived was sent again", sent)
		}
		p.wantNoTokens(t, msauthtest.Upload)
	})
}
