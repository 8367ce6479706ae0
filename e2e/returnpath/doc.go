// Package returnpath compares the rule for return paths with a browser's own
// idea of where they lead.
package returnpath
