package seal

import (
	"fmt"
	"sync"
	"time"
)

// DailyKeys seal with keys of their own for each UTC day, for values that
// anybody can have made at will: the limit on values per key (see [Keys]) then
// starts again every day. A value opens on the day it was sealed and on the
// next. They are safe for concurrent use.
type DailyKeys struct {
	ring    Keyring
	purpose string

	mu   sync.Mutex
	days map[int64]Keys
}

// Daily returns the daily keys of one purpose.
func (k Keyring) Daily(purpose string) *DailyKeys {
	return &DailyKeys{ring: k, purpose: purpose, days: map[int64]Keys{}}
}

// Seal returns plain sealed, as base64url. It opens only with the same
// additional data.
func (d *DailyKeys) Seal(plain, additional []byte) string {
	return Base64url.EncodeToString(d.of(today()).Seal(plain, additional))
}

// Open returns what Seal was given today or yesterday, or [ErrNotSealed].
func (d *DailyKeys) Open(text string, additional []byte) ([]byte, error) {
	box, err := DecodeText(text)
	if err != nil {
		return nil, ErrNotSealed
	}
	day := today()
	if plain, _, err := d.of(day).Open(append([]byte(nil), box...), additional); err == nil {
		return plain, nil
	}
	plain, _, err := d.of(day-1).Open(box, additional)
	return plain, err
}

// today is the number of the UTC day since 1970.
func today() int64 { return time.Now().Unix() / 86400 }

// of returns the keys of a day, and forgets those of days that are over.
func (d *DailyKeys) of(day int64) Keys {
	d.mu.Lock()
	defer d.mu.Unlock()
	keys, ok := d.days[day]
	if !ok {
		for other := range d.days {
			if other < day-1 || other > day+1 {
				delete(d.days, other)
			}
		}
		keys = d.ring.Derive(fmt.Sprintf("%s %d", d.purpose, day))
		d.days[day] = keys
	}
	return keys
}
