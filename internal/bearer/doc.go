// Package bearer is the HTTP client side of a session: a [Transport] that adds an
// access token to the requests that may carry it, and passes on all others as
// they are.
//
// A token goes to its own hosts only, over https or to a loopback host, and not
// along a redirect from somebody else, even where that leads to one of these
// hosts. A request that has an Authorization header or a user of its own is left
// alone. A token that an API rejects is replaced and the request sent once more;
// a claims challenge is answered likewise. A response that asks to wait is
// waited out where the request may be repeated, within bounds.
//
// The package knows provider for challenges, and web for Retry-After, loopback
// hosts and how hosts are compared. Where tokens come from, and what their errors
// mean, its callers say. It never reads a body, keeps no token and logs nothing.
package bearer
