// Package settings reads what msauth-check needs from the variables that the examples
// read, and judges each by itself: unlike an app, it does not stop at the first
// mistake. What [msauth.New] refuses is a finding, in its words.
package settings
