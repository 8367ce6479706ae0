package redisshared

import "time"

var (
	PositionOf = positionOf
	IDOf       = idOf
)

// SetIdle sets how long the subscription stays when nobody waits.
func (s *Shared) SetIdle(d time.Duration) { s.watch.idle = d }
