// Package page is what the pages that people see look like: one template, its
// style sheet, and the source by which a Content-Security-Policy allows that.
//
// It knows the names of the fields that the template reads, and nothing of what
// the pages say: that is package msauth's, as is the decision to show one. All
// texts are escaped by html/template. Nothing here writes a header, and a page
// loads nothing from anywhere, but for the script that it is told to.
//
// It imports the standard library alone.
package page
