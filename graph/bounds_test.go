package graph_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/graph"
)

// A small document can be a list of very many empty elements, which take far more
// memory than their two bytes.
func TestAListOfVeryManyElements(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, doc string
		ok        bool
	}{
		{"objects", `{"value":[` + strings.Repeat("{},", 150_000) + `{}]}`, false},
		{"nulls", `{"value":[` + strings.Repeat("null,", 150_000) + `null]}`, false},
		{"lists in lists", `{"value":[],"x":[` + strings.Repeat("[[]],", 80_000) + `[]]}`, false},
		{"a text of commas", `{"value":[{"name":"` + strings.Repeat(`,[\"`, 200_000) + `"}]}`, true},
		{"a full page", `{"value":[` + strings.Repeat(`{"id":"a","name":"b","size":1,"parentReference":{"id":"c"}},`, 5000) + `{}]}`, true},
		{"more ends than beginnings", `]}]}`, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, _ := clientOf(reply(200, test.doc))
			var err error
			for _, err = range graph.List[graph.DriveItem](t.Context(), c, "me/drive/root/children") {
				if err != nil {
					break
				}
			}
			if many := err != nil && strings.Contains(err.Error(), "more than 100,000 elements"); many == test.ok {
				t.Errorf("error %v", err)
			}
		})
	}
}

// Outages shorter than a minute do not end a transfer.
func TestTransfersOutlastAnOutage(t *testing.T) {
	t.Parallel()
	for _, outage := range []time.Duration{20 * time.Second, 40 * time.Second} {
		t.Run(outage.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDrive(t)
				want := content(3 * unit)
				put := 0
				var begun time.Time
				d.before = func(r *http.Request) (*http.Response, error) {
					if r.URL.Host != "storage.example" {
						return nil, nil
					}
					if put++; put == 2 {
						begun = time.Now()
					}
					if !begun.IsZero() && time.Since(begun) < outage {
						return nil, errDropped
					}
					return nil, nil
				}
				_, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a.bin"}, once{bytes.NewReader(want)}, int64(len(want)), graph.UploadOptions{ChunkSize: unit})
				if err != nil {
					t.Fatal(err)
				}
				put, begun = 1, time.Time{} // the next request fails
				if got, _, err := fetch(t.Context(), d, graph.DownloadOptions{}); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			})
		})
	}
}

// A session that nobody knows may hold the name. That is no file.
func TestStartUploadWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	for _, exists := range []bool{false, true} {
		t.Run(fmt.Sprint("the file exists: ", exists), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDrive(t)
				n := 0
				d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
					if r.Method == "POST" {
						if n++; n == 1 {
							return text(503, ""), nil
						}
						if exists {
							d.put("a.bin", nil)
						}
						return fault(409, "nameAlreadyExists"), nil
					}
					return res, nil
				}
				_, err := d.myFiles().StartUpload(t.Context(), graph.Ref{Path: "a.bin"}, 10, graph.UploadOptions{})
				if err == nil || errors.Is(err, fs.ErrExist) != exists {
					t.Errorf("%v is fs.ErrExist: %t", err, !exists)
				}
			})
		})
	}
}

// URLs that an app has kept, or got from a browser, do not lead into its network.
func TestStorageHostsHaveNames(t *testing.T) {
	t.Parallel()
	for url, ok := range map[string]bool{
		"https://contoso-my.sharepoint.com/x": true, "https://storage.example/x": true,
		"https://10.0.0.1/x": false, "https://169.254.169.254/latest": false, "https://[::1]/x": false, "https://localhost/x": false, "https://metadata/x": false, "https://db./x": false,
	} {
		c, w := clientOf(reply(200, `{"status":"completed"}`))
		_, err := c.WithStorage(w).Operation(graph.SecretURL(url))
		if (err == nil) != ok || !ok && !isInvalid(err, "storage URL") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
