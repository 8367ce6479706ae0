// Package shared is what the processes of an app know together, on a [Backend] that
// they all reach, such as Redis.
//
// A [Hub] keeps three things there. The log of endings: what one process appends,
// all others read within moments and keep in memory, so that a request asks nobody
// ([Hub.Publish], [Hub.Start]). Values, under names that tell nothing ([Hub.Get],
// [Hub.Put], [Hub.Add]). And leases: of all processes one does something, the
// others wait for what comes of it ([Hub.Claim]).
//
// Everything is sealed for its kind, its name and the app: who can write to the
// backend can withhold and delete, and not forge or exchange. Fencing guards the
// write of an outcome only: the provider knows nothing of leases.
//
// The backend may fail at any time. Then calls return [ErrUnavailable] after a
// second at most, and for a second more at once; what was to be published waits in
// this process, bounded, and is delivered when the backend is back. A backend that
// has lost its memory is noticed by its epoch, a random value: then every process
// publishes what is missing from the log. For [Doubt] after that, what is not known
// means nothing.
//
// It imports seal and the standard library and never net/http. It does not know what
// it keeps.
package shared
