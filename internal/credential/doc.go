// Package credential is how the app proves at the token endpoint that a request is
// its own: by a secret, by an assertion that it signs, or by one that somebody else
// has signed.
//
//   - A [Credential] makes a [Proof] for a [Recipient]. It never changes.
//   - A [Source] gives the credential of the moment: what is in a file can change.
//   - A [Ring] holds the sources in the order of the app's preference, and decides
//     which credential a token request carries: see [Ring.Use].
//
// A refusal is not believed at once, because whoever signs in can cause one: a code
// that was made for another redirect URI can be refused as if the app were. A
// credential that was refused is suspected: requests that begin afterwards use
// another one, if there is one. It is refused for good when the same request has
// succeeded with another credential, or when all are refused for a request that no
// visitor has made; until then nothing is decided. Suspicion blocks nobody: while
// nothing better is left, a suspected credential is used.
//
// The package imports seal, for secrets that do not print, reload, for files, and a
// JOSE library. It makes no HTTP request, writes no log and does not know what a
// token request is for.
package credential
