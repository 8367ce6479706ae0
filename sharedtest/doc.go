// Package sharedtest is for the tests of apps that set [msauth.Config.Shared], and of
// implementations of [msauth.Shared].
//
// [New] returns a Shared in the memory of this process. Several Middlewares of one
// process can be tested with it as if each ran in a process of its own; nothing
// has to be started.
//
// [Run] tests that an implementation does what [msauth.Shared] says:
//
//	func TestShared(t *testing.T) {
//		sharedtest.Run(t, func(t testing.TB) (one, other msauth.Shared) {
//			url := emptyDatabase(t)
//			return open(t, url), open(t, url)
//		})
//	}
package sharedtest
