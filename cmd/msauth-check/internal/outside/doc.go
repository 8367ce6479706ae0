// Package outside checks an app registration, and a site with its proxy, without signing
// anybody in: by requests that anybody could make, or that cannot succeed. [Run] makes
// them at the same time where they do not need each other's answers, and ends within
// ten seconds.
//
// Discovery, token requests and what refusals mean are those of internal/provider: what
// is found here is what the app would meet. Requests go to the provider's host and to
// that of BaseURL, and to no other; redirects elsewhere are read, and not followed.
//
// # Sources
//
//   - The numbers of errors: docs/troubleshooting.md and docs/credentials.md.
//   - The port on localhost: "Redirect URI (reply URL) outline and restrictions",
//     Localhost exceptions.
//   - The number on Microsoft's error pages, in strServiceExceptionMessage of a script:
//     read in public code that parses them.
//   - AADSTS9002313 with invalid_grant, for a malformed refresh token or code;
//     AADSTS7000229 with invalid_client; AADSTS9002331: published captures.
//   - AADSTS9002325 from the sign-in page, for single-page applications:
//     MMM-MicrosoftToDo issue 27. That it comes before the user signs in is assumed.
//   - The redirect for personal accounts (msproxy=1&issuer=mso&tenant=consumers): read in
//     public code.
//   - Commands: "az ad app", "az ad sp" and "az rest" of the Azure CLI; "application" of
//     Microsoft Graph, by appId.
package outside
