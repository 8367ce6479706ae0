// Package testsite is what the tests of the whole share: a site that uses msauth
// with a local Microsoft ([Site], over TLS or in process), people's browsers
// ([Browser]), sites whose answers are read header by header ([Office]), stores
// that fail on demand ([Files], [Tokens]), and the checks of pages, logs and
// requests that many tests make.
package testsite
