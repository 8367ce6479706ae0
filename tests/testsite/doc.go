// Package testsite is what the tests of the whole share. It owns the app under
// test, and what is around it:
//
//   - A [Site] is an app that uses msauth, with a local Microsoft: over TLS ([New])
//     or in process ([NewInProcess]). A [Browser] is a person's; it follows
//     redirects, keeps cookies and reads pages.
//   - An [Office] is an app whose answers a [Visitor] reads header by header, for
//     tests with many requests or several processes of one app.
//   - [Files] and [Tokens] are stores that fail on demand.
//   - A [Certificate] is what an operator registers and keeps in a file.
//   - [Services] are Entra and Live Connect. [AtEach] and [RenewingAtEach] run one test
//     at both.
//   - [Renewing] and [Storing] run a test in a testing/synctest bubble.
//
// Only tests import it. It knows the public API and msauthtest, as an app's own
// tests could, and uses nothing below internal/ but one type of package provider,
// to notice where an app would see it. How msauth does things it does not know.
//
// It asserts what a name says, as those that begin with Want do, and nothing else
// by itself, with two exceptions. A step towards what a test is about, such as
// [Browser.SignIn], fails the test when it does not work. And every Site looks for
// secrets in its pages and log, and for errors in its log that no app can know.
//
// No test depends on another: each site has its own provider, keys, log and memory,
// each store its own entries, and no variable of the package changes while tests
// run. Nothing here leaves the machine or needs an account.
package testsite
