package compact

// Texts in the JSON of a token that no list has are mostly made of few
// characters: digits, lower-case letters, base64. A character then takes four to
// six bits.

// An alphabet is a set of characters that take fewer than eight bits each.
type alphabet struct {
	width uint   // bits of a code
	chars string // by code
	// shifted are, by code, the characters that the last code of all makes of the
	// one after it; "" if that code is a character.
	shifted string
}

// alphabets are part of the format.
var alphabets = [...]alphabet{
	{4, "0123456789.-: /,", ""},
	lower: {5, "abcdefghijklmnopqrstuvwxyz._ -@", "ABCDEFGHIJKLMNOPQRSTUVWXYZ:/,+#"},
	{6, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", ""},
	{6, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", ""},
}

const (
	lower     = 1
	noCode    = -1      // in codes
	shiftCode = 1 << 16 // in codes: after a shift
	shifted   = 64      // in characters: after a shift
)

// codes has the code of each character, by alphabet.
var codes = func() (codes [len(alphabets)][256]int) {
	for i, a := range alphabets {
		for c := range codes[i] {
			codes[i][c] = noCode
		}
		for code, c := range []byte(a.chars) {
			codes[i][c] = code
		}
		for code, c := range []byte(a.shifted) {
			codes[i][c] = code | shiftCode
		}
	}
	return codes
}()

// characters has the character of each code, by alphabet; shifted is added to the
// codes after a shift. A shift, or what means nothing after one, is 0.
var characters = func() (characters [len(alphabets)][2 * shifted]byte) {
	for i, a := range alphabets {
		copy(characters[i][:], a.chars)
		copy(characters[i][shifted:], a.shifted)
	}
	return characters
}()

// codesOf returns how many codes of alphabet i a text takes, or -1 if it has
// other characters.
func codesOf(i int, s string) int {
	count := len(s)
	for _, c := range []byte(s) {
		switch code := codes[i][c]; {
		case code == noCode:
			return -1
		case code&shiftCode != 0:
			count++
		}
	}
	return count
}
