package msauthtest_test

import (
	"testing"

	"example.com/msauth/msauthtest"
)

// Clients can keep the times that a file has on their computers.
func TestFileTimes(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Ada)
	type info struct {
		FileSystemInfo       struct{ CreatedDateTime, LastModifiedDateTime string }
		LastModifiedDateTime string
	}
	times := func(path string) (it info) {
		t.Helper()
		a.json2(drive+path, token, &it)
		return it
	}
	address := a.beginUpload(drive+"/root:/old.bin:", token, `{"item":{"fileSystemInfo":{"lastModifiedDateTime":"2001-02-03T04:05:06Z"}}}`)
	a.put(address, 0, 9, 10)
	it := times("/root:/old.bin")
	if it.FileSystemInfo.LastModifiedDateTime != "2001-02-03T04:05:06Z" || it.LastModifiedDateTime == it.FileSystemInfo.LastModifiedDateTime || it.FileSystemInfo.CreatedDateTime == "" {
		t.Errorf("uploaded: %+v", it)
	}
	a.do(200, "PATCH", drive+"/root:/old.bin", token, `{"fileSystemInfo":{"createdDateTime":"2000-01-01T00:00:00Z"}}`)
	if it := times("/root:/old.bin"); it.FileSystemInfo.CreatedDateTime != "2000-01-01T00:00:00Z" || it.FileSystemInfo.LastModifiedDateTime != "2001-02-03T04:05:06Z" {
		t.Errorf("changed: %+v", it)
	}
	a.do(200, "PUT", drive+"/root:/old.bin:/content", token, "new")
	if it := times("/root:/old.bin"); it.FileSystemInfo.LastModifiedDateTime != it.LastModifiedDateTime {
		t.Errorf("new content: %+v", it)
	}
	a.refused(400, "invalidRequest", "PATCH", drive+"/root:/old.bin", token, `{"fileSystemInfo":{"createdDateTime":"yesterday"}}`)
	a.refused(400, "invalidRequest", "POST", drive+"/root:/x:/createUploadSession", token, `{"item":{"fileSystemInfo":{"createdDateTime":"yesterday"}}}`)
}
