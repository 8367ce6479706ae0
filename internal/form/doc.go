// Package form reads the bytes of a form as a browser sends them
// (application/x-www-form-urlencoded), if a page with hidden fields can send the same
// bytes again.
//
// It knows no requests and no pages.
package form
