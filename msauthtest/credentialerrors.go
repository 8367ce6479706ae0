package msauthtest

import (
	"fmt"
	"time"
)

// The refusals of client credentials. The rows with a full body were seen with
// error, status or both; the others as texts only.
//
//	50027    body, 2023: MSAL.NET's MockHelpers.cs; for a list as aud: openid-client issue 348
//	50048    text: MSAL for Java issue 430; the error is assumed
//	50166, 501661  body, 2022: azure-workload-identity issue 642; AKS issue 4029
//	70021    bodies: azure-workload-identity issues 340, 616 (2022: 400 invalid_request),
//	         external-secrets issue 2783 (2023: 401 invalid_client)
//	90011    text and error, 2016: azure-activedirectory-library-for-ruby PR 53
//	90014    bodies for iss and aud, 2023: MockHelpers.cs; the same text for other claims is assumed
//	700021   body, 2023: MockHelpers.cs
//	700023   text and error, 2021: MSAL.NET issue 2746
//	700024   bodies, 2024: risingwave issue 17123 (401), MSAL.NET issue 4951
//	700027   not found: body of 2026, Microsoft Q&A 5915574; MSAL.js issue 8339.
//	         Expired: Azure Stack HCI, "Troubleshoot registration"; for a date in the future, as
//	         AADSTS50012: azure-automation-ise-addon issue 136. Signature: MSAL for Python's
//	         documentation of 700027, in the frame of 50013 (azure-sdk-for-java issue 25109)
//	700211   text and error, 2023: azure-workload-identity issue 1200
//	700212   body, 2024: a test of an Azure token provider
//	700213   body, 2024 (401): Azure/login issue 461; text of 2025: azure-workload-identity issue 1200
//	1000502  text: Microsoft.Identity.Web issue 2834; the error is assumed
//	5002723  body, 2023: MockHelpers.cs
//	5002727  body, 2021: a comment in the code of a token server
//	5002738  body, 2023: MockHelpers.cs, with RS256,RS384,RS512; the list of today is assumed
//	7000214  text: Microsoft.Identity.Web issue 2444, "Certificate Revocation List"; the error is assumed
//	7000215, 7000218, 7000222  bodies: keycloak issue 31294, haystack-editor issue 41, MSAL
//	7000272  body, 2024: azure-workload-identity issue 1232
//
// Made up are: the number and the text for an assertion that is used again
// (reusedAssertion); 9002313 for a secret and an assertion in one request; 50027
// for an assertion of more than 64 KB; 7000222 for a secret that is not valid yet;
// 1000502 for a trusted issuer that has expired; 700027 for a wrong signature of
// another issuer, and 5002723 for its token without kid; and all texts of the
// plain provider. In which order Microsoft checks is not known.

// reusedAssertion is not a number of Microsoft's, which documents that jti is
// unique, but not what becomes of a second use.
const reusedAssertion = 7009999

const invalidSignature = "Client assertion contains an invalid signature."

// keyFailure returns the refusal 700027 with its reason. thumb is the thumbprint
// in the assertion, and found describes the registered key, if there is one.
func (e *exchange) keyFailure(text, reason, thumb, found string) Failure {
	if hex := fingerprint(thumb); hex != "" {
		reason += ", Thumbprint of key used by client: '" + hex + "'"
	}
	if found != "" {
		reason += ", Found key '" + found + "'"
	}
	return Failure{Codes: []int{700027}, Description: text + " [Reason - " + reason +
		", Please visit the Azure Portal, Graph Explorer or directly use MS Graph to see configured keys for app Id '" + e.ClientID +
		"'. Review the documentation at https://docs.microsoft.com/en-us/graph/deployments to determine the corresponding service endpoint" +
		" and https://docs.microsoft.com/en-us/graph/api/application-get?view=graph-rest-1.0&tabs=http to build a query request URL," +
		" such as 'https://graph.microsoft.com/beta/applications/" + e.ClientID + "']."}
}

// found describes a registered certificate in a refusal.
func (c *Credential) found() string {
	const layout = "01/02/2006 15:04:05"
	from, until := c.dates()
	return "Start=" + from.UTC().Format(layout) + ", End=" + until.UTC().Format(layout)
}

// outOfTime returns the refusal 700024. A claim that is missing is the zero
// time, for which Microsoft prints 1970.
func outOfTime(nbf, exp time.Time) Failure {
	utc := func(t time.Time) string {
		if t.IsZero() {
			t = time.Unix(0, 0)
		}
		return t.UTC().Format("2006-01-02T15:04:05.0000000Z")
	}
	return Failure{Codes: []int{700024}, Description: fmt.Sprintf("Client assertion is not within its valid time range. Current time: %s, assertion valid from %s, expiry time of assertion %s."+
		" Review the documentation at https://learn.microsoft.com/entra/identity-platform/certificate-credentials .", utc(time.Now()), utc(nbf), utc(exp))}
}

// unsupported returns the refusal 5002738.
func unsupported(algorithm, supported string) Failure {
	return Failure{Codes: []int{5002738}, Description: fmt.Sprintf("Invalid JWT token. '%.20s' is not a supported signature algorithm. Supported signing algorithms are: '%s'", algorithm, supported)}
}

// unmatched returns the refusal 700211, 700212 or 700213: no federated
// credential has the issuer, the audience or the subject of a token.
func unmatched(code int, value string) Failure {
	return refusal(code, "'"+value+"'")
}

// unmatchedOld returns the refusal 70021.
func unmatchedOld(issuer, subject, audience string) Failure {
	return Failure{Error: "invalid_request", Codes: []int{70021}, Description: fmt.Sprintf("No matching federated identity record found for presented assertion. Assertion Issuer: '%s'. Assertion Subject: '%s'. Assertion Audience: '%s'."+
		" https://docs.microsoft.com/en-us/azure/active-directory/develop/workload-identity-federation", issuer, subject, audience)}
}
