package routers

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"example.com/msauth"
)

// Away reads the files of one of the app's users while they are away. notify tells
// them that they must sign in again.
func Away(ctx context.Context, auth *msauth.Middleware, graph, user string, notify func(user string) error) error {
	// begin away
	s, err := auth.Offline(ctx, user)
	if errors.Is(err, msauth.ErrSignInRequired) || errors.Is(err, msauth.ErrNoTokens) {
		return notify(user) // only the user can help
	}
	// end away
	if err != nil {
		return err
	}
	res, err := s.Client(ctx).Get(graph + "/me/drive/root/children?$select=name")
	if errors.Is(err, msauth.ErrSignInRequired) {
		return notify(user)
	}
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("OneDrive answers %s", res.Status)
	}
	return nil
}
