package compact

import (
	"slices"
	"strings"
)

// A run is a part of a text that is written in bits.
type run struct {
	kind   int // an alphabet or one of the following
	number int // of a knownRun
	text   string
}

const (
	plainRun = len(alphabets) + iota // any characters
	guidRun
	knownRun // a text of the dictionary
)

const (
	// runStart is about how many bits a run takes beside its characters.
	runStart = 12
	// shortestPart is the length from which on it pays to refer to a part of a text.
	shortestPart = 6
	// beforeParts are characters after which that is tried.
	beforeParts = " .:/@,"
)

// runs divides a text into texts of the dictionary, GUIDs, and what is between
// them.
func (k *Dictionary) runs(s string) (runs []run) {
	from := 0
	for i := 0; i < len(s); {
		if i == 0 || strings.IndexByte(beforeParts, s[i-1]) >= 0 {
			if r := k.reference(s[i:]); r.text != "" {
				runs = append(appendSpelled(runs, s[from:i]), r)
				i += len(r.text)
				from = i
				continue
			}
		}
		i++
	}
	return appendSpelled(runs, s[from:])
}

// reference returns the longest text of the dictionary that s begins with, or a
// GUID.
func (k *Dictionary) reference(s string) (longest run) {
	for i := range k.size() {
		text := k.text(i)
		if len(text) > len(longest.text) && (len(text) >= shortestPart || len(text) == len(s)) && strings.HasPrefix(s, text) {
			longest = run{knownRun, i, text}
		}
	}
	if longest.text == "" && len(s) >= guidLength {
		if _, ok := packGUID(s[:guidLength]); ok {
			return run{kind: guidRun, text: s[:guidLength]}
		}
	}
	return longest
}

// appendSpelled divides a text into runs of one alphabet each, so that they take
// the fewest bits. Character by character, it keeps what the text so far takes if
// it ends in a run of each kind.
func appendSpelled(runs []run, s string) []run {
	const kinds = plainRun + 1
	var cost [kinds]int
	before := make([][kinds]int, len(s)) // the kind of the character before
	for i := range len(s) {
		cheapest := slices.Index(cost[:], slices.Min(cost[:]))
		another := cost[cheapest] + runStart
		for kind := range kinds {
			before[i][kind] = kind
			if another < cost[kind] {
				before[i][kind], cost[kind] = cheapest, another
			}
			cost[kind] += bitsOf(kind, s[i])
		}
	}
	start, end := len(runs), len(s)
	kind := slices.Index(cost[:], slices.Min(cost[:]))
	for i := len(s) - 1; i >= 0; i-- {
		if from := before[i][kind]; i == 0 || from != kind {
			runs = append(runs, run{kind: kind, text: s[i:end]})
			end, kind = i, from
		}
	}
	slices.Reverse(runs[start:])
	return runs
}

// bitsOf returns how many bits a character takes in a run; very many if it cannot
// be in one.
func bitsOf(kind int, c byte) int {
	if kind == plainRun {
		return 8
	}
	width := int(alphabets[kind].width)
	switch code := codes[kind][c]; {
	case code == noCode:
		return 1 << 20
	case code&shiftCode != 0:
		return 2 * width
	}
	return width
}
