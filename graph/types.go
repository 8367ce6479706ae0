package graph

import "time"

// A User is a person's profile ("user resource type"), with the properties that
// Graph returns by default.
type User struct {
	ID                string   `json:"id,omitempty"`
	DisplayName       string   `json:"displayName,omitempty"`
	GivenName         string   `json:"givenName,omitempty"`
	Surname           string   `json:"surname,omitempty"`
	JobTitle          string   `json:"jobTitle,omitempty"`
	Mail              string   `json:"mail,omitempty"`
	UserPrincipalName string   `json:"userPrincipalName,omitempty"`
	OfficeLocation    string   `json:"officeLocation,omitempty"`
	MobilePhone       string   `json:"mobilePhone,omitempty"`
	BusinessPhones    []string `json:"businessPhones,omitempty"`
	PreferredLanguage string   `json:"preferredLanguage,omitempty"`
}

// A Drive is a OneDrive or a document library ("drive resource type").
type Drive struct {
	ID        string       `json:"id,omitempty"`
	DriveType string       `json:"driveType,omitempty"` // "personal", "business" or "documentLibrary"
	Name      string       `json:"name,omitempty"`
	WebURL    string       `json:"webUrl,omitempty"`
	Owner     *IdentitySet `json:"owner,omitempty"`
	Quota     *Quota       `json:"quota,omitempty"`
}

// A Quota is the storage of a drive, in bytes ("quota resource type").
type Quota struct {
	Total     int64  `json:"total"`
	Used      int64  `json:"used"`
	Remaining int64  `json:"remaining"`
	Deleted   int64  `json:"deleted"`         // in the recycle bin
	State     string `json:"state,omitempty"` // "normal", "nearing", "critical" or "exceeded"
}

// An IdentitySet says who did something.
type IdentitySet struct {
	User        *Identity `json:"user,omitempty"`
	Application *Identity `json:"application,omitempty"`
	Device      *Identity `json:"device,omitempty"`
	Group       *Identity `json:"group,omitempty"`
}

// An Identity is a person, an app, a device or a group.
type Identity struct {
	ID          string `json:"id,omitempty"`
	DisplayName string `json:"displayName,omitempty"`
	Email       string `json:"email,omitempty"`
}

// A DriveItem is a file, a folder or another item of a drive ("driveItem resource
// type"). Pointers are nil for what an item is not, or does not have.
type DriveItem struct {
	ID             string          `json:"id,omitempty"`
	Name           string          `json:"name,omitempty"`
	Description    string          `json:"description,omitempty"`
	Size           int64           `json:"size,omitempty"` // in bytes; of a folder, of all that is in it
	ETag           string          `json:"eTag,omitempty"` // changes with the item
	CTag           string          `json:"cTag,omitempty"` // changes with the content
	WebURL         string          `json:"webUrl,omitempty"`
	Created        time.Time       `json:"createdDateTime,omitzero"`
	LastModified   time.Time       `json:"lastModifiedDateTime,omitzero"`
	CreatedBy      *IdentitySet    `json:"createdBy,omitempty"`
	LastModifiedBy *IdentitySet    `json:"lastModifiedBy,omitempty"`
	Parent         *ItemReference  `json:"parentReference,omitempty"`
	FileSystemInfo *FileSystemInfo `json:"fileSystemInfo,omitempty"`
	File           *File           `json:"file,omitempty"`
	Folder         *Folder         `json:"folder,omitempty"`
	Image          *Image          `json:"image,omitempty"`
	Root           *struct{}       `json:"root,omitempty"`
	Deleted        *Deleted        `json:"deleted,omitempty"`    // in delta queries
	Thumbnails     []ThumbnailSet  `json:"thumbnails,omitempty"` // with Expand: thumbnails
}

// An ItemReference says where an item is.
type ItemReference struct {
	DriveID   string `json:"driveId,omitempty"`
	DriveType string `json:"driveType,omitempty"`
	ID        string `json:"id,omitempty"`
	Name      string `json:"name,omitempty"`
	Path      string `json:"path,omitempty"` // percent-encoded, such as /drive/root:/Documents
}

// FileSystemInfo has the times that a file has on the person's own computer.
type FileSystemInfo struct {
	Created      time.Time `json:"createdDateTime,omitzero"`
	LastModified time.Time `json:"lastModifiedDateTime,omitzero"`
}

// A File is what only files have.
type File struct {
	MimeType string  `json:"mimeType,omitempty"`
	Hashes   *Hashes `json:"hashes,omitempty"`
}

// Hashes are those of a file's content. Which there are depends on the drive; a
// file that was just written may have none yet. SHA-1 is not used where FIPS 140-3
// is enforced.
type Hashes struct {
	QuickXor string `json:"quickXorHash,omitempty"` // base64
	SHA1     string `json:"sha1Hash,omitempty"`     // hexadecimal
	SHA256   string `json:"sha256Hash,omitempty"`   // hexadecimal
}

// A Folder is what only folders have.
type Folder struct {
	ChildCount int `json:"childCount"`
}

// An Image has the size of a picture, in pixels.
type Image struct {
	Width  int `json:"width,omitempty"`
	Height int `json:"height,omitempty"`
}

// Deleted says that an item is gone.
type Deleted struct {
	State string `json:"state,omitempty"`
}

// A ThumbnailSet has the thumbnails of an item ("thumbnailSet resource type").
type ThumbnailSet struct {
	ID     string     `json:"id,omitempty"`
	Small  *Thumbnail `json:"small,omitempty"`  // 96 pixels at most
	Medium *Thumbnail `json:"medium,omitempty"` // 176
	Large  *Thumbnail `json:"large,omitempty"`  // 800
}

// A Thumbnail is a picture of an item.
type Thumbnail struct {
	Width  int       `json:"width,omitempty"`
	Height int       `json:"height,omitempty"`
	URL    SecretURL `json:"url,omitempty"` // works for some time, without a token
}

// A Permission is who can do what with an item; for a sharing link, who has the
// link ("permission resource type").
type Permission struct {
	ID          string       `json:"id,omitempty"`
	Roles       []string     `json:"roles,omitempty"` // "read", "write", "owner"
	Link        *SharingLink `json:"link,omitempty"`
	GrantedTo   *IdentitySet `json:"grantedToV2,omitempty"`
	Expires     time.Time    `json:"expirationDateTime,omitzero"`
	HasPassword bool         `json:"hasPassword,omitempty"`
}

// A SharingLink is a link that others can open.
type SharingLink struct {
	Type   string `json:"type,omitempty"`   // "view", "edit" or "embed"
	Scope  string `json:"scope,omitempty"`  // "anonymous", "organization" or "users"
	WebURL string `json:"webUrl,omitempty"` // whoever has it is admitted, if the scope is "anonymous"
}
