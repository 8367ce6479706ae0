package provider

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/web"
)

const (
	maxUserinfo     = 64 << 10 // bytes of the reply
	userinfoTimeout = 5 * time.Second
	maxNameTaken    = 256 // bytes of one text: it goes into the session
)

// A profile is what userinfo says about a person. It is for display; nothing is
// decided by it.
type profile struct{ Name, Username, Email string }

// FillInNames asks the userinfo endpoint for the names of a person whose ID token
// has none, and stores them in id.User. A text that is too long is cut, and an
// e-mail address that is too long is left out. Nothing else of the reply is used: it is
// not signed.
func (a *Authority) FillInNames(ctx context.Context, id *Identity, access seal.Secret) error {
	u := &id.User
	names, err := a.userinfo(ctx, access, u.Subject)
	if err != nil {
		return err
	}
	u.Name, u.Username = web.OneLine(names.Name, maxNameTaken), cmp.Or(u.Username, web.OneLine(names.Username, maxNameTaken))
	if u.Email = names.Email; len(u.Email) > maxNameTaken {
		u.Email = ""
	}
	return nil
}

// userinfo asks for the claims about the person whose access token this is (OpenID
// Connect Core section 5.3). The reply is not signed, so it must name the subject
// of the ID token. Its errors contain nothing that was sent or received.
func (a *Authority) userinfo(ctx context.Context, access seal.Secret, subject string) (profile, error) {
	c, err := a.readUserinfo(ctx, access)
	if err != nil {
		return profile{}, fmt.Errorf("msauth: userinfo: %w", err)
	}
	if subject == "" || c.text("sub") != subject {
		return profile{}, errors.New("msauth: userinfo: its sub is not that of the ID token")
	}
	var p profile
	p.Name, p.Username, p.Email = c.names()
	return p, nil
}

// readUserinfo returns the reply of the userinfo endpoint.
func (a *Authority) readUserinfo(ctx context.Context, access seal.Secret) (claims, error) {
	ctx, cancel := context.WithTimeout(ctx, userinfoTimeout)
	defer cancel()
	m, err := a.Discover(ctx)
	if err != nil {
		return nil, err
	}
	if m.UserInfo == "" {
		return nil, errors.New("discovery names no userinfo_endpoint")
	}
	if _, err := checkEndpoint("userinfo_endpoint", m.UserInfo); err != nil {
		return nil, err
	}
	if access == "" {
		return nil, errors.New("there is no access token")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.UserInfo, nil)
	if err != nil {
		return nil, errors.New("userinfo_endpoint is not an absolute URL")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Authorization", "Bearer "+string(access))
	client := *a.Client
	client.CheckRedirect = web.FollowNothing // the token is for this host only
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	switch {
	case redirects(res):
		return nil, fmt.Errorf("HTTP status %d: %w", res.StatusCode, errRedirects)
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("HTTP status %d", res.StatusCode)
	}
	body, err := web.ReadAtMost(res.Body, maxUserinfo)
	if err != nil {
		return nil, err
	}
	var c claims
	if json.Unmarshal(body, &c) != nil || c == nil {
		return nil, notJSON(res, body) // a JWT would have to be asked for at registration
	}
	if _, twice, err := repeatedMember(body); err != nil || twice {
		return nil, errors.New("a member is there twice")
	}
	return c, nil
}
