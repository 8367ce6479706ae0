package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"
	"time"
)

var (
	//go:embed page.html
	html string
	//go:embed page.css
	css string

	pages = template.Must(template.New("page").Parse(html))
)

// StyleSource is the style sheet as a source expression of style-src (Content
// Security Policy Level 3, section 2.3.1).
var StyleSource = func() string {
	sum := sha256.Sum256([]byte(css))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}()

// Write writes a page of HTML. content is a struct with the fields Kind, Title,
// Text, Script, Notes, Language, Dir, ID, IDLabel, Links, Fields and FieldsLabel; those of the notes are Text,
// TextID and Hidden, of the links URL, Label, Post, Token and NewTab. Fields, each with
// Name and Value, are hidden in every form or, if there is none, shown. After
// refresh, if that is not 0, the page goes on to its first link by itself: less
// than a second means at once. reload has Turbo load it as a page of its own.
func Write(w io.Writer, content any, refresh time.Duration, reload bool) error {
	return pages.Execute(w, struct {
		Page   any
		Style  template.CSS
		Goes   bool
		After  int // seconds
		Reload bool
	}{content, template.CSS(css), refresh > 0, int(refresh / time.Second), reload}) // #nosec G203 -- a constant
}
