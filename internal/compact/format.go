package compact

import "errors"

// ErrMalformed is the error for bytes that no Encoder has written. It is for
// callers to return: a Decoder itself only says that it is bad.
var ErrMalformed = errors.New("msauth: malformed session")

// The kinds of texts. A text begins with n<<3|kind as an unsigned varint. They
// keep their meaning for good: see the package's documentation.
const (
	kindPlain   = iota // text, n bytes
	kindURL            // base64url of n bytes
	kindStd            // standard base64 of n bytes, as in access tokens of personal accounts
	kindLegacy         // base64 of n bytes with * ! $ for + / =, as in refresh tokens of personal accounts
	kindKnown          // n = 0: the previous text value of this JSON; else from 1 on the Dictionary's Texts, then words
	kindGUID           // n = 0: 16 bytes; else a packed text
	kindSpecial        // n is one of the following
)

// What n stands for with kindSpecial. The same holds for these as for the kinds.
const (
	specialDots   = iota // a count, and as many texts, to be joined by dots
	specialSpaces        // the same, to be joined by spaces
	specialPair          // two texts, to be joined by nothing
	specialJSON          // base64url of the JSON value that follows

	// JSON values other than texts.
	specialNull
	specialTrue
	specialFalse
	specialInt     // the difference from the previous integer
	specialLiteral // any other number, as a text
	specialObject  // members: 2 + the claim name's number, or 1 and a text, then the value; 0 ends them
	specialArray   // values up to specialEnd
	specialEnd
	specialGroups // an array of the Dictionary's Groups

	specialSlashes // as specialDots, to be joined by slashes
	specialNamed   // an object as a sequence of texts and values, up to specialEnd; no longer written
	specialBits    // a JSON value in bits: see bitClaims
)

// The kinds of what is written in bits. The first ones are the alphabets.
const (
	bitGUID    = 4 + iota // 128 bits
	bitKnown              // a number: the Dictionary's Texts, then words, from 0 on
	bitJoin               // two kinds, of texts that are joined by nothing
	bitSpecial            // four bits: one of the following, or a JSON value other than a text, as above

	// What the four bits are for texts.
	bitPlain    = 0 // a number, and so many bytes
	bitPrevious = 1 // the previous text value

	lowerName = 1 << 62 // as a number of a name: codes of lower
)

const (
	// maxTexts bounds the bytes that a Decoder appends to one buffer: a reference
	// takes few bytes and can stand for many.
	maxTexts = 1 << 20
	// maxDepth bounds the nesting of JSON, and of the parts of a text.
	maxDepth = 8
	// inJSON is the depth at which texts in JSON begin. JSON in JSON is refused.
	inJSON = 2
)

// separators are what joins the parts of a text, by special.
var separators = [...]string{specialDots: ".", specialSpaces: " ", specialSlashes: "/"}
