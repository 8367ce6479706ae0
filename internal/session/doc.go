// Package session keeps what one browser carries: its session, the sign-ins
// that it has begun, and the cookies of both. Its promise: what a browser
// brings back is what it was given, or nothing.
//
//   - A [Record] is one session. [Record.Encode] and [DecodeRecord] turn it into
//     bytes and back: an identity part, read on every request, and a token part,
//     unpacked when somebody needs a token.
//   - A [Store] keeps records between requests, in cookies or in the app's own
//     gorilla store.
//   - [Cookies] is the format of one sealed value in one cookie or several.
//   - An [Attempt] is one sign-in under way. It travels through Microsoft in the
//     state parameter, and [Attempts] accepts it once, from the browser that
//     began it.
//   - [Revoked] remembers the sessions that ended early, so that a late answer
//     cannot bring one back.
//
// The cookies are sealed for their name and for the [Registration]. Entries of
// a gorilla store are sealed for the id that the store gave them as well, so
// that a copied entry opens nothing. Readers accept the formats of earlier
// versions where a session would be lost otherwise; writers use the newest.
//
// The package knows the plain types of package provider (accounts, token sets,
// requirements), and packages compact, seal and ttl. It never calls the
// provider, renews no token and runs none of the app's hooks: whether a session
// is still good, and what to answer, is decided by its callers. Errors and log
// lines begin with "msauth:" and name the fields of Config, since they reach
// the app's developer as they are.
package session
