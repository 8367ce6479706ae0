package tokenstore

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"example.com/msauth"
)

// storedForm is what [msauth.Middleware.StoredUser] makes.
var storedForm = regexp.MustCompile(`^msauth:([0-9a-f]{16}):`)

func prefix(registration string) string { return "msauth:" + registration + ":" }

// served are the registrations of the apps that use a Store in this process.
type served struct {
	mu  sync.Mutex
	all []string
}

func (s *served) list() []string {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

// Serve tells the Store which registration's entries the app means by its own
// users: [msauth.New] calls it with what stands before them.
func (s *Store) Serve(prefix string) {
	m := storedForm.FindStringSubmatch(prefix)
	if m == nil || s == nil || s.served == nil {
		return
	}
	s.served.mu.Lock()
	defer s.served.mu.Unlock()
	if !slices.Contains(s.served.all, m[1]) {
		s.served.all = append(s.served.all, m[1])
	}
}

// For returns the same store for one app, where several in this process have one
// Store: its users and accounts are those of auth.
func (s *Store) For(auth *msauth.Middleware) *Store {
	if s == nil {
		return nil
	}
	mine := *s
	mine.served = &served{}
	mine.Serve(auth.StoredUser(""))
	return &mine
}

// apps are those whose entries a call is about.
type apps struct {
	registrations []string // none for all
	stored        bool     // the name said which
}

// parse takes the registration out of a name, or finds those that are meant.
func (s *Store) parse(name string) (of apps, own string) {
	if m := storedForm.FindStringSubmatch(name); m != nil {
		return apps{m[1:2], true}, name[len(m[0]):]
	}
	if s == nil {
		return apps{}, name
	}
	return apps{s.served.list(), false}, name
}

// has reports whether an entry is one of these, or from an earlier version and
// thus without a registration.
func (a apps) has(registration string) bool {
	return registration == "" || len(a.registrations) == 0 || slices.Contains(a.registrations, registration)
}

// first is to whom a new entry belongs.
func (a apps) first() string {
	if len(a.registrations) != 1 {
		return ""
	}
	return a.registrations[0]
}

// An entry is one row.
type entry struct {
	registration, user string
	tokens             msauth.StoredTokens
}

var errSeveral = errors.New("tokenstore: several apps have an entry here: say which one by Store.For")

// only is the first of the entries, of which those from earlier versions come
// last.
func only(found []entry) (*entry, error) {
	if len(found) == 0 {
		return nil, nil
	}
	if len(found) > 1 && found[1].registration != "" {
		return nil, errSeveral
	}
	return &found[0], nil
}

// usersOf is the query of a page of users of these apps.
func (d *dialect) usersOf(registrations []string) (query string, args []any) {
	filter := ""
	if len(registrations) > 0 {
		filter = "AND registration IN (''"
		for i, registration := range registrations {
			filter += fmt.Sprintf(", %s%d", d.placeholder, i+3)
			args = append(args, registration)
		}
		filter += ")"
	}
	return strings.Replace(d.users, "{registrations}", filter, 1), args
}
