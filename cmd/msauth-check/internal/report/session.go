package report

// sessionKinds are about a sign-in that was made: -sign-in.
var sessionKinds = []Kind{
	{ID: "sign-in-uri-missing", Severity: Error,
		Why:     "With -sign-in people come back to a page of this computer, which is not registered: nobody was asked to sign in.",
		Remedy:  `Add http://localhost/auth/callback under App registrations, your app, Authentication, Web; the port does not matter on localhost. Do so in a registration for development, or remove it afterwards.`,
		Command: `az ad app update --id {client_id} --web-redirect-uris $(az ad app show --id {client_id} --query "web.redirectUris[]" --output tsv) http://localhost/auth/callback`},
	{ID: "sign-in-missing", Severity: Error,
		Why:    "What only a sign-in shows was not seen. If somebody has tried, the provider's page has told them why it does not work: Microsoft shows some errors on its own pages only.",
		Remedy: `Run this again and open the address; look up the number on Microsoft's page in docs/troubleshooting.md, and the sign-in logs (entra.microsoft.com, Monitoring & health, Sign-in logs).`},
	{ID: "sign-in-failed", Severity: Error,
		Why:    "This account, or everybody, ends on the same page when signing in to the site.",
		Remedy: `Look up the page and the number in docs/troubleshooting.md.`},
	{ID: "scopes-not-granted", Severity: Error,
		Why:     "The pages that need these permissions lead to the page \"not-granted\".",
		Remedy:  `Add them under App registrations, your app, API permissions, Delegated permissions, and grant admin consent if users may not consent for themselves.`,
		Command: `az ad app permission admin-consent --id {client_id}`},
	{ID: "renewal-missing", Severity: Error,
		Why:    "Without a refresh token calls to Microsoft Graph end after about an hour, and disabled accounts are noticed late.",
		Remedy: `The provider did not grant offline_access: allow it there for this app.`},
	{ID: "renewal-failed", Severity: Error,
		Why:    "People are signed out, or asked to sign in again, after about an hour.",
		Remedy: `Look up the number in docs/troubleshooting.md. For a policy (sign-in frequency, Conditional Access) that is meant to be so.`},
	{ID: "claims-missing", Severity: Note,
		Why:     "What each is for is in docs/registration.md: without login_hint signing out shows an account picker, without auth_time nobody can pass RequireFreshSignIn.",
		Remedy:  `Under App registrations, your app, Token configuration, Add optional claim, ID. An account without an e-mail address has no email. The command replaces the list: add to it what is there already (az ad app show --id {client_id} --query optionalClaims).`,
		Command: `az rest --method PATCH --url {application} --body '{"optionalClaims": {"idToken": [{"name": "email"}, {"name": "login_hint"}, {"name": "sid"}, {"name": "auth_time"}, {"name": "xms_edov"}]}}'`},
}
