package msauthtest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// presignedLife is the lifetime of a pre-signed URL.
const presignedLife = time.Hour

// A drive is a person's OneDrive. Server.files guards it and its items.
type drive struct {
	root *item
	next int // number of the next item of a personal account
}

// An item is a folder or a file of a drive. Its content is never modified, only
// replaced.
type item struct {
	id       string
	name     string
	folder   bool
	mime     string
	content  []byte
	hash     string // SHA-256 of content, in hexadecimal
	version  int
	children []*item
	parent   *item
	created  time.Time
	modified time.Time
}

func (it *item) size() int64 {
	n := int64(len(it.content))
	for _, c := range it.children {
		n += c.size()
	}
	return n
}

// child returns the child of that name, or nil. As in OneDrive, names are
// case-insensitive.
func (it *item) child(name string) *item {
	for _, c := range it.children {
		if strings.EqualFold(c.name, name) {
			return c
		}
	}
	return nil
}

// count returns the number of items, including this one.
func (it *item) count() int {
	n := 1
	for _, c := range it.children {
		n += c.count()
	}
	return n
}

// within reports whether the item is top or below it.
func (it *item) within(top *item) bool {
	for ; it != nil; it = it.parent {
		if it == top {
			return true
		}
	}
	return false
}

func (it *item) eTag() string {
	return fmt.Sprintf(`"{%s},%d"`, strings.ToUpper(derivedGUID("etag "+it.id)), it.version)
}

func (it *item) find(id string) *item {
	if it.id == id {
		return it
	}
	for _, c := range it.children {
		if found := c.find(id); found != nil {
			return found
		}
	}
	return nil
}

// urlPath returns the escaped path below the root, or "" for the root.
func (it *item) urlPath() string {
	if it.parent == nil {
		return ""
	}
	return it.parent.urlPath() + "/" + url.PathEscape(it.name)
}

func folder(name string, children ...*item) *item {
	return &item{name: name, folder: true, children: children}
}

func file(name, mime string, content []byte) *item {
	it := &item{name: name, mime: mime}
	it.setContent(content)
	return it
}

func textFile(name, content string) *item {
	kind := "text/plain"
	switch {
	case strings.HasSuffix(name, ".csv"):
		kind = "text/csv"
	case strings.HasSuffix(name, ".md"):
		kind = "text/markdown"
	}
	return file(name, kind, []byte(content))
}

func (it *item) setContent(content []byte) {
	it.content = content
	it.hash = fmt.Sprintf("%X", sha256.Sum256(content))
}

// driveOf returns the drive of a person and makes it at the first call. s.files
// is held.
func (s *Server) driveOf(u User) *drive {
	d, ok := s.drives[u.ObjectID]
	if !ok {
		d = newDrive(u)
		s.drives[u.ObjectID] = d
	}
	return d
}

func newDrive(u User) *drive {
	pictures := landscapes()
	given := u.GivenName
	if given == "" {
		given = u.Name
	}
	root := folder("root",
		folder("Attachments"),
		folder("Documents",
			textFile("Budget 2026.csv", "Month,Planned,Spent\nJanuary,1200,1134.50\nFebruary,1200,1260.10\nMarch,1350,1302.75\nApril,1350,1349.99\n"),
			textFile("Meeting notes.md", "# Meeting notes\n\n- Present: "+given+", Priya, Tomás\n- The survey is done; the report follows on Friday.\n- Next meeting: Tuesday at 10.\n"),
			folder("Reports",
				folder("2025",
					textFile("Résumé annuel.txt", "Résumé de l'année 2025\n\nDouze visites, trois rapports, aucun retard.\n"),
				),
				folder("2026",
					textFile("Site survey – Zürich.txt", "Site survey, Zürich\n\nThe ground is firm. Two trial pits were dug to a depth of 3 m; no water was met.\n"),
					textFile("測定結果.csv", "日付,温度,湿度\n2026-03-02,11.5,62\n2026-03-03,12.1,58\n2026-03-04,10.9,66\n"),
				),
			),
		),
		folder("Pictures",
			file("Harbour.png", "image/png", pictures[0]),
			file("Sunrise.png", "image/png", pictures[1]),
			file("Été à la mer.png", "image/png", pictures[2]),
		),
		textFile("Measurements.csv", measurements()),
		textFile("Shopping list.txt", "Bread\nOlive oil\nCoffee\nA birthday card\n"),
		textFile("Welcome, "+strings.Map(fileRune, given)+".txt", "Hello "+given+",\n\nthis is your OneDrive on the local Microsoft. Nothing here is real, and nothing leaves this computer.\n"),
	)
	base := time.Date(2026, time.January, 12, 8, 30, 0, 0, time.UTC)
	n := 0
	var number func(it *item, path string)
	number = func(it *item, path string) {
		it.id = itemID(u, path, n)
		it.version = 1
		it.created = base.Add(time.Duration(n) * 31 * time.Hour)
		it.modified = it.created.Add(time.Duration(n%5) * 7 * time.Hour)
		n++
		for _, c := range it.children {
			c.parent = it
			number(c, path+"/"+c.name)
		}
	}
	number(root, "")
	return &drive{root: root, next: n}
}

