// Package forms sends forms after the end of a session, in Chromium: what the handler gets
// in the end is, byte for byte, what it would have got at once.
package forms
