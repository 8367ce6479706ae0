package seal

import (
	"bytes"
	"fmt"
	"sync"
	"time"
)

// DailyKeys seal with keys of their own for each UTC day, for values that
// anybody can have made at will: the limit on values per key (see [Keys]) then
// starts again every day. A value opens on the day it was sealed and on the
// next. They are safe for concurrent use.
type DailyKeys struct {
	ring    *Keyring
	purpose string

	mu      sync.Mutex
	masters [][]byte
	days    map[int64]aeads
}

// Daily returns the daily keys of one purpose. The ring keeps them: call it once
// for each purpose.
func (k *Keyring) Daily(purpose string) *DailyKeys {
	d := &DailyKeys{ring: k, purpose: purpose}
	k.follow(func(masters [][]byte) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.masters, d.days = masters, map[int64]aeads{}
	})
	return d
}

// Seal returns plain sealed, as base64url. It opens only with the same
// additional data.
func (d *DailyKeys) Seal(plain, additional []byte) string {
	return Base64url.EncodeToString(d.of(today()).seal(plain, additional))
}

// Open returns what Seal was given today or yesterday, or [ErrNotSealed]. Before
// it does, it brings the keys up to date, as after [Keys.Again].
func (d *DailyKeys) Open(text string, additional []byte) ([]byte, error) {
	box, err := DecodeText(text)
	if err != nil || len(box) < SealOverhead {
		return nil, ErrNotSealed
	}
	plain, err := d.open(box, additional)
	if err != nil && d.ring.again() {
		plain, err = d.open(box, additional)
	}
	return plain, err
}

// open leaves box as it is.
func (d *DailyKeys) open(box, additional []byte) (plain []byte, err error) {
	day := today()
	for _, day := range [...]int64{day, day - 1} {
		if plain, _, err = d.of(day).open(bytes.Clone(box), additional); err == nil {
			break
		}
	}
	return plain, err
}

// today is the number of the UTC day since 1970.
func today() int64 { return time.Now().Unix() / 86400 }

// of returns the keys of a day, and forgets those of days that are over.
func (d *DailyKeys) of(day int64) aeads {
	d.mu.Lock()
	defer d.mu.Unlock()
	keys, ok := d.days[day]
	if !ok {
		for other := range d.days {
			if other < day-1 || other > day+1 {
				delete(d.days, other)
			}
		}
		keys, _ = derive(d.masters, fmt.Sprintf("%s %d", d.purpose, day)) // Replace has tried it
		d.days[day] = keys
	}
	return keys
}
