// Package catalog has what the pages say, in 16 languages: a file of texts for
// each, and the choice between them by what a reader prefers (RFC 9110 section
// 12.5.4, by golang.org/x/text/language).
//
// Every text is there in every language; the tests see to it. An id is never given
// to a text that says something else, because apps name ids too.
//
// It knows no HTTP but the form of one header, and no page.
package catalog
