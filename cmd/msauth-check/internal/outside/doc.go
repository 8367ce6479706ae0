// Package outside checks an app registration, and the front of a site, without signing
// anybody in: by requests that anybody could make, or that cannot succeed. [Run] makes
// them at the same time where they do not need each other's answers, and ends within
// ten seconds.
//
// Discovery, token requests and what refusals mean are those of internal/provider: what
// is found here is what the app would meet. Requests go to the provider's host and to
// that of BaseURL, and to no other; redirects elsewhere are read, and not followed.
package outside
