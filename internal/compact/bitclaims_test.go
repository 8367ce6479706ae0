package compact

import (
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Each name and value takes the fewest bits in which it can be written.
func TestBitsOfClaims(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		write func(w *bitClaims)
		want  uint
	}{
		{"name", func(w *bitClaims) { w.name("qkayw") }, 1 + 4 + 5*5},
		{"name with capitals", func(w *bitClaims) { w.name("employeeType") }, 1 + 6 + 13*5},
		{"name in the list", func(w *bitClaims) { w.name("ztdid") }, 1 + 10},
		{"name with digits", func(w *bitClaims) { w.name("s7v") }, 1 + 4 + 3 + 4 + 3*6},
		{"no name", func(w *bitClaims) { w.name("") }, 1 + 4 + 7 + 4},
		{"end of the names", func(w *bitClaims) { w.endNames() }, 1 + 4},
		{"nothing", func(w *bitClaims) { w.text("") }, 7 + 4},
		{"lower case", func(w *bitClaims) { w.text("qkayw") }, 3 + 4 + 5*5},
		{"digits", func(w *bitClaims) { w.text("52.51.861.53") }, 3 + 6 + 12*4},
		{"base64url", func(w *bitClaims) { w.text("x_J4zeEad1sazIQ6Ifr-6r8rGJbuilEmh1xEtvndBvX") }, 3 + 8 + 43*6},
		{"GUID", func(w *bitClaims) { w.text("0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4e") }, 3 + 128},
		{"word", func(w *bitClaims) { w.text("RS256") }, 3 + 6},
		{"two runs", func(w *bitClaims) { w.text("S-4-3-52-34891") }, 3 + (3 + 4 + 6) + (3 + 6 + 13*4)},
		{"the same text", func(w *bitClaims) { w.previous() }, 7},
		{"letter beyond ASCII", func(w *bitClaims) { w.text("é") }, 7 + 4 + 16},
		{"the same integer", func(w *bitClaims) { w.integer(0) }, 7 + 4},
		{"small integer", func(w *bitClaims) { w.integer(-1) }, 7 + 4},
		{"integer", func(w *bitClaims) { w.integer(3600) }, 7 + 6 + 12},
		{"largest integer", func(w *bitClaims) { w.integer(math.MinInt64) }, 7 + 10 + 63},
	} {
		w := &bitClaims{known: &Dictionary{}}
		test.write(w)
		if got := uint(len(w.b))*8 - w.free; got != test.want {
			t.Errorf("%s: %d bits, want %d", test.name, got, test.want)
		}
	}
}

