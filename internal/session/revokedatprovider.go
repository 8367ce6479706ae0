package session

import (
	"strings"
	"time"
)

// EndSID is AddSID for a caller who has proved to be the provider. Nobody else can
// fill the memory through it, so the sessions need not be known: those of other
// processes, and of this one before it started, end too when they come.
func (s Revoked) EndSID(sid string, maxAge time.Duration) {
	if s.AddSID(sid, maxAge) || sid == "" {
		return
	}
	now := time.Now()
	s.sids.Put(strings.Clone(sid), revocation(now.Unix()), now.Add(maxAge))
}
