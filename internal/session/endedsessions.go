package session

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxEnded is how many ended sessions are remembered at most: about 45 MB.
	maxEnded  = 1 << 20
	endShards = 64
	// sweepEvery is how often memory is freed: a million entries take 20 ms.
	sweepEvery = 1 * time.Hour
)

// endedSessions remembers the ids of sessions that have ended, in as few bytes as
// it can: a site with many users has a million of them. It is a map in parts, each
// with a lock for itself: readers do not wait for each other. If it is full, one
// that would have ended soon is forgotten.
type endedSessions struct {
	limit  int // maxEnded
	shards [endShards]endShard
	count  atomic.Int64  // 0 spares readers the rest
	lost   atomic.Uint64 // how many were forgotten too early
	epoch  atomic.Uint64 // the lowest bit is what seenBit has to be
	// covered returns accounts of which everything until a time has ended.
	covered func() map[uint64]int64

	sweeping atomic.Bool // a call of sweep is due
}

type endShard struct {
	mu   sync.RWMutex
	byID map[ID]ended
	most int      // entries that byID has had: maps never shrink
	_    [24]byte // no two locks in one cache line
}

// ended is what is kept of a session.
type ended struct {
	account     uint64 // tagOf, but for seenBit
	from, until uint32 // Unix seconds
}

// seenBit tells whether an entry is known to be in the log: see restart.
const seenBit = 1

// An endedSession is a session that has ended.
type endedSession struct {
	id          ID
	account     uint64 // tagOf the account
	from, until int64  // it has ended, and would have: Unix seconds
}

func (s *endedSessions) shard(id ID) *endShard { return &s.shards[id[0]%endShards] }

// find returns from when on the session with an id has ended.
func (s *endedSessions) find(id ID, now time.Time) (from int64, ok bool) {
	if s.count.Load() == 0 {
		return 0, false
	}
	shard := s.shard(id)
	shard.mu.RLock()
	e, ok := shard.byID[id]
	shard.mu.RUnlock()
	return int64(e.from), ok && now.Unix() < int64(e.until)
}

// add notes an ended session. It never ends later than it was said before.
func (s *endedSessions) add(e endedSession) {
	now := time.Now().Unix()
	if e.until <= now || e.until > 1<<32-1 || e.from < 0 || e.from > e.until {
		return
	}
	shard := s.shard(e.id)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	before, known := shard.byID[e.id]
	if known {
		e.from, e.until = min(e.from, int64(before.from)), max(e.until, int64(before.until))
	} else if s.count.Add(1); len(shard.byID) >= s.limit/endShards {
		s.forgetOne(shard)
	}
	if shard.byID == nil {
		shard.byID = map[ID]ended{}
	}
	seen := s.epoch.Load() & seenBit
	shard.byID[e.id] = ended{e.account&^seenBit | seen, uint32(e.from), uint32(e.until)} // #nosec G115 -- checked above
	shard.most = max(shard.most, len(shard.byID))
	if s.sweeping.CompareAndSwap(false, true) {
		time.AfterFunc(sweepEvery, s.sweep)
	}
}

// forgetOne makes room in a shard: of a few entries, which the map picks at random,
// for the one that would have ended first.
func (s *endedSessions) forgetOne(shard *endShard) {
	var first ID
	until, looked := uint32(1<<32-1), 0
	for id, e := range shard.byID {
		if e.until <= until {
			first, until = id, e.until
		}
		if looked++; looked == 8 {
			break
		}
	}
	delete(shard.byID, first)
	s.count.Add(-1)
	if int64(until) > time.Now().Unix() {
		s.lost.Add(1)
	}
}

// sweep forgets what would have ended by now, and what is said by its account, and
// calls itself again while others are left.
func (s *endedSessions) sweep() {
	covered := s.covered()
	now := time.Now().Unix()
	for i := range s.shards {
		shard := &s.shards[i]
		shard.mu.Lock()
		for id, e := range shard.byID {
			if until, ok := covered[e.account&^seenBit]; int64(e.until) <= now || ok && int64(e.from) <= until {
				delete(shard.byID, id)
				s.count.Add(-1)
			}
		}
		if len(shard.byID) < shard.most/2 {
			kept := make(map[ID]ended, len(shard.byID))
			for id, e := range shard.byID {
				kept[id] = e
			}
			shard.byID, shard.most = kept, len(kept)
		}
		shard.mu.Unlock()
	}
	s.sweeping.Store(false)
	if s.count.Load() > 0 && s.sweeping.CompareAndSwap(false, true) {
		time.AfterFunc(sweepEvery, s.sweep)
	}
}

// restart makes all entries missing until they are added once more, also those that
// were missing already.
func (s *endedSessions) restart() {
	missing := s.epoch.Add(1)&seenBit ^ seenBit
	for i := range s.shards {
		shard := &s.shards[i]
		shard.mu.Lock()
		for id, e := range shard.byID {
			e.account = e.account&^seenBit | missing
			shard.byID[id] = e
		}
		shard.mu.Unlock()
	}
}

// missing calls yield with the entries that were not added since the last restart,
// until yield returns false. Nothing is locked meanwhile.
func (s *endedSessions) missing(yield func(endedSession) bool) {
	seen := s.epoch.Load() & seenBit
	for i := range s.shards {
		shard := &s.shards[i]
		var list []endedSession
		shard.mu.RLock()
		for id, e := range shard.byID {
			if e.account&seenBit != seen {
				list = append(list, endedSession{id, e.account, int64(e.from), int64(e.until)})
			}
		}
		shard.mu.RUnlock()
		for _, e := range list {
			if !yield(e) {
				return
			}
		}
	}
}