// fileRune is a mapping for strings.Map that drops characters not allowed in
// file names.
func fileRune(r rune) rune {
	if strings.ContainsRune(`"*:<>?/\|`, r) || r < ' ' {
		return -1
	}
	return r
}

// itemID returns an ID in the form of the kind of drive.
func itemID(u User, path string, n int) string {
	if u.personal() {
		return fmt.Sprintf("%s!%d", driveID(u), 101+n)
	}
	sum := sha256.Sum256([]byte("item " + u.ObjectID + path))
	return "01" + base32.StdEncoding.EncodeToString(sum[:20])
}

// measurements returns a file long enough for ranges and progress bars.
func measurements() string {
	var b strings.Builder
	b.WriteString("time,sensor,value\n")
	for i := range 4000 {
		fmt.Fprintf(&b, "2026-02-%02dT%02d:%02d:00Z,S%d,%d.%d\n", 1+i/1440, i/60%24, i%60, 1+i%3, 18+i*7%11, i*13%10)
	}
	return b.String()
}

// landscapes returns three pictures of hills under a sky. They are drawn once.
var landscapes = sync.OnceValue(func() [][]byte {
	skies := [][2]color.RGBA{
		{{0x8f, 0xb8, 0xde, 0xff}, {0x2c, 0x4a, 0x6b, 0xff}},
		{{0xf6, 0xb2, 0x6b, 0xff}, {0x6a, 0x3d, 0x52, 0xff}},
		{{0x9e, 0xdb, 0xd6, 0xff}, {0x1e, 0x6f, 0x7a, 0xff}},
	}
	var all [][]byte
	for n, sky := range skies {
		const width, height = 480, 320
		img := image.NewRGBA(image.Rect(0, 0, width, height))
		for x := range width {
			a, b := float64(x)/width, float64(x+60*n)/width
			far := 190 + 60*(a-.5)*(a-.5)*4 - 25*a
			near := 250 - 90*b*(1-b)
			for y := range height {
				c := sky[0]
				fade := float64(y) / height
				c.R -= uint8(float64(c.R) * .3 * fade)
				c.G -= uint8(float64(c.G) * .2 * fade)
				switch {
				case float64(y) > near:
					c = sky[1]
				case float64(y) > far:
					c = color.RGBA{sky[0].R/3 + sky[1].R/2, sky[0].G/3 + sky[1].G/2, sky[0].B/3 + sky[1].B/2, 255}
				case sq(float64(x-330+80*n))+sq(float64(y-80)) < 900:
					c = color.RGBA{255, 244, 214, 255}
				}
				img.SetRGBA(x, y, c)
			}
		}
		var b bytes.Buffer
		if err := png.Encode(&b, img); err != nil {
			panic("msauthtest: " + err.Error())
		}
		all = append(all, b.Bytes())
	}
	return all
})

// presigned returns a URL that serves a file without a token, on another host
// name, for an hour.
func (e *exchange) presigned(u User, it *item) string {
	head := binary.BigEndian.AppendUint64(nil, uint64(time.Now().Add(presignedLife).Unix()))
	head = append(head, randomBytes(16)...)
	path := "/download/" + url.PathEscape(u.ObjectID) + "/" + url.PathEscape(it.id) + "/" + url.PathEscape(it.name)
	return e.otherURL + path + "?tempauth=v1." + b64(append(head, e.presign(head, u.ObjectID, it.id)...))
}

func (s *Server) presign(head []byte, owner, id string) []byte {
	h := hmac.New(sha256.New, s.signer)
	h.Write(head)
	h.Write([]byte(owner + "\x00" + id))
	return h.Sum(nil)
}

// download serves a file at its pre-signed URL, including ranges. Like the real
// storage host, it refuses requests with a bearer token: their client has sent
// the token to a host that must not have it.
func (e *exchange) download(w http.ResponseWriter, r *http.Request) {
	if !readOnly(w, r) {
		return
	}
	if r.Header.Get("Authorization") != "" {
		graphError(w, r, http.StatusBadRequest, "invalidRequest",
			"A pre-signed URL must be requested without an Authorization header: the access token was sent to a host that is not Graph.")
		return
	}
	parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/download/"), "/", 3)
	text, _ := strings.CutPrefix(r.URL.Query().Get("tempauth"), "v1.")
	token, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(token) != 24+sha256.Size || len(parts) != 3 ||
		!hmac.Equal(token[24:], e.presign(token[:24], parts[0], parts[1])) {
		graphError(w, r, http.StatusUnauthorized, "unauthenticated", "The pre-signed URL is not valid.")
		return
	}
	if time.Now().Unix() > int64(binary.BigEndian.Uint64(token[:8])) {
		graphError(w, r, http.StatusUnauthorized, "unauthenticated", "The pre-signed URL has expired.")
		return
	}
	e.files.Lock()
	var it item
	if d := e.drives[parts[0]]; d != nil {
		if found := d.root.find(parts[1]); found != nil {
			it = *found
		}
	}
	e.files.Unlock()
	if it.id == "" || it.folder {
		graphError(w, r, http.StatusNotFound, "itemNotFound", "The resource could not be found.")
		return
	}
	w.Header().Set("Content-Type", it.mime)
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": it.name}))
	w.Header().Set("Content-Security-Policy", "sandbox")
	http.ServeContent(w, r, "", it.modified, bytes.NewReader(it.content))
}
