// Package livesdk has the tests of package livesdk with a whole OneDrive: what was
// called by a path of Live Connect answers by that of Graph, over real HTTP.
package livesdk
