package msauthtest

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	_ "image/gif" // decoded, as PNG is
	"image/jpeg"
	_ "image/png"
	"net/http"
	"strings"
)

// thumbnailSizes are the longest sides of thumbnails, in pixels
// ("thumbnailSet resource type"). Pictures are not enlarged.
var thumbnailSizes = []struct {
	name string
	side int
}{{"small", 96}, {"medium", 176}, {"large", 800}}

// maxPixels is the size of the largest picture that has thumbnails.
const maxPixels = 24_000_000

// A picture is the size of a content that can be decoded.
type picture struct{ width, height int }

// measure returns the size of the picture that a content is, or nil.
func measure(c *content) *picture {
	img := decodePicture(c)
	if img == nil {
		return nil
	}
	return &picture{img.Rect.Dx(), img.Rect.Dy()}
}

// decodePicture returns the pixels of the picture that a content is, on white,
// or nil.
func decodePicture(c *content) *image.RGBA {
	config, _, err := image.DecodeConfig(c.reader())
	if err != nil || config.Width <= 0 || config.Height <= 0 || config.Width > maxPixels/config.Height {
		return nil
	}
	img, _, err := image.Decode(c.reader())
	if err != nil {
		return nil
	}
	return onWhite(img)
}

// onWhite returns the pixels of a picture. What is transparent becomes white.
func onWhite(img image.Image) *image.RGBA {
	b := img.Bounds()
	pixels := image.NewRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	draw.Draw(pixels, pixels.Bounds(), image.NewUniform(color.White), image.Point{}, draw.Src)
	draw.Draw(pixels, pixels.Bounds(), img, b.Min, draw.Over)
	return pixels
}

// fit returns the size of a thumbnail whose longest side is at most side.
func fit(width, height, side int) (int, int) {
	if longest := max(width, height); longest > side {
		width, height = max(1, width*side/longest), max(1, height*side/longest)
	}
	return width, height
}

// scale makes a picture smaller: each pixel is the mean of those that it
// replaces.
func scale(from *image.RGBA, width, height int) *image.RGBA {
	b := from.Bounds()
	if b.Dx() == width && b.Dy() == height {
		return from
	}
	to := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		y0 := y * b.Dy() / height
		y1 := max(y0+1, (y+1)*b.Dy()/height)
		for x := range width {
			x0 := x * b.Dx() / width
			x1 := max(x0+1, (x+1)*b.Dx()/width)
			var sum [4]int
			for v := y0; v < y1; v++ {
				row := from.Pix[from.PixOffset(x0, v):]
				for i := range (x1 - x0) * 4 {
					sum[i%4] += int(row[i])
				}
			}
			n := (x1 - x0) * (y1 - y0)
			to.SetRGBA(x, y, color.RGBA{uint8(sum[0] / n), uint8(sum[1] / n), uint8(sum[2] / n), uint8(sum[3] / n)})
		}
	}
	return to
}

// pictured returns the picture of a file, or nil if it has none.
func (it *item) pictured() *picture {
	if it.content == nil || !strings.HasPrefix(it.mime, "image/") {
		return nil
	}
	return it.content.picture()
}

// thumbnailDoc returns the thumbnail of a size.
func (c *driveCall) thumbnailDoc(it *item, pic *picture, name string, side int) map[string]any {
	width, height := fit(pic.width, pic.height, side)
	return map[string]any{"height": height, "width": width, "url": c.presigned(c.user, it, name)}
}

// thumbnailSets returns the thumbnails of an item: one set, or none.
func (c *driveCall) thumbnailSets(it *item) []any {
	pic := it.pictured()
	if pic == nil {
		return []any{}
	}
	set := map[string]any{"id": "0"}
	for _, size := range thumbnailSizes {
		set[size.name] = c.thumbnailDoc(it, pic, size.name, size.side)
	}
	return []any{set}
}

// thumbnails serves "List thumbnails for a driveItem": all sets, one of them,
// one size, and its content. Files that are no pictures have none, and so do
// pictures that cannot be decoded.
func (c *driveCall) thumbnails(w http.ResponseWriter, r *http.Request, p place) {
	context := c.metadata() + "/items('" + p.item.id + "')/thumbnails"
	sets := c.thumbnailSets(p.item)
	path := strings.Split(p.rest, "/")
	switch {
	case p.rest == "":
		writeJSON(w, http.StatusOK, map[string]any{"@odata.context": c.URL + "/v1.0/$metadata#" + context, "value": sets})
		return
	case path[0] != "0" || len(sets) == 0:
		(&problem{http.StatusNotFound, "itemNotFound", "The specified thumbnail set does not exist.", ""}).write(w, r)
		return
	case len(path) == 1:
		c.graphJSON(w, r, context+"/$entity", sets[0].(map[string]any))
		return
	}
	doc, ok := sets[0].(map[string]any)[path[1]].(map[string]any)
	switch {
	case !ok || len(path) > 3 || len(path) == 3 && path[2] != "content":
		problemMissing.write(w, r)
	case len(path) == 3:
		w.Header().Set("Location", doc["url"].(string))
		w.WriteHeader(http.StatusFound)
	default:
		c.graphJSON(w, r, context+"('0')/"+path[1], doc)
	}
}

// thumbnail serves a thumbnail at its pre-signed URL.
func (e *exchange) thumbnail(w http.ResponseWriter, r *http.Request) {
	it, name, ok := e.presignedItem(w, r, true)
	if !ok {
		return
	}
	pic, side := it.pictured(), 0
	for _, size := range thumbnailSizes {
		if size.name == name {
			side = size.side
		}
	}
	if pic == nil || side == 0 {
		problemMissing.write(w, r)
		return
	}
	width, height := fit(pic.width, pic.height, side)
	w.Header().Set("Content-Type", "image/jpeg")
	w.Write(encodeJPEG(scale(decodePicture(it.content), width, height)))
}

func encodeJPEG(img image.Image) []byte {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 88}); err != nil {
		return nil
	}
	return b.Bytes()
}
