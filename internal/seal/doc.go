// Package seal encrypts what leaves the server and what is stored, and hides
// secrets from logs.
//
// An app gives master keys, a [Keyring]. They encrypt nothing themselves: each
// purpose ("msauth session v1") has keys derived from them with HKDF-SHA256
// (RFC 5869), so that a value sealed for one purpose does not open for another.
// The first key seals and all of them open, which is how keys are rotated. The
// cipher is AES-256-GCM, and additional data, such as the name of a cookie or
// the app registration, binds a value to its place: it opens there only.
//
//   - [Keys] seal and open bytes, for one purpose.
//   - [DailyKeys] do the same with keys that change every day, for values that
//     anybody can have made at will.
//   - [Codec] is what gorilla's session stores take.
//   - [Secret] is a token or code that shows nothing of itself when printed.
//
// Sealed texts are base64url without padding, and only one text stands for a
// given value ([DecodeText]).
//
// A value that does not open gives [ErrNotSealed] and no further reason,
// because the reason would help only those who tamper with values.
//
// The package imports the standard library and securecookie, for the Codec
// interface and its gob encoder. It knows neither HTTP nor JSON and does not
// look at what it seals; the age of a value, if it matters, belongs inside it.
package seal
