// Package script holds the module that pages of the app load, msauth.js, and the text of
// it that browsers get. Nobody builds it: the source is what is served, without the lines
// that explain it.
//
// It imports the standard library alone.
package script
