package msauthtest

import (
	"bytes"
	"image"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// photoPath matches the paths of "Get profilePhoto": of the signed-in person or
// of another, of the largest photo or of one size, the image or its properties.
var photoPath = regexp.MustCompile(`^(me|users/[^/]+)/(?:photo|photos/(\d{1,4})x(\d{1,4}))(/\$value)?$`)

// othersNeed are the scopes for the photos of others.
var othersNeed = need{[]string{"User.ReadBasic.All", "User.Read.All", "User.ReadWrite.All"}, denied, insufficient}

// photoSizes are the documented widths of photos, up to that of the portraits.
var photoSizes = map[string]int{"48": 48, "64": 64, "96": 96, "120": 120, "240": photoSize}

// profilePhoto serves the photo of a person. parts are those of photoPath.
func (e *exchange) profilePhoto(w http.ResponseWriter, r *http.Request, parts []string) {
	u, ok := e.bearer(w, r, profileNeed)
	if !ok || !readOnly(w, r) {
		return
	}
	if name, other := strings.CutPrefix(parts[1], "users/"); other && !u.named(name) {
		if _, ok = e.bearer(w, r, othersNeed); !ok {
			return
		}
		if u, ok = e.colleague(u, name); !ok {
			graphError(w, r, http.StatusNotFound, "Request_ResourceNotFound", "Resource '"+name+"' does not exist or one of its queried reference-property objects are not present.")
			return
		}
	}
	size := photoSize
	if parts[2] != "" {
		size = photoSizes[parts[2]]
	}
	if u.NoPhoto || size == 0 || parts[2] != parts[3] {
		graphError(w, r, http.StatusNotFound, "ImageNotFound", "Exception of type 'Microsoft.Fast.Profile.Core.Exception.ImageNotFoundException' was thrown.")
		return
	}
	if parts[4] == "" {
		n := strconv.Itoa(size)
		e.graphJSON(w, r, "users('"+u.ObjectID+"')/photo/$entity", map[string]any{
			"@odata.mediaContentType": "image/jpeg", "id": n + "x" + n, "width": size, "height": size,
		})
		return
	}
	w.Header().Set("Content-Type", "image/jpeg")
	w.Write(photoOf(u, size))
}

// named reports whether a path names a person: by object ID or sign-in name.
func (u User) named(name string) bool {
	return strings.EqualFold(name, u.ObjectID) || strings.EqualFold(name, u.SignInName) || u.personal() && strings.EqualFold(name, driveNumber(u))
}

// colleague returns the person of that name in the directory of another.
func (s *Server) colleague(u User, name string) (User, bool) {
	for _, other := range s.Users() {
		if !u.personal() && other.TenantID == u.TenantID && other.named(name) {
			return other, true
		}
	}
	return User{}, false
}

// photoOf returns the photo of a person in a size.
func photoOf(u User, size int) []byte {
	data := photo(u)
	if size == photoSize {
		return data
	}
	img, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return data
	}
	return encodeJPEG(scale(onWhite(img), size, size))
}
