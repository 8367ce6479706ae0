package main

import (
	"errors"
	"net/http"
	"time"

	"example.com/msauth"
	"example.com/msauth/graph"
)

// A trouble is the reason why a user got no digest.
type trouble struct {
	needsPerson bool // the user must sign in again
	passing     bool // at Microsoft, and likely to affect other users too
	why         string
	retryAfter  time.Duration
}

// troubleOf returns the trouble for an error: the zero value if there is none.
func troubleOf(err error) trouble {
	refusal, _ := errors.AsType[*msauth.AuthError](err)
	answer, _ := errors.AsType[*graph.Error](err)
	switch {
	case err == nil, errors.Is(err, msauth.ErrNoTokens):
		return trouble{}
	case errors.Is(err, errPanic):
		return trouble{why: "Something went wrong on this site."}
	case errors.Is(err, msauth.ErrSignInRequired):
		return trouble{needsPerson: true, why: "Microsoft requires you to sign in again."}
	case errors.Is(err, msauth.ErrTokenUnavailable):
		t := trouble{passing: true, why: "Microsoft did not respond."}
		if refusal != nil {
			t.retryAfter = refusal.RetryAfter
		}
		return t
	case refusal != nil && refusal.Class == msauth.ClassNotAllowed: // by Config.AllowedTenants
		return trouble{why: "Accounts of your organization are no longer allowed to use this site."}
	case answer == nil:
		return trouble{passing: true, why: "Microsoft did not respond, or the response was not understood."}
	case answer.Status == http.StatusTooManyRequests, answer.Status >= 500:
		return trouble{passing: true, why: "Microsoft was busy.", retryAfter: answer.RetryAfter}
	case answer.Status == http.StatusForbidden, answer.Status == http.StatusNotFound, answer.Status == http.StatusBadRequest:
		return trouble{why: "This account has no OneDrive, or this site may not read it."}
	}
	return trouble{why: "Microsoft sent a response that this site does not understand."}
}
