// Package ttl provides a map whose entries expire.
//
// A server remembers many things for a while. What it remembers comes from
// requests, so its size must not depend on how many requests there are; and some
// of it is secret, so it must not stay in memory when nobody asks for it again.
// A [Map] therefore has two limits, time and number, and keeps both by itself.
//
// When a map is full, it drops the entry that expires first, not the one that
// was added first: that entry would be gone soonest anyway.
//
// The package imports the standard library only. It never looks at what an
// entry holds, never copies it, and never calls anything of its caller's.
package ttl
