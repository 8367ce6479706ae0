package msauthtest

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"strings"
	"sync"
	"time"
)

// newDrive returns a drive with folders, texts and pictures.
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
	d := &drive{root: root, next: n}
	d.changedBelow(root)
	return d
}

func folder(name string, children ...*item) *item {
	return &item{name: name, folder: true, children: children}
}

func file(name, mime string, content []byte) *item {
	return &item{name: name, mime: mime, content: newContent(content)}
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
