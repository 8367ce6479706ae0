package device

import "testing"

// What a refresh costs beside the verification of one signature: side by side.
func BenchmarkRefresh(b *testing.B) {
	s, v := newP256(b), newValues(b, "app")
	key, _, err := ReadRegistration(s.registration(b, "c"))
	if err != nil {
		b.Fatal(err)
	}
	text := v.Identify(Identifier{ID: ID{1}, Key: key})
	challenge := v.Challenge(Refresh, ID{1})
	proof := s.refresh(b, challenge)
	b.Run("signature", func(b *testing.B) {
		for b.Loop() {
			if _, err := key.verify(proof); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			id, err := v.Identified(text)
			if err != nil {
				b.Fatal(err)
			}
			got, err := id.Key.Check(proof)
			if err != nil {
				b.Fatal(err)
			}
			made, err := v.AnsweredFor(got, Refresh, id.ID)
			if err != nil {
				b.Fatal(err)
			}
			v.Seal(Bound{ID: id.ID, Key: id.Key.Digest(), Proved: made})
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	v := newValues(b, "app")
	text := v.Seal(Bound{ID: ID{1}})
	for b.Loop() {
		if _, ok := v.Open(text); !ok {
			b.Fatal("does not open")
		}
	}
}