// Bits that no Encoder has written are refused, at no more cost than the largest
// honest ones. Not parallel, because it measures what is allocated.
func TestMalformedBits(t *testing.T) {
	const most = 60_000
	of := Dictionary{
		Texts:  []string{strings.Repeat("x", 1000)},
		Groups: slices.Repeat([]string{"0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4f"}, 200),
	}
	again := func(write func(w *bitClaims)) func(w *bitClaims) {
		return func(w *bitClaims) {
			w.value(specialArray)
			for len(w.b) < most {
				write(w)
			}
			w.value(specialEnd)
		}
	}
	kind := func(w *bitClaims, kinds ...uint64) {
		for _, k := range kinds {
			w.put(k, 3)
		}
	}
	codes := func(w *bitClaims, count uint64, codes ...uint64) {
		kind(w, lower)
		w.number(count - 1)
		for _, code := range codes {
			w.put(code, 5)
		}
	}
	for _, test := range []struct {
		name   string
		write  func(w *bitClaims)
		honest bool
	}{
		{"a text", func(w *bitClaims) { codes(w, 2, 31, 0) }, true},
		{"a text of two runs", func(w *bitClaims) { kind(w, bitJoin); codes(w, 1, 0); kind(w, 0); w.number(0); w.put(1, 4) }, true},
		{"an array", func(w *bitClaims) { w.value(specialArray); w.text("a"); w.previous(); w.value(specialEnd) }, true},
		{"an object", func(w *bitClaims) { w.value(specialObject); w.name("a"); w.integer(1); w.endNames() }, true},

		{"nothing", func(w *bitClaims) {}, false},
		{"a text that is cut off", func(w *bitClaims) { codes(w, 9, 1, 2, 3) }, false},
		{"filled up with ones", func(w *bitClaims) { codes(w, 1, 0); w.put(1, 2) }, false},
		{"a byte too many", func(w *bitClaims) { codes(w, 1, 0); w.put(0, 12) }, false},
		{"a shift after a shift", func(w *bitClaims) { codes(w, 3, 31, 31, 0) }, false},
		{"a shift of nothing", func(w *bitClaims) { codes(w, 2, 0, 31) }, false},
		{"codes without end", func(w *bitClaims) { codes(w, 1<<40) }, false},
		{"bytes without end", func(w *bitClaims) { w.value(bitPlain); w.number(1 << 40) }, false},
		{"a number without end", func(w *bitClaims) { kind(w, lower); w.put(0, 64); w.put(0, 64) }, false},
		{"a GUID that is cut off", func(w *bitClaims) { kind(w, bitGUID); w.put(1, 64); w.put(1, 48) }, false},
		{"an unknown text", func(w *bitClaims) { kind(w, bitKnown); w.number(uint64(of.size())) }, false},
		{"a text beyond all", func(w *bitClaims) { kind(w, bitKnown); w.number(1 << 50) }, false},
		{"a special that means nothing", func(w *bitClaims) { w.value(2) }, false},
		{"slashes", func(w *bitClaims) { w.value(specialSlashes) }, false},
		{"names as texts of their own", func(w *bitClaims) { w.value(specialNamed); w.put(0, 60); w.endNames() }, false},
		{"bits in bits", func(w *bitClaims) { w.value(specialBits) }, false},
		{"an end without a beginning", func(w *bitClaims) { w.value(specialEnd) }, false},
		{"an end as a part of a text", func(w *bitClaims) { kind(w, bitJoin); w.value(specialEnd); w.text("a") }, false},
		{"null as a part of a text", func(w *bitClaims) { kind(w, bitJoin); w.value(specialNull); w.text("a") }, false},
		{"the same text as a part", func(w *bitClaims) {
			w.value(specialArray)
			w.text("a")
			kind(w, bitJoin)
			w.previous()
			w.text("a")
			w.value(specialEnd)
		}, false},
		{"the same text before there is one", (*bitClaims).previous, false},
		{"joins of joins", func(w *bitClaims) { kind(w, bitJoin, bitJoin); w.text("a"); w.text("a"); w.text("a") }, false},
		{"joins without end", func(w *bitClaims) { kind(w, slices.Repeat([]uint64{bitJoin, 0, 0, 1}, most)...) }, false},
		{"an integer of 65 bits", func(w *bitClaims) { w.value(specialInt); w.number(65); w.put(0, 64) }, false},
		{"an unknown name", func(w *bitClaims) {
			w.value(specialObject)
			w.put(1, 1)
			w.number(2 + uint64(len(claimNames)))
			w.text("a")
			w.endNames()
		}, false},
		{"a name alone", func(w *bitClaims) { w.value(specialObject); w.name("a"); w.endNames() }, false},
		{"an array without end", func(w *bitClaims) { w.value(specialArray); w.put(0, 64) }, false},
		{"arrays in arrays", func(w *bitClaims) { again(func(w *bitClaims) { w.value(specialArray) })(w) }, false},
		{"objects in objects", again(func(w *bitClaims) { w.value(specialObject); w.name("a") }), false},
		{"all groups, often", again(func(w *bitClaims) { w.value(specialGroups) }), false},
		{"a long text, often", again(func(w *bitClaims) { kind(w, bitKnown); w.number(0) }), false},
		{"a long text, and often the same", again(func(w *bitClaims) { w.text(of.Texts[0]); w.previous(); w.previous(); w.previous() }), false},
		{"a long text of long texts", func(w *bitClaims) {
			for len(w.b) < most {
				kind(w, bitJoin, bitKnown)
				w.number(0)
			}
			w.text("a")
		}, false},
	} {
		w := &bitClaims{known: &of}
		w.b = []byte{specialDots<<3 | kindSpecial, 1, specialJSON<<3 | kindSpecial, specialBits<<3 | kindSpecial}
		test.write(w)
		part := append(w.b, kindPlain)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		one, other, ok := twoTexts(part, of)
		runtime.ReadMemStats(&after)
		if ok != test.honest {
			t.Errorf("%s: %d bytes become texts of %d and %d, %t", test.name, len(part), len(one), len(other), ok)
		}
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 16*maxTexts {
			t.Errorf("%s: %d bytes of memory to refuse it", test.name, allocated)
		}
	}
}

// Every claim comes back as it was written, wherever its bits begin.
func FuzzBitClaims(f *testing.F) {
	f.Add("qkayw", "ada@contoso.example", "Ada", int64(1_700_000_000))
	f.Add("s7v", "S-4-3-52-3489154583-811457875", "https://uju.oxcituk.example/0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4e/", int64(-1))
	f.Add("employeeType", "2.RcIdrzpNM2OPzYjdlM2tXgNkToPLphZSgjo2XocM.", "openid profile x", int64(math.MinInt64))
	f.Add("aud", "", "XXJeCRd7d7uTZAV9+LoPd4Pt/CHPMG", int64(math.MaxInt64))
	f.Add("é", "\xff\x00", "2.0", int64(0))
	f.Fuzz(func(t *testing.T, name, one, other string, n int64) {
		of := Dictionary{Texts: []string{"Ada", "ada@contoso.example", "contoso.example", ""}, Groups: []string{"g1"}, Time: 1_700_000_000}
		w := &bitClaims{bitWriter{b: []byte{specialBits<<3 | kindSpecial}}, &of}
		w.value(specialObject)
		w.name(name)
		w.text(one)
		want := `{"` + name + `":"` + one + `",`
		if one != "" {
			w.name("again")
			w.previous()
			want += `"again":"` + one + `",`
		}
		w.name("")
		w.value(specialArray)
		w.text(other)
		w.integer(n - of.Time)
		w.literal(one)
		w.integer(-n)
		w.value(specialGroups)
		w.value(specialEnd)
		w.endNames()
		want += `"":["` + other + `",` + strconv.FormatInt(n, 10) + `,` + one + `,0,["g1"]]}`
		d := Decoder{B: w.b, Known: of}
		if got := d.appendJSON(nil); string(got) != want || !d.Done() {
			t.Errorf("%q comes back as %q, done: %t", want, got, d.Done())
		}
	})
}
