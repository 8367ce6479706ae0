// Package files has the tests of package graph with a whole OneDrive: over real
// HTTP, for people who have signed in, with files of real sizes.
package files
