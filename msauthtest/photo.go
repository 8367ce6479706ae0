package msauthtest

import (
	"crypto/sha256"
	"image"
	"image/color"
	"strings"
	"sync"
	"unicode"
)

// photoSize is the width and height of a photo, in pixels.
const photoSize = 240

type tint struct {
	css  string
	rgba color.RGBA
}

// tints are dark enough for white letters.
var tints = []tint{
	{"#8a3a5e", color.RGBA{0x8a, 0x3a, 0x5e, 0xff}},
	{"#1f6f5c", color.RGBA{0x1f, 0x6f, 0x5c, 0xff}},
	{"#2f5d9b", color.RGBA{0x2f, 0x5d, 0x9b, 0xff}},
	{"#8a5a1e", color.RGBA{0x8a, 0x5a, 0x1e, 0xff}},
	{"#5b4a96", color.RGBA{0x5b, 0x4a, 0x96, 0xff}},
	{"#566a1f", color.RGBA{0x56, 0x6a, 0x1f, 0xff}},
}

func colorIndex(u User) int {
	sum := sha256.Sum256([]byte("color " + strings.ToLower(u.SignInName)))
	return int(sum[0]) % len(tints)
}

// initials returns the first letters of the first and the last name.
func initials(u User) string {
	words := strings.FieldsFunc(u.Name, func(r rune) bool { return !unicode.IsLetter(r) && r != '\'' })
	if len(words) == 0 {
		return "?"
	}
	first := func(s string) string { return strings.ToUpper(string([]rune(s)[:1])) }
	if len(words) == 1 {
		return first(words[0])
	}
	return first(words[0]) + first(words[len(words)-1])
}

// photo returns a portrait: head and shoulders in front of the person's color.
func photo(u User) []byte { return portraits[colorIndex(u)]() }

// portraits returns the portrait for each tint. Each is drawn once.
var portraits = func() (all []func() []byte) {
	for _, t := range tints {
		all = append(all, sync.OnceValue(func() []byte { return portrait(t.rgba) }))
	}
	return all
}()

func portrait(back color.RGBA) []byte {
	img := image.NewRGBA(image.Rect(0, 0, photoSize, photoSize))
	const fine = 3 // samples per pixel and axis, for smooth edges
	for y := range photoSize {
		for x := range photoSize {
			hits := 0
			for sy := range fine {
				for sx := range fine {
					px := float64(x) + (float64(sx)+.5)/fine
					py := float64(y) + (float64(sy)+.5)/fine
					head := sq((px-120)/44)+sq((py-92)/50) < 1
					body := sq((px-120)/88)+sq((py-240)/84) < 1
					if head || body {
						hits++
					}
				}
			}
			shade := 1.1 - .3*float64(y)/photoSize
			mix := float64(hits) / (fine * fine) * .82
			channel := func(c uint8) uint8 {
				v := float64(c)*shade*(1-mix) + 255*mix
				return uint8(min(v, 255))
			}
			img.SetRGBA(x, y, color.RGBA{channel(back.R), channel(back.G), channel(back.B), 255})
		}
	}
	return encodeJPEG(img)
}

func sq(x float64) float64 { return x * x }
