package provider

import (
	"strconv"
	"strings"
	"time"
)

// AADSTS numbers that mean something to the code. All others are for texts only:
// Microsoft may change them at any time ("Handling errors and exceptions").
const (
	// SpaPlatform: the redirect URI is registered for a single-page application,
	// so that only a browser may redeem the code.
	SpaPlatform = 9002327

	loopDetected = 50196 // too many requests alike, whoever makes them
)

// loopWait is how long to wait after loopDetected if Microsoft does not say.
const loopWait = 1 * time.Minute

// remedies tell an operator what to change, by AADSTS number ("Microsoft Entra
// authentication and authorization error codes").
var remedies = map[int]string{
	50011:       `register BaseURL + "/callback" as a redirect URI of the platform Web (Authentication)`,
	500112:      `register BaseURL + "/callback" as a redirect URI of the platform Web (Authentication)`,
	SpaPlatform: `BaseURL + "/callback" is registered for a single-page application: remove it there and register it on the platform Web (Authentication)`,
	700025:      `BaseURL + "/callback" is registered for a public client: remove it there and register it on the platform Web (Authentication)`,
	7000215:     `set Config.ClientSecret, or the secret in Config.Credentials, to the value of a client secret, not its ID (Certificates & secrets)`,
	7000222:     `create a new client secret (Certificates & secrets) and set Config.ClientSecret, or the secret in Config.Credentials, to its value`,
	700027:      `upload the certificate in Config.Credentials, or another one if that has expired (Certificates & secrets, Certificates)`,
	7000214:     `the certificate was revoked: register another one and put it into Config.Credentials`,
	1000502:     `the certificate has expired or is not yet valid: register another one and put it into Config.Credentials`,
	700024:      `compare the clock of this server, and see whether the token of another issuer is renewed in time`,
	700023:      `the audience of the token of another issuer must be that of the federated credential, usually api://AzureADTokenExchange`,
	50027:       `the assertion is no valid JWT: see what the function or the file in Config.Credentials gives`,
	70021:       federatedRemedy,
	700211:      federatedRemedy,
	700212:      federatedRemedy,
	700213:      federatedRemedy,
	7002137:     federatedRemedy,
	7002138:     federatedRemedy,
	7000112:     `enable the application for sign-in (Enterprise applications, Properties)`,
	700016:      `compare Config.ClientID, Tenant and Authority with the app registration; another organization's administrator may have to consent first`,
	90002:       `compare Config.Tenant and Authority with the app registration`,
	900023:      `set Config.Tenant to common, organizations, consumers, a tenant id or a domain of the tenant`,
	50194:       `set Config.Tenant to the tenant of the app registration, or make that multitenant (Authentication)`,
	9002331:     `set Config.Tenant to consumers: the app registration is for personal accounts only`,
	9002346:     `set Config.Tenant to consumers: the app registration is for personal accounts only`,
	500011:      `Config.Scopes names an API that does not exist in this tenant: compare it with the API's Application ID URI`,
	650052:      `an administrator of the tenant has to add the API (its service principal) first`,
	650053:      `compare the scopes with those that the API defines (Expose an API)`,
	70011:       `compare the scopes with those that the API defines; "/.default" goes with no other scope`,
	90009:       `name the scopes of the app's own API by its GUID: <client id>/name in place of api://<client id>/name`,
}

const federatedRemedy = `compare issuer, subject and audience of the federated credential with those of the token, letter by letter (Certificates & secrets, Federated credentials)`

// remedy returns the remedy for the first of the numbers that has one, as the end of
// an error text; "" if none has.
func remedy(numbers []int) string {
	for _, number := range numbers {
		if remedy := remedies[number]; remedy != "" {
			return ". What helps: " + remedy
		}
	}
	return ""
}

// AADSTSNumbers returns the numbers in a text such as "AADSTS50011: The redirect URI
// ...", eight at most.
func AADSTSNumbers(description string) []int {
	var numbers []int
	for rest := description; len(numbers) < 8; {
		_, after, found := strings.Cut(rest, "AADSTS")
		if !found {
			break
		}
		end := 0
		for end < len(after) && end < 9 && after[end] >= '0' && after[end] <= '9' {
			end++
		}
		if n, err := strconv.Atoi(after[:end]); err == nil {
			numbers = append(numbers, n)
		}
		rest = after[end:]
	}
	return numbers
}
