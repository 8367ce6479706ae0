package session

import (
	"reflect"
	"testing"
	"time"

	"example.com/msauth/internal/compact"
	"example.com/msauth/internal/provider"
)

func TestRequirementInALink(t *testing.T) {
	t.Parallel()
	full := provider.Requirement{Scopes: []string{"Files.Read", "Mail.Read"}, Claims: `{"id_token":{"acrs":null}}`, MaxAge: 5 * time.Minute, Again: true}
	long := full
	long.MaxAge = LongestMaxAge + time.Hour
	bounded := full
	bounded.MaxAge = LongestMaxAge
	for _, test := range []struct {
		name     string
		of, want provider.Requirement
	}{
		{"full", full, full},
		{"empty", provider.Requirement{}, provider.Requirement{Scopes: []string{}}},
		{"longer than any session", long, bounded},
	} {
		e := compact.Encoder{}
		AppendRequirement(&e, test.of)
		d := compact.Decoder{B: e.B}
		if got := ReadRequirement(&d); !d.Done() || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
		for n := range e.B {
			d := compact.Decoder{B: e.B[:n]}
			if ReadRequirement(&d); !d.Bad {
				t.Errorf("%s: %d bytes of %d are read", test.name, n, len(e.B))
			}
		}
	}
}
