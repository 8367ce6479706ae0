package seal

import (
	"github.com/gorilla/securecookie"
)

// A Codec is a [securecookie.Codec] whose values are sealed and open only under
// the name they were sealed under. It takes a []byte as it is and any other
// value through encoding/gob. Unlike securecookie's own codec it encodes in
// base64 once, has no limit on length, and does not check a value's age.
type Codec struct {
	// Keys seal and open the values.
	Keys *Keys
}

var _ securecookie.Codec = Codec{}

// Encode implements [securecookie.Codec]. It fails only for values that
// encoding/gob cannot encode.
func (s Codec) Encode(name string, value any) (string, error) {
	plain, ok := value.([]byte)
	if !ok {
		var err error
		if plain, err = (securecookie.GobEncoder{}).Serialize(value); err != nil {
			return "", err
		}
	}
	return Base64url.EncodeToString(s.Keys.Seal(plain, []byte(name))), nil
}

// Decode implements [securecookie.Codec]. dst is a *[]byte or a pointer for
// encoding/gob. It returns [ErrNotSealed] for a text that was not sealed under
// name with one of the keys.
func (s Codec) Decode(name, text string, dst any) error {
	box, err := DecodeText(text)
	if err != nil {
		return ErrNotSealed
	}
	plain, _, err := s.Keys.Open(box, []byte(name))
	if err != nil {
		return err
	}
	if raw, ok := dst.(*[]byte); ok {
		*raw = plain
		return nil
	}
	return (securecookie.GobEncoder{}).Deserialize(plain, dst)
}
