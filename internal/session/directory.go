package session

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"example.com/msauth/internal/compact"
	"example.com/msauth/internal/shared"
)

// A Directory lists the sessions of each account: where somebody is signed in. It
// is kept for lists, and tells in which order an account's sessions began and were
// ended; whether a session is valid is not asked here.
type Directory struct {
	Store DirectoryStore
	// Names returns the names under which what belongs to an account or to an id of
	// the provider's is kept: the first for what is new.
	Names func(text string) []string
	// MaxAge is how long a session lasts: see Record.Ends.
	MaxAge time.Duration
}

// A DirectoryStore keeps logs and values: a [shared.Hub] for all processes, or a
// [shared.Local] for this one.
type DirectoryStore interface {
	Append(ctx context.Context, log string, data []byte, life time.Duration) (position uint64, err error)
	Read(ctx context.Context, log string) ([]shared.Entry, error)
	Get(ctx context.Context, name string) ([]byte, error)
	Put(ctx context.Context, name string, value []byte, life time.Duration) error
	// Era tells the positions of logs from those of before they were lost. ok is
	// false if that is not known.
	Era() (era uint16, ok bool)
}

var (
	_ DirectoryStore = (*shared.Hub)(nil)
	_ DirectoryStore = shared.Local{}
)

// Listed is a session in a list.
type Listed struct {
	ID                ID
	Place             Place
	Begun, Used, Ends time.Time
	Browser, Platform string
	// Bound says that the session is bound to a device.
	Bound bool
}

const (
	listedSession = 1
	listedMark    = 2 // see Mark
	listedBound   = 1 // may follow a session
)

// Begin adds a new session to the list of its account, and returns its place there,
// zero if that is not known.
func (d *Directory) Begin(ctx context.Context, rec *Record, browser, platform string) (Place, error) {
	e := compact.Encoder{B: append([]byte{listedSession}, rec.ID[:]...)}
	for _, t := range [...]int64{rec.SignedIn, rec.Ends(d.MaxAge).Unix()} {
		e.B = binary.AppendUvarint(e.B, uint64(t)) // #nosec G115 -- Unix times
	}
	e.Text(browser)
	e.Text(platform)
	if rec.Device != [8]byte{} {
		e.B = append(e.B, listedBound)
	}
	position, err := d.Store.Append(ctx, d.logs(rec.User.Key())[0], e.B, d.MaxAge)
	return d.place(position), err
}

// Mark returns a place in the list of an account's sessions that is after all that
// have begun, zero if it is not known.
func (d *Directory) Mark(ctx context.Context, key string) (Place, error) {
	var position uint64
	for _, log := range d.logs(key) {
		at, err := d.Store.Append(ctx, log, []byte{listedMark}, d.MaxAge)
		if err != nil {
			return Place{}, err
		}
		position = max(position, at)
	}
	return d.place(position), nil
}

func (d *Directory) place(position uint64) Place {
	era, ok := d.Store.Era()
	if !ok || position == 0 {
		return Place{}
	}
	return Place{era, position}
}

// List returns the sessions of an account that have not ended by their age, the newest
// first.
func (d *Directory) List(ctx context.Context, key string) (list []Listed, err error) {
	for _, log := range d.logs(key) {
		entries, err := d.Store.Read(ctx, log)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if s, ok := listedFrom(e); ok && time.Now().Before(s.Ends) {
				s.Place = d.place(e.Position)
				list = append(list, s)
			}
		}
	}
	for i := range list {
		s := &list[i]
		if used, _, err := d.use(ctx, s.ID); err != nil {
			return nil, err
		} else if used > s.Used.Unix() {
			s.Used = time.Unix(used, 0)
		}
	}
	slices.SortFunc(list, func(a, b Listed) int { return b.Begun.Compare(a.Begun) })
	return list, nil
}

func listedFrom(e shared.Entry) (s Listed, ok bool) {
	d := compact.Decoder{B: e.Data}
	if d.Flags() != listedSession {
		return s, false
	}
	copy(s.ID[:], d.Bytes(len(s.ID)))
	begun, ends := d.Uvarint(), d.Uvarint()
	s.Browser, s.Platform = d.Text(), d.Text()
	if !d.Bad && d.At < len(d.B) {
		s.Bound = d.Flags() == listedBound
	}
	s.Begun, s.Ends = time.Unix(int64(begun), 0), time.Unix(int64(ends), 0) // #nosec G115 -- we made them
	s.Used = s.Begun
	return s, d.Done()
}

// NoteUse notes when a session was last used and its tokens were issued.
func (d *Directory) NoteUse(ctx context.Context, rec *Record) error {
	b := binary.AppendUvarint(nil, uint64(rec.Used)) // #nosec G115 -- Unix times
	b = binary.AppendUvarint(b, uint64(rec.Renewed)) // #nosec G115
	return d.Store.Put(ctx, useName(rec.ID), b, time.Until(rec.Ends(d.MaxAge)))
}

// NewerThan reports whether the tokens of a record's session were renewed after
// those that the record has.
func (d *Directory) NewerThan(ctx context.Context, rec *Record) (bool, error) {
	_, renewed, err := d.use(ctx, rec.ID)
	return renewed > rec.Renewed, err
}

func (d *Directory) use(ctx context.Context, id ID) (used, renewed int64, err error) {
	value, err := d.Store.Get(ctx, useName(id))
	if err != nil {
		return 0, 0, err
	}
	v := compact.Decoder{B: value}
	return int64(v.Uvarint()), int64(v.Uvarint()), nil // #nosec G115 -- we made them
}

// NoteSID remembers for which account the provider has a session with this id.
func (d *Directory) NoteSID(ctx context.Context, rec *Record) error {
	return d.Store.Put(ctx, "i:"+d.Names("sid " + rec.SID())[0], []byte(rec.User.Key()), d.MaxAge)
}

// SID returns the key of the account that a session of the provider's is known to be
// of, "" if it is not known.
func (d *Directory) SID(ctx context.Context, sid string) (key string, err error) {
	for _, name := range d.Names("sid " + sid) {
		value, failed := d.Store.Get(ctx, "i:"+name)
		if len(value) > 0 {
			return string(value), nil
		}
		err = errors.Join(err, failed)
	}
	return "", err
}

// ForgetSID undoes NoteSID.
func (d *Directory) ForgetSID(ctx context.Context, sid string) (err error) {
	for _, name := range d.Names("sid " + sid) {
		err = errors.Join(err, d.Store.Put(ctx, "i:"+name, nil, 0))
	}
	return err
}

func (d *Directory) logs(key string) []string {
	names := d.Names("user " + key)
	for i, name := range names {
		names[i] = "u:" + name
	}
	return names
}

func useName(id ID) string { return "s:" + hex.EncodeToString(id[:]) }
