// Package libraries shows in Chromium what libraries that make requests for
// pages do when nobody is signed in.
package libraries
