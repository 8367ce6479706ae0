// Package redistest starts real Redis servers for tests: on free ports of the loopback
// interface, in temporary directories, without anything on disk. They end with their
// test, even if that is killed. It needs redis-server in the PATH, and Unix signals.
//
// It is for the tests of this repository, and may change in any version.
package redistest
