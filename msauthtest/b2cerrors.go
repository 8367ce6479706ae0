package msauthtest

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// b2cErrors maps AADSTS numbers to B2C's errors. If err is empty, the OAuth
// error is the same. See "Error codes: Azure Active Directory B2C".
var b2cErrors = map[int]struct{ err, text string }{
	16000:   {"interaction_required", "AADB2C90077: User does not have an existing session and request prompt parameter has a value of 'None'."},
	50011:   {"", "AADB2C90006: The redirect URI provided in the request is not registered for the client id."},
	50034:   {"invalid_grant", "AADB2C90128: The account associated with this grant no longer exists. Please reauthenticate and try again."},
	50057:   {"invalid_grant", "AADB2C90129: The provided grant has been revoked. Please reauthenticate and try again."},
	50058:   {"interaction_required", "AADB2C90077: User does not have an existing session and request prompt parameter has a value of 'None'."},
	50076:   {"interaction_required", "AADB2C90077: User does not have an existing session and request prompt parameter has a value of 'None'."},
	50173:   {"", "AADB2C90129: The provided grant has been revoked. Please reauthenticate and try again."},
	54005:   {"", "AADB2C90129: The provided grant has been revoked. Please reauthenticate and try again."},
	65004:   {"", "AADB2C90091: The user has cancelled entering self-asserted information."},
	70000:   {"", "AADB2C90088: The provided grant has not been issued for this endpoint."},
	70003:   {"", "AADB2C90086: The supplied grant_type is not supported."},
	70008:   {"", "AADB2C90080: The provided grant has expired. Please re-authenticate and try again."},
	500112:  {"invalid_grant", "AADB2C90088: The provided grant has not been issued for this endpoint."},
	501481:  {"", "AADB2C90182: The supplied code_verifier does not match associated code_challenge."},
	700016:  {"", "AADB2C90068: The provided application is not valid against this service."},
	700082:  {"", "AADB2C90080: The provided grant has expired. Please re-authenticate and try again."},
	900144:  {"", "AADB2C90083: The request is missing a required parameter."},
	7000215: {"", "AADB2C90081: The specified client_secret does not match the expected value for this client. Please correct the client_secret and try again."},
	7000218: {"", "AADB2C90079: Clients must send a client_secret when redeeming a confidential grant."},
	7000222: {"", "AADB2C90081: The specified client_secret does not match the expected value for this client. Please correct the client_secret and try again."},
}

// asB2C converts a complete failure to one of B2C, which has no suberror and no
// numbers but those in the text.
func (f Failure) asB2C() Failure {
	if len(f.Codes) > 0 && !strings.HasPrefix(f.Description, "AADB2C") {
		if known, ok := b2cErrors[f.Codes[0]]; ok {
			f.Description = known.text
			if known.err != "" {
				f.Error = known.err
			}
		}
	}
	if f.Error == "access_denied" && f.Suberror == "cancel" {
		f.Description = b2cErrors[65004].text
	}
	f.Codes, f.Suberror, f.Claims = nil, "", ""
	return f
}

// b2cDescription returns error_description in the form of captured replies.
func (f Failure) b2cDescription() string {
	return fmt.Sprintf("%s\r\nCorrelation ID: %s\r\nTimestamp: %s\r\n", f.Description, newGUID(), timestamp(time.Now()))
}

// b2cError returns the error document.
func (f Failure) b2cError() map[string]any {
	return map[string]any{"error": f.Error, "error_description": f.b2cDescription()}
}

// b2cAnswer returns the error parameters of the authorize endpoint.
func (f Failure) b2cAnswer() url.Values {
	return url.Values{"error": {f.Error}, "error_description": {f.b2cDescription()}}
}
