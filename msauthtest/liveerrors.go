package msauthtest

import (
	"net/http"
	"regexp"
	"strings"
)

// Live Connect's refusals. It has no numbers: those of Entra stand for the
// reasons here, as in the rest of the package, and are not sent. Errors are
// sent with status 400. Seen were
//
//	grantExpired  the documentation of the Bing Ads API, "Handle Service Errors and Exceptions",
//	              for refresh tokens that have expired or were revoked, and after a new password
//	50011, 500112 the same page
//	50020         users report, of the sign-in page
//	65004         users report: launchers of a game compare the whole text
//	70000         the text for a code: a test of passport-windowslive
//	700016        text and invalid_client: issue 225 of requests-oauthlib; unauthorized_client, which
//	              the page of the Bing Ads API has, is assumed for the authorize endpoint
//	900144        text: users report, for response_type and redirect_uri
//	7000218       issue 129 of onedrive-sdk-csharp
//
// access_denied, invalid_grant, invalid_request, server_error and unknown_user
// are the errors that SDK knows (AuthErrorCodes). Guessed are the other texts,
// the errors of a wrong grant type, response type and scope, for which those of
// RFC 6749 are sent, and that display=none is answered with unknown_user. In
// which order Live Connect checks is not known.
var liveErrors = map[int]struct{ err, authorize, text string }{
	16000:   {"", "unknown_user", "The user is not known."},
	50011:   {"invalid_request", "", "The provided value for the input parameter 'redirect_uri' is not valid. The expected value is a URI which matches a redirect URI registered for this client application."},
	50020:   {"", "", "You can't sign in here with a work or school account. Use your personal account instead."},
	50034:   {"", "", "That Microsoft account doesn't exist."},
	50057:   {"", "", "This account has been suspended."},
	50058:   {"invalid_grant", "unknown_user", "The user is not known."},
	50076:   {"invalid_grant", "unknown_user", "The user is not known."},
	65001:   {"invalid_grant", "unknown_user", "The user is not known."},
	65004:   {"", "", "The user has denied access to the scope requested by the client application."},
	70000:   {"", "", "The provided value for the input parameter %s is not valid."},
	70003:   {"unsupported_grant_type", "", "The provided value for the input parameter 'grant_type' is not valid."},
	70011:   {"invalid_scope", "", "The provided value for the input parameter 'scope' is not valid."},
	500112:  {"invalid_grant", "", "The provided value for the 'redirect_uri' is not valid. The value must exactly match the redirect URI used to obtain the authorization code."},
	700016:  {"invalid_client", "unauthorized_client", "The client does not exist. If you are the application developer, configure a new application through the application management site at https://manage.dev.live.com/."},
	700054:  {"unsupported_response_type", "", "The provided value for the input parameter 'response_type' is not valid."},
	900144:  {"", "", "The provided request must include a %s input parameter."},
	900561:  {"invalid_request", "", "The request method is not valid for this endpoint."},
	7000215: {"", "", "The provided value for the input parameter 'client_secret' is not valid."},
	7000218: {"", "", "The provided request must include a 'client_secret' input parameter."},
	7000222: {"", "", "The provided value for the input parameter 'client_secret' is not valid."},
}

const grantExpired = "The user could not be authenticated or the grant is expired. The user must first sign in and if needed grant the client application access to the requested scope."

// liveDefaults are the texts of errors without a number of the table.
var liveDefaults = map[string]string{
	"access_denied":           "The user has denied access to the scope requested by the client application.",
	"invalid_client":          "The provided value for the input parameter 'client_secret' is not valid.",
	"invalid_grant":           grantExpired,
	"invalid_request":         "The provided request is not valid.",
	"server_error":            "The server encountered an unexpected error.",
	"temporarily_unavailable": "The server is temporarily unavailable.",
	"unknown_user":            "The user is not known.",
}

// quotedName is the name of a parameter in a text.
var quotedName = regexp.MustCompile(`'[a-z_]+'`)

// asLive completes a failure as one of Live Connect, which has no numbers. Its
// own failures have no suberror and no claims, but one from [Behavior.Fail] may.
func (e *exchange) asLive(f Failure) Failure {
	done := e.complete(f)
	number := 0
	if len(f.Codes) > 0 {
		number = f.Codes[0]
	}
	known := liveErrors[number]
	if f.Error == "" && known.err != "" {
		done.Error = known.err
	}
	if f.Error == "" && known.authorize != "" && (e.kind == Authorize || e.kind == Picked) {
		done.Error = known.authorize
	}
	if f.Suberror == "cancel" {
		done.Description, done.Suberror = liveDefaults["access_denied"], ""
	} else if fromTable(f) {
		done.Description = known.text
		name := quotedName.FindString(f.Description)
		switch {
		case number == 70000 && name != "'code'", done.Description == "":
			done.Description = liveDefaults[done.Error]
		case strings.Contains(known.text, "%s"):
			done.Description = strings.ReplaceAll(known.text, "%s", name)
		}
		if done.Description == "" {
			done.Description = liveDefaults["invalid_request"]
		}
	}
	if f.Status == 0 && done.Status == http.StatusUnauthorized {
		done.Status = http.StatusBadRequest
	}
	done.Codes = nil
	return done
}

// fromTable reports whether a failure has no text of its own.
func fromTable(f Failure) bool {
	if len(f.Codes) == 0 || f.Description == "" {
		return f.Description == ""
	}
	start, end, _ := strings.Cut(errorTable[f.Codes[0]].text, "%s")
	return start+end != "" && strings.HasPrefix(f.Description, start) && strings.HasSuffix(f.Description, end) || f.Description == unauthorizedScopes
}
