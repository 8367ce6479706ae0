package report

// signInPageKinds are about what the sign-in page says before anybody signs in.
var signInPageKinds = []Kind{
	{ID: "redirect-uri-missing", Severity: Error, Numbers: []int{50011, 500113, 900971, 500112},
		Why:     "Every sign-in ends on Microsoft's error page, and nothing reaches the app.",
		Remedy:  `Add {callback} under App registrations, your app, Authentication, Add a platform, Web. It is compared letter by letter: scheme, host, port, path, no slash at the end.`,
		Command: `az ad app update --id {client_id} --web-redirect-uris $(az ad app show --id {client_id} --query "web.redirectUris[]" --output tsv) {callback}`},
	{ID: "redirect-uri-spa", Severity: Error, Numbers: []int{9002325, 9002327},
		Why:    "Codes for this redirect URI may be redeemed by a browser only: people sign in, and the app then gets no tokens for them.",
		Remedy: `Under App registrations, your app, Authentication, remove the redirect URI from the platform "Single-page application" and add it to the platform Web.`,
		Command: `az rest --method PATCH --url {application} --body "{\"spa\": {\"redirectUris\": $(az ad app show --id {client_id} --query "spa.redirectUris[?@ != '{callback_in_query}']" --output json)}}"
az ad app update --id {client_id} --web-redirect-uris $(az ad app show --id {client_id} --query "web.redirectUris[]" --output tsv) {callback}`},
	{ID: "sign-out-uri-missing", Severity: Warning,
		Why:     "Whoever signs out ends on a page of Microsoft's and is not led back to the site.",
		Remedy:  `Add {signed_out} as another redirect URI under App registrations, your app, Authentication, Web.`,
		Command: `az ad app update --id {client_id} --web-redirect-uris $(az ad app show --id {client_id} --query "web.redirectUris[]" --output tsv) {signed_out}`},
	{ID: "scope-unknown", Severity: Error, Numbers: []int{70011, 650053},
		Why:     "Microsoft refuses the sign-in, because no such permission exists.",
		Remedy:  `Compare MSAUTH_SCOPES with the permissions of the API: for Microsoft Graph in its permissions reference, for an API of your own under App registrations, the API, Expose an API. "/.default" goes with no other scope.`,
		Command: `az ad sp show --id 00000003-0000-0000-c000-000000000000 --query "oauth2PermissionScopes[].value" --output tsv`},
	{ID: "api-unknown", Severity: Error, Numbers: []int{500011, 650052, 650057},
		Why:     "Microsoft refuses the sign-in, because the API that a scope belongs to is not in the tenant.",
		Remedy:  `Compare MSAUTH_SCOPES with the API's Application ID URI (App registrations, the API, Expose an API). An administrator of the tenant may have to add the API first (Enterprise applications).`,
		Command: `az ad app permission list --id {client_id}`},
	{ID: "authorize-failed", Severity: Error,
		Why:    "People who want to sign in see this answer.",
		Remedy: `Run this again. If it stays, open the site's sign-in page in a browser, and look up the number in docs/troubleshooting.md. At a provider that shows no number, see first whether {callback} is registered there.`},
	{ID: "authorize-unjudged", Severity: Note,
		Why:    "Whether the redirect URIs and scopes are registered could not be seen. That is usual for personal accounts, which sign in at another host.",
		Remedy: `Open the site's sign-in page in a browser, or run this with -sign-in.`},
}
