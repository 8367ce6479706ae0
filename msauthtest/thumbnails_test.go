package msauthtest_test

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"net/http"
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
)

type thumbnail struct {
	Height, Width int
	URL           string
}

type thumbnailSet struct {
	ID                   string
	Small, Medium, Large *thumbnail
}

type thumbnailSets struct{ Value []thumbnailSet }

// painted returns a picture: its left half is red, the rest is blue.
func painted(t *testing.T, format string, width, height int) string {
	t.Helper()
	red, blue := color.RGBA{255, 0, 0, 255}, color.RGBA{0, 0, 255, 255}
	img := draw.Image(image.NewRGBA(image.Rect(0, 0, width, height)))
	if format == "gif" {
		img = image.NewPaletted(img.Bounds(), color.Palette{blue, red})
	}
	draw.Draw(img, img.Bounds(), image.NewUniform(blue), image.Point{}, draw.Src)
	draw.Draw(img, image.Rect(0, 0, width/2, height), image.NewUniform(red), image.Point{}, draw.Src)
	var b bytes.Buffer
	var err error
	switch format {
	case "png":
		err = png.Encode(&b, img)
	case "jpeg":
		err = jpeg.Encode(&b, img, nil)
	case "gif":
		err = gif.Encode(&b, img, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// checkThumbnail downloads a thumbnail and compares it with the document.
func checkThumbnail(t *testing.T, a *app, about *thumbnail, width, height int) {
	t.Helper()
	if about == nil {
		t.Fatal("there is no thumbnail")
	}
	res, text := a.graph(about.URL, "")
	img, err := jpeg.Decode(strings.NewReader(text))
	if err != nil || res.StatusCode != 200 || res.Header.Get("Content-Type") != "image/jpeg" || strings.HasPrefix(about.URL, a.ms.URL) {
		t.Fatalf("%s: %d %s %v", about.URL, res.StatusCode, res.Header.Get("Content-Type"), err)
	}
	if size := img.Bounds().Size(); about.Width != width || about.Height != height || size != image.Pt(width, height) {
		t.Errorf("%d x %d, the picture is %v, want %d x %d", about.Width, about.Height, size, width, height)
	}
	left, _, _, _ := img.At(width/8, height/2).RGBA()
	right, _, _, _ := img.At(width-1-width/8, height/2).RGBA()
	if left>>8 < 200 || right>>8 > 60 {
		t.Errorf("the halves are no longer red and blue: red is %d and %d", left>>8, right>>8)
	}
}

func TestThumbnails(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	drive, token := a.writer(msauthtest.Ada)
	for _, format := range []string{"png", "jpeg", "gif"} {
		width := 300
		if format == "png" {
			width = 900
		}
		it := a.do(201, "PUT", drive+"/root:/halves."+format+":/content", token, painted(t, format, width, width/2))
		address := drive + "/items/" + it.ID + "/thumbnails"
		var sets thumbnailSets
		a.json2(address, token, &sets)
		if len(sets.Value) != 1 || sets.Value[0].ID != "0" {
			t.Fatalf("%s: %+v", format, sets)
		}
		checkThumbnail(t, a, sets.Value[0].Small, 96, 48)
		if format != "png" {
			continue
		}
		checkThumbnail(t, a, sets.Value[0].Medium, 176, 88)
		checkThumbnail(t, a, sets.Value[0].Large, 800, 400)

		var set thumbnailSet
		a.json2(address+"/0?$select=medium", token, &set)
		if set.Medium == nil || set.Small != nil {
			t.Errorf("one set: %+v", set)
		}
		var one thumbnail
		a.json2(address+"/0/medium", token, &one)
		checkThumbnail(t, a, &one, 176, 88)
		res, _ := a.graph(address+"/0/small/content", token)
		if res.StatusCode != http.StatusFound {
			t.Fatalf("content: %d", res.StatusCode)
		}
		checkThumbnail(t, a, &thumbnail{48, 96, res.Header.Get("Location")}, 96, 48)
		for _, path := range []string{"/1", "/1/small", "/0/huge", "/0/small/x", "/0/id"} {
			a.refused(404, "itemNotFound", "GET", address+path, token, "")
		}
	}

	small := a.do(201, "PUT", drive+"/root:/small.png:/content", token, painted(t, "png", 40, 20))
	var sets thumbnailSets
	a.json2(drive+"/items/"+small.ID+"/thumbnails", token, &sets)
	checkThumbnail(t, a, sets.Value[0].Large, 40, 20) // it is not enlarged

	address := sets.Value[0].Small.URL
	a.refused(400, "invalidRequest", "GET", address, token, "")
	a.refused(401, "unauthenticated", "GET", strings.Replace(address, "/small?", "/large?", 1), "", "")
	ms.ExpireDownloads()
	a.refusedBy(401, "unauthenticated", "expiredToken", "GET", address, "", "")
	if ms.Count(msauthtest.Thumbnail) == 0 {
		t.Error("no thumbnails counted")
	}
}

func TestNoThumbnails(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Ada)
	whole := painted(t, "png", 400, 200)
	a.do(201, "PUT", drive+"/root:/cut.png:/content", token, whole[:len(whole)/2])
	a.do(201, "PUT", drive+"/root:/text.png:/content", token, "no picture")
	a.do(201, "PUT", drive+"/root:/picture.txt:/content", token, whole)
	for _, path := range []string{"/root", "/root:/Documents:", "/root:/Measurements.csv:", "/root:/cut.png:", "/root:/text.png:", "/root:/picture.txt:"} {
		var sets thumbnailSets
		a.json2(drive+path+"/thumbnails", token, &sets)
		if sets.Value == nil || len(sets.Value) != 0 {
			t.Errorf("%s: %+v", path, sets)
		}
		a.refused(404, "itemNotFound", "GET", drive+path+"/thumbnails/0/small", token, "")
	}
}

func TestThumbnailsOfAListing(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	_, token := a.writer(msauthtest.Mia)
	var page struct {
		Value []struct {
			Name       string
			Thumbnails []thumbnailSet
		}
	}
	a.json2(a.ms.URL+"/v1.0/me/drive/root:/Pictures:/children?$expand=thumbnails&$select=name", token, &page)
	if len(page.Value) != 3 {
		t.Fatalf("pictures: %+v", page)
	}
	for _, it := range page.Value {
		if len(it.Thumbnails) != 1 || it.Thumbnails[0].Medium == nil || it.Thumbnails[0].Medium.Width != 176 {
			t.Errorf("%s: %+v", it.Name, it.Thumbnails)
		}
	}
	var folder struct {
		Thumbnails []thumbnailSet
		Children   []item
	}
	a.json2(a.ms.URL+"/v1.0/me/drive/root:/Pictures?$expand=thumbnails,children", token, &folder)
	if folder.Thumbnails == nil || len(folder.Thumbnails) != 0 || len(folder.Children) != 3 {
		t.Errorf("folder: %+v", folder)
	}
}
