// Package renew keeps the tokens of sessions fresh. It owns everything between
// "this token is old" and the request to the token endpoint: who asks, who waits,
// what is remembered of the answer and for how long, and when nobody asks at all.
//
// For one refresh token there is one token request at a time, whoever asks
// ([Renewals.Renew]). All who wait for it share its outcome. A browser sends many
// requests with the same cookie, and some arrive after the refresh token in it
// was used: they find in memory what followed it, from token to token, up to the
// newest. A refresh token that the provider has already replaced is therefore
// not used again, which a strict provider would take for theft.
//
// A new refresh token is not lost. If a cookie cannot carry it yet, it is kept
// in memory and the next answer delivers it ([PendingUpdate]). If the app stores
// tokens for its users, it is saved, and saved again later where the store fails
// ([Vault]); a lease in the entry keeps two processes from renewing the same
// tokens at once.
//
// A provider that fails is spared. A refresh token that failed rests for longer
// each time, one person's sessions rest together, and after failures of several
// people all renewals pause but for one probe every few seconds (type breaker).
//
// Memory is bounded: every map has a limit, and every entry a time at which it
// is forgotten.
//
// It imports provider, session, seal and ttl. What it has to know of the app is
// in [Settings]; what happens is told to an [Observer]. It never imports net/http
// and never sees requests, cookies or pages. The Observer is never called under a
// lock: a log may take its time, or ask [Renewals.Ready].
package renew
