// Package graph is a small client for Microsoft Graph and the files in OneDrive. It
// uses the standard library only. For the parts of Graph without a type here there
// are maps, or types of your own.
//
//	s, _ := msauth.FromContext(r.Context())
//	c := graph.New(s.Client(r.Context()), graph.DefaultBase)
//	me, err := graph.Get[graph.User](r.Context(), c, "me")
//	if auth.Challenge(w, r, err) { // only the user can help, and is asked
//		return
//	}
//
// # Requests
//
// [Get], [Post], [Patch] and [Client.Delete] take a path below the base URL, a
// [Query] with $select, $filter and others, and return a value of the type that they
// are given. [List] returns the items of all pages, [Delta] what has changed since
// the last time, and [Client.Batch] sends up to 20 requests as one. IDs that came
// from outside belong into [Path].
//
// # Files
//
// [Client.Files] is a drive: [Files.Upload] and [Files.Download] transfer files of
// any size in the memory of one chunk, 5 MiB by default, and go on where a
// connection broke off. [Files.CreateFolder], [Files.Move], [Files.Copy],
// [Files.Delete], [Files.Restore], [Files.Search], [Files.CreateLink] and others do
// what their names say. Items are named by a [Ref]: an ID, a path, or a path from an
// ID.
//
// # Errors
//
// What Graph answers is an [*Error], whatever its body was: JSON, HTML or nothing.
// What is not sent, or not followed, because it is invalid is an [*InvalidError].
// [errors.Is] knows fs.ErrNotExist, fs.ErrExist and fs.ErrPermission. Other errors
// are those of the connection, of the context, or of the client that adds the token,
// such as msauth's ErrSignInRequired.
//
// # Waiting
//
// A request that is refused with status 429 is repeated after the time that
// Retry-After asks for; one that can be repeated without harm (GET, PUT, DELETE)
// also after 502, 503, 504 and 509. A call waits one minute in all, and repeats a
// request five times, at most; a transfer repeats as often as fits into a minute
// without progress. One request takes 30 seconds at most, that of a chunk five
// minutes. Every call ends when its context does, and none leaves a goroutine
// behind.
//
// # Limits
//
// A JSON document of an answer has 8 MiB and 100,000 elements in all its lists at
// most; more is an [*Error]. So is, for a [List], an answer that is no collection.
//
// # Tokens
//
// Links in Graph's answers are followed only below the base URL. Storage hosts,
// which Graph refers to for the content of files, get requests without the token,
// over https, and only if their URL has the name of a host on the Internet (for a
// base on a loopback host, others too). Their URLs are permissions in themselves:
// they have the type [SecretURL], and appear in no error.
//
// The sources of what is said about Microsoft are its pages named in quotes, and the
// issues that are named.
package graph
