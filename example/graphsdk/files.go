package graphsdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	abstractions "github.com/microsoft/kiota-abstractions-go"
	kiotahttp "github.com/microsoft/kiota-http-go"
	msgraphsdk "github.com/microsoftgraph/msgraph-sdk-go"
	msgraphcore "github.com/microsoftgraph/msgraph-sdk-go-core"
	"github.com/microsoftgraph/msgraph-sdk-go-core/fileuploader"
	"github.com/microsoftgraph/msgraph-sdk-go/drives"
	"github.com/microsoftgraph/msgraph-sdk-go/models"
	"github.com/microsoftgraph/msgraph-sdk-go/models/odataerrors"
)

// An item is identified by its ID, or "root" for the top folder; or by the ID of a
// folder and a path below it, as in "root:/Plans/House.txt:". The SDK escapes it.

// Me returns the profile of the user who is signed in.
func Me(ctx context.Context, client *msgraphsdk.GraphServiceClient) (models.Userable, error) {
	return client.Me().Get(ctx, nil)
}

// Photo returns the picture of the user who is signed in.
func Photo(ctx context.Context, client *msgraphsdk.GraphServiceClient) ([]byte, error) {
	return client.Me().Photo().Content().Get(ctx, nil)
}

// DriveID returns the ID of the OneDrive of the user who is signed in.
func DriveID(ctx context.Context, client *msgraphsdk.GraphServiceClient) (string, error) {
	drive, err := client.Me().Drive().Get(ctx, nil)
	if err != nil {
		return "", err
	}
	return *drive.GetId(), nil
}

func at(client *msgraphsdk.GraphServiceClient, drive, item string) *drives.ItemItemsDriveItemItemRequestBuilder {
	return client.Drives().ByDriveId(drive).Items().ByDriveItemId(item)
}

// List returns all items of a folder, from all pages.
func List(ctx context.Context, client *msgraphsdk.GraphServiceClient, drive, folder string) ([]models.DriveItemable, error) {
	page, err := at(client, drive, folder).Children().Get(ctx, &drives.ItemItemsItemChildrenRequestBuilderGetRequestConfiguration{
		QueryParameters: &drives.ItemItemsItemChildrenRequestBuilderGetQueryParameters{
			Select: []string{"id", "name", "size", "folder"},
		},
	})
	if err != nil {
		return nil, err
	}
	pages, err := msgraphcore.NewPageIterator[models.DriveItemable](page, client.GetAdapter(), models.CreateDriveItemCollectionResponseFromDiscriminatorValue)
	if err != nil {
		return nil, err
	}
	var all []models.DriveItemable
	err = pages.Iterate(ctx, func(item models.DriveItemable) bool {
		all = append(all, item)
		return true
	})
	return all, err
}

// CreateFolder creates a folder. If the name is taken, the error has the code
// nameAlreadyExists (see [Code]).
func CreateFolder(ctx context.Context, client *msgraphsdk.GraphServiceClient, drive, parent, name string) (models.DriveItemable, error) {
	folder := models.NewDriveItem()
	folder.SetName(&name)
	folder.SetFolder(models.NewFolder())
	folder.SetAdditionalData(map[string]any{"@microsoft.graph.conflictBehavior": "fail"})
	return at(client, drive, parent).Children().Post(ctx, folder, nil)
}

// Upload writes a file of up to 250 MB in one request ("driveItem: put content").
// It replaces the content of an existing file.
func Upload(ctx context.Context, client *msgraphsdk.GraphServiceClient, drive, parent, name string, content []byte) (models.DriveItemable, error) {
	return at(client, drive, parent+":/"+name+":").Content().Put(ctx, content, nil)
}

// part is how many bytes the upload task sends per request: a multiple of 320 KiB.
const part = 10 * 320 << 10

