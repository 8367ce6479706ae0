// Package redisshared is an [msauth.Shared] on Redis 6.2 or newer, or Valkey: a single
// server, one behind Sentinel, or a Cluster. The app makes the client, and sets the
// [Shared] as [msauth.Config.Shared]:
//
//	client := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: addresses})
//	shared, err := redisshared.New(client, "myapp")
//	...
//	defer shared.Close()
//
// All processes of an app must use the same prefix, and the same keys in
// Config.Keys; no other app should use that prefix.
//
// # What is in Redis
//
// With PREFIX as New was given it:
//
//	PREFIX:l:LOG     a stream, for each log: fields e (the entry) and l (for how
//	                 long the log keeps its entries, in milliseconds)
//	PREFIX:v:KEY     a string, for each value
//	PREFIX:changed   a channel of Pub/Sub: keys whose values have been changed
//
// Look at them with redis-cli, here with the prefix "myapp":
//
//	redis-cli --scan --pattern 'myapp:*'
//	redis-cli XINFO STREAM myapp:l:LOG
//	redis-cli XREVRANGE myapp:l:LOG + - COUNT 10
//	redis-cli PTTL myapp:v:KEY
//	redis-cli SUBSCRIBE myapp:changed
//
// A log keeps each entry for the longest life that was given to any entry that is
// in it. [Shared.Append] drops the older ones, in whole nodes of the stream: up to 100
// entries of a log (stream-node-max-entries) may stay for longer. A log that nobody
// has appended to for that time is gone, and so is a value at the end of its life.
// Nothing is kept without end. Each entry and value has up to 64 KB and takes some
// 100 bytes more, and less where entries are small.
//
// A position is the entry's id in its stream: the milliseconds since 1970, times
// 2,097,152 (1<<21), plus its number within them. That suffices until the year 2248,
// and for 2,097,152 entries of one log within one millisecond; beyond that Append
// fails.
//
// # Commands
//
// Each call of a method is one command, which takes keys of one slot of a Cluster:
// EVALSHA (Append, Swap), XREAD (Read), GET (Get), SET (Put). A script that
// the server does not know yet, as after a restart, is sent once with EVAL. A Wait
// sends a GET, and while it waits another after 100 ms, and then at intervals that
// double to 800 ms: it does not depend on Pub/Sub, which may lose messages, but is
// faster with it. One connection for all Waits of a Shared is subscribed to the
// channel from the first of them until nobody has waited for a minute, or until
// [Shared.Close].
//
// With access control, the user of the client needs this, with your prefix, besides
// what the client itself sends (such as HELLO, and CLUSTER SHARDS or CLUSTER SLOTS
// for a Cluster):
//
//	ACL SETUSER msauth on >PASSWORD resetkeys ~myapp:* resetchannels &myapp:changed -@all
//	  +evalsha +eval +get +set +del +xadd +xread +xrevrange +xtrim +dump +restore
//	  +pexpire +publish +subscribe +unsubscribe +ping
//
// # Contexts and connections
//
// A method returns when its context is over, whatever the server, the network and
// the client's timeouts do. The command then still has a connection of the client's
// pool until it is answered, or until the client's ReadTimeout; a Read that was
// cancelled, until it has waited. Each Read that waits needs a connection of the pool:
// see PoolSize. Leave ReadTimeout set.
//
// Append, Put and Swap are sent once, whatever MaxRetries says: where the answer
// is lost, what was done must not be done again. The others are repeated as the client
// is told to.
//
// # Memory, restarts and failovers
//
// Nothing has to be on the server's disk: persistence (save, appendonly) may be off.
// What is lost by a restart costs no session, as [msauth.Shared] explains.
//
// Set maxmemory-policy to noeviction. A server that is full then refuses to write,
// which the app reports and repeats. With any other policy Redis may delete logs and
// values that are still needed, without telling: with a volatile policy also, as all
// of them have a time to live.
//
// Replicas are written to later than their master: a failover loses the last writes. A
// Shared reads from masters only. [New] therefore refuses a client of a Cluster that
// reads from replicas (ReadOnly, RouteByLatency, RouteRandomly); do not give it a
// failover client with ReplicaOnly either.
//
// Positions follow the servers' clocks where a log is new: keep these right (NTP). If
// a log is lost together with its server, and the next server's clock is behind,
// readers miss what is appended until it has caught up.
package redisshared
