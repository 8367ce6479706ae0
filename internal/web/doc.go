// Package web answers what a handler asks about a request before it looks at who
// sent it, and keeps redirects on the site.
//
//   - What kind of request this is: a person waiting for a page in the top
//     window, a script, a prefetch, a WebSocket handshake. Only the first of
//     them can be sent to another site to sign in. Browsers say it in Fetch
//     Metadata; for older ones the other headers have to do.
//   - Which path a browser may be sent back to. [ReturnPath] accepts a path if
//     every browser stays on the site when it follows it, also after a proxy or a
//     handler has decoded it once more, and gives a fixed page for any other.
//   - [Browser]: in words, which browser a User-Agent header claims.
//   - Redirects, the Vary header, loopback hosts, and texts from outside that are
//     fit for one line of a log.
//   - What HTTP clients need whomever they ask: [FollowNothing], [ReadAtMost],
//     [RetryAfter], and [HostPort] to compare hosts.
//
// The functions keep nothing and can be called concurrently. In doubt a request
// is not a navigation and a path is not followed.
//
// The package imports the standard library only. It knows no cookies, sessions
// or tokens and does not decide who may do what. It never reads a request's
// body, and writes a response only in [Redirect].
package web