// UploadLarge writes a file, which must not be empty, with the SDK's upload
// task, and tells after each part how many bytes Microsoft has. The task reads
// parts again when they fail; that is why it wants a file. It takes no context.
func UploadLarge(ctx context.Context, client *msgraphsdk.GraphServiceClient, drive, parent, name string, file *os.File, progress func(done, all int64)) (models.DriveItemable, error) {
	ask := drives.NewItemItemsItemCreateUploadSessionPostRequestBody()
	properties := models.NewDriveItemUploadableProperties()
	properties.SetAdditionalData(map[string]any{"@microsoft.graph.conflictBehavior": "replace"})
	ask.SetItem(properties)
	session, err := at(client, drive, parent+":/"+name+":").CreateUploadSession().Post(ctx, ask, nil)
	if err != nil {
		return nil, err
	}
	task := fileuploader.NewLargeFileUploadTask[models.DriveItemable](client.GetAdapter(), session, file, part,
		models.CreateDriveItemFromDiscriminatorValue,
		abstractions.ErrorMappings{"XXX": odataerrors.CreateODataErrorFromDiscriminatorValue})
	result := task.Upload(func(last, all int64) { progress(last+1, all) })
	if !result.GetUploadSucceeded() {
		return nil, errors.Join(append(result.GetResponseErrors(), task.Cancel())...)
	}
	return result.GetItemResponse(), nil
}

// Download reads a file into memory. Graph redirects to a URL that requires no
// token, and the SDK sends none to it.
func Download(ctx context.Context, client *msgraphsdk.GraphServiceClient, drive, item string) ([]byte, error) {
	return at(client, drive, item).Content().Get(ctx, nil)
}

// Move moves an item to the folder with the ID parent, and renames it.
func Move(ctx context.Context, client *msgraphsdk.GraphServiceClient, drive, item, parent, name string) (models.DriveItemable, error) {
	change := models.NewDriveItem()
	change.SetName(&name)
	folder := models.NewItemReference()
	folder.SetId(&parent)
	change.SetParentReference(folder)
	return at(client, drive, item).Patch(ctx, change, nil)
}

// Copy copies an item to the folder with the ID parent, and waits until it is copied.
func Copy(ctx context.Context, client *msgraphsdk.GraphServiceClient, drive, item, parent, name string) (models.DriveItemable, error) {
	ask := drives.NewItemItemsItemCopyPostRequestBody()
	ask.SetName(&name)
	folder := models.NewItemReference()
	folder.SetDriveId(&drive)
	folder.SetId(&parent)
	ask.SetParentReference(folder)
	headers := kiotahttp.NewHeadersInspectionOptions()
	headers.InspectResponseHeaders = true
	_, err := at(client, drive, item).Copy().Post(ctx, ask, &drives.ItemItemsItemCopyRequestBuilderPostRequestConfiguration{
		Options: []abstractions.RequestOption{headers},
	})
	if err != nil {
		return nil, err
	}
	monitor := headers.GetResponseHeaders().Get("Location")
	if len(monitor) == 0 {
		return nil, errors.New("copy: the response has no Location")
	}
	for {
		id, err := copied(ctx, monitor[0])
		if err != nil {
			return nil, err
		}
		if id != "" {
			return at(client, drive, id).Get(ctx, nil)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// noRedirects is for monitor URLs: those of personal accounts redirect to the
// item, which requires a token.
var noRedirects = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// copied returns the ID of the copy from a monitor URL, which requires no token. It
// is empty until the copy exists ("Working with long running actions").
func copied(ctx context.Context, monitor string) (id string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, monitor, nil)
	if err != nil {
		return "", err
	}
	res, err := noRedirects.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var state struct {
		Status, ResourceID string
		Error              struct{ Code, Message string }
	}
	if res.StatusCode >= 300 && res.StatusCode != http.StatusSeeOther {
		return "", fmt.Errorf("copy: %s", res.Status)
	}
	if err := json.NewDecoder(res.Body).Decode(&state); err != nil {
		return "", fmt.Errorf("copy: %w", err)
	}
	switch state.Status {
	case "completed":
		return state.ResourceID, nil
	case "failed":
		return "", fmt.Errorf("copy: %s: %s", state.Error.Code, state.Error.Message)
	}
	return "", nil
}

// Delete moves an item to the recycle bin.
func Delete(ctx context.Context, client *msgraphsdk.GraphServiceClient, drive, item string) error {
	return at(client, drive, item).Delete(ctx, nil)
}

// Code returns Graph's code of an error from the SDK, such as "itemNotFound". It is
// empty for other errors.
func Code(err error) string {
	failure, ok := errors.AsType[*odataerrors.ODataError](err)
	if !ok || failure.GetErrorEscaped() == nil || failure.GetErrorEscaped().GetCode() == nil {
		return ""
	}
	return *failure.GetErrorEscaped().GetCode()
}
