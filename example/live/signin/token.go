package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"example.com/msauth"
	"example.com/msauth/example/live/internal/livesite"
)

// The other part of the site stands for a service of its own, such as the one that
// the site's apps for phones call. It gets an authentication token from whoever calls
// it, and checks it with the client secrets, without a request to Microsoft: "Single
// sign-on for apps and websites" of the Live SDK.

// newOther returns the other part. It shares the app registration and its host with
// the site, and nothing else: its keys are its own, and it has no sessions.
func newOther(c msauth.Config, log *slog.Logger) (http.Handler, error) {
	key := make([]byte, 32)
	rand.Read(key)
	auth, err := msauth.New(msauth.Config{
		ClientID: c.ClientID, Credentials: c.Credentials, Authority: c.Authority,
		BaseURL: c.BaseURL, // the token names its host
		Keys:    [][]byte{key}, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "bring an authentication token", http.StatusUnauthorized)
			return
		}
		user, err := auth.VerifyAuthenticationToken(r.Context(), token)
		if err != nil {
			log.InfoContext(r.Context(), "authentication token refused", "err", err)
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			http.Error(w, "this authentication token is not accepted", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer{UID: user.Subject})
	}), nil
}

// An answer is what the other part says.
type answer struct {
	UID string `json:"uid"` // who it thinks is calling
}

// seen is what the page shows of a call of the other part.
type seen struct {
	URL    string
	Answer *answer // nil before the button is pressed
}

func (s *site) tokenPage(w http.ResponseWriter, r *http.Request) error {
	return s.Show(w, r, http.StatusOK, livesite.View{Page: "token", Title: "Another part of the site", Data: seen{URL: s.other}})
}

// bringToken calls the other part for the person who is signed in. Their browser
// sees the answer, and never the token.
func (s *site) bringToken(w http.ResponseWriter, r *http.Request) error {
	session, _ := msauth.FromContext(r.Context())
	token, err := session.AuthenticationToken()
	if err != nil {
		return err
	}
	got, err := callOther(r.Context(), s.other, token)
	if err != nil {
		return err
	}
	return s.Show(w, r, http.StatusOK, livesite.View{Page: "token", Title: "Another part of the site", Data: seen{s.other, &got}})
}

// client follows no redirect, which could lead the token elsewhere.
var client = &http.Client{
	Timeout:       10 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func callOther(ctx context.Context, url, token string) (got answer, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return got, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := client.Do(req)
	if err != nil {
		return got, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return got, fmt.Errorf("the other part of the site answers %s", res.Status)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 16<<10)).Decode(&got); err != nil {
		return got, err
	}
	if got.UID == "" {
		return got, errors.New("the other part of the site names nobody")
	}
	return got, nil
}
