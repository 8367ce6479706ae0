package graphsdk

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"example.com/msauth"
)

// The same without the SDK: with the HTTP client of the session.

// An Item is a file or a folder.
type Item struct {
	ID, Name string
	Size     int64
}

// PlainMe returns the name of the user who is signed in.
func PlainMe(ctx context.Context, s *msauth.Session, graph string) (name string, err error) {
	me, err := read[struct{ DisplayName string }](s.Client(ctx).Get(graph + "/me"))
	return me.DisplayName, err
}

// PlainList reads the first page of the top folder.
func PlainList(ctx context.Context, s *msauth.Session, graph string) ([]Item, error) {
	list, err := read[struct{ Value []Item }](s.Client(ctx).Get(graph + "/me/drive/root/children?$top=100"))
	return list.Value, err
}

// PlainUpload writes a file, by its path.
func PlainUpload(ctx context.Context, s *msauth.Session, graph, path string, content io.Reader) (Item, error) {
	address := graph + "/me/drive/root:/" + (&url.URL{Path: path}).EscapedPath() + ":/content"
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, address, content)
	if err != nil {
		return Item{}, err
	}
	return read[Item](s.Client(ctx).Do(req))
}

// PlainDownload copies a file to w, such as the response to a browser, without
// reading all of it into memory. Graph redirects to the file's URL, to which the
// client does not send the token.
func PlainDownload(ctx context.Context, s *msauth.Session, graph, path string, w io.Writer) error {
	res, err := s.Client(ctx).Get(graph + "/me/drive/root:/" + (&url.URL{Path: path}).EscapedPath() + ":/content")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("OneDrive answers %s", res.Status)
	}
	_, err = io.Copy(w, res.Body)
	return err
}

// read decodes a response of Graph.
func read[T any](res *http.Response, err error) (answer T, _ error) {
	if err != nil {
		return answer, err
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		return answer, fmt.Errorf("Graph answers %s", res.Status)
	}
	err = json.NewDecoder(res.Body).Decode(&answer)
	return answer, err
}
