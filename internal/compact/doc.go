// Package compact writes texts in few bytes, and reads them back byte for byte.
//
// What it writes travels in cookies with every request, so each text is written
// as briefly as its kind allows: GUIDs as the 16 bytes they stand for; base64
// decoded, where encoding it again gives the same text; words that many users
// have in common, and texts that the reader has anyway (a [Dictionary]), as a
// number. A signed token is taken apart: the JSON of its header and claims is
// written value by value, each text like the others or, if no list has it, in
// four to six bits a character. Where most claim names are in no list, there are
// no bytes at all: everything is written bit by bit. Compression would gain little
// more, because most of what is left is random.
//
// Each text begins with a number whose lowest three bits are its kind. The
// meaning of these numbers is the format: what earlier versions have written
// must be read, so kinds, words, claim names and alphabets keep their numbers for
// good, and new ones go to the end.
//
// An [Encoder] reads back the JSON it has written, and writes base64 instead
// when the result differs in a single byte. A [Decoder] accepts any input: what
// no Encoder would have written is refused, at a cost in time and memory that
// has a limit.
//
// The package imports the standard library and the base64 helpers of seal. It
// does not know which texts there are or in what order; its callers do. It
// never judges a token: to it, a token is a text.
package compact
