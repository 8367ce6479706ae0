package graph

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"time"

	"example.com/msauth/internal/web"
)

// ErrNoPhoto means that nobody has set a photo. Most people have none.
var ErrNoPhoto = errors.New("graph: there is no photo")

// Photo opens the photo of a person or group at path, such as "me" or Path("users",
// id). size is its width and height in pixels: 48, 64, 96, 120, 240, 360, 432, 504
// or 648, or 0 for the largest that there is. If there is none, the error is
// [ErrNoPhoto] ("Get profilePhoto").
func (c *Client) Photo(ctx context.Context, path string, size int) (*Stream, error) {
	if strings.ContainsAny(path, "?#") {
		return nil, &InvalidError{Field: "path", Value: web.OneLine(hideShare(path), 200), Reason: "has a query"}
	}
	photo := "/photo/$value"
	if size != 0 {
		photo = fmt.Sprintf("/photos/%dx%d/$value", size, size)
	}
	s, err := c.stream(ctx, path+photo)
	if e, ok := errors.AsType[*Error](err); ok && (e.HasCode("ImageNotFound") || e.HasCode("ErrorItemNotFound") || e.HasCode("ConsumerPhotoIsNotSupported")) {
		return nil, fmt.Errorf("%w: %w", ErrNoPhoto, err)
	}
	return s, err
}

var errEncoded = errors.New("the content is encoded, and nobody asked for that")

func (c *Client) stream(ctx context.Context, path string) (*Stream, error) {
	r, err := c.newRequest(http.MethodGet, path, nil, nil)
	if err != nil {
		return nil, err
	}
	r.header.Set("Accept", "*/*")
	r.header.Set("Accept-Encoding", "identity")
	res, err := c.open(ctx, r)
	if err != nil {
		return nil, err
	}
	if encoding := res.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		res.Body.Close()
		return nil, unreadable(r.op, res, errEncoded)
	}
	return &Stream{res.Body, res.Header.Get("Content-Type"), res.ContentLength}, nil
}

// Thumbnails returns the pictures of an item in several sizes, with URLs that work
// without a token for some time. Most kinds of files have none.
func (f *Files) Thumbnails(ctx context.Context, item Ref) ([]ThumbnailSet, error) {
	path, err := f.at(item, "thumbnails")
	if err != nil {
		return nil, err
	}
	page, err := Get[Page[ThumbnailSet]](ctx, f.c, path)
	return page.Value, err
}

// Thumbnail opens the picture of an item in a size: "small", "medium" or "large",
// at most 96, 176 and 800 pixels wide and high. If there is none,
// errors.Is(err, fs.ErrNotExist).
func (f *Files) Thumbnail(ctx context.Context, item Ref, size string) (*Stream, error) {
	switch size {
	case "small", "medium", "large":
	default:
		return nil, &InvalidError{Field: "thumbnail size", Value: size, Reason: `must be "small", "medium" or "large"`}
	}
	path, err := f.at(item, "thumbnails/0/"+size+"/content")
	if err != nil {
		return nil, err
	}
	return f.c.stream(ctx, path)
}

// LinkOptions say what a sharing link is for ("driveItem: createLink").
type LinkOptions struct {
	Type     string    // "view", which is the default, "edit" or, for personal accounts, "embed"
	Scope    string    // "anonymous", "organization" or "users"; the default is the organization's
	Password string    // for personal accounts only
	Expires  time.Time // when the link ends, if it does
}

// CreateLink makes a link to an item that can be sent to others, or returns the one
// that there is. An organization can forbid it: errors.Is(err, fs.ErrPermission).
func (f *Files) CreateLink(ctx context.Context, item Ref, o LinkOptions) (Permission, error) {
	path, err := f.at(item, "createLink")
	if err != nil {
		return Permission{}, err
	}
	body := map[string]any{"type": "view"}
	if o.Type != "" {
		body["type"] = o.Type
	}
	if o.Scope != "" {
		body["scope"] = o.Scope
	}
	if o.Password != "" {
		body["password"] = o.Password
	}
	if !o.Expires.IsZero() {
		body["expirationDateTime"] = o.Expires.UTC().Format(time.RFC3339)
	}
	p, err := Post[Permission](ctx, f.c, path, body)
	if err == nil && (p.Link == nil || p.Link.WebURL == "") {
		return Permission{}, &Error{Op: web.OneLine("POST /"+hideShare(path), maxOp), Status: http.StatusOK, Err: errors.New("the answer has no link")}
	}
	return p, err
}

// Permissions returns who can do what with an item, its sharing links among them.
func (f *Files) Permissions(ctx context.Context, item Ref) iter.Seq2[Permission, error] {
	path, err := f.at(item, "permissions")
	if err != nil {
		return failing[Permission](err)
	}
	return List[Permission](ctx, f.c, path)
}

// DeletePermission takes back a sharing link, or another permission of an item.
func (f *Files) DeletePermission(ctx context.Context, item Ref, id string) error {
	if id == "" {
		return &InvalidError{Field: "permission", Reason: "is empty"}
	}
	path, err := f.at(item, "permissions/"+escape(id))
	if err != nil {
		return err
	}
	return f.c.Delete(ctx, path)
}
