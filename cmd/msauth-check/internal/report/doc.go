// Package report is what msauth-check can find, and how it says so. A [Kind] is one
// line of the catalogue: an ID that does not change, why it matters, and the remedy. A
// [Report] collects findings from many goroutines, and hides the app's secrets in
// every text, whoever wrote that.
//
// It makes no request and knows nothing of msauth.
package report
