package msauthtest

// An aadsts describes one of Microsoft's error numbers. See "Microsoft Entra
// authentication and authorization error codes". Suberrors are those of
// published captures, if there are any. credentialerrors.go says where those of
// client credentials were seen. 9002325: texts in MMM-MicrosoftToDo issue 27 and others;
// 9002331: an error of azure-sdk, file 3917201295 of a public code index; 50194: texts
// in several repositories, such as file 4070296729.
type aadsts struct {
	err       string // the OAuth error at the token endpoint
	suberror  string // sent with err
	authorize string // the error at the authorize endpoint, if it differs
	text      string // %s stands for the subject
}

var errorTable = map[int]aadsts{
	16000:   {err: "interaction_required", text: "Either multiple user identities are available for the current request or selected account is not supported for the scenario."},
	28000:   {err: "invalid_request", text: "Provided value for the input parameter scope is not valid because it contains more than one resource. Scope %s is not valid."},
	50011:   {err: "invalid_request", text: "The redirect URI %s specified in the request does not match the redirect URIs configured for the application. Make sure the redirect URI sent in the request matches one added to your application."},
	50013:   {err: "invalid_grant", text: "Assertion failed signature validation."},
	50020:   {err: "invalid_grant", authorize: "access_denied", text: "User account %s does not exist in this tenant and cannot access the application in that tenant. Sign out and sign in again with a different account."},
	50027:   {err: "invalid_request", text: "JWT token is invalid or malformed."},
	50034:   {err: "invalid_grant", suberror: "bad_token", text: "The user account %s does not exist in the directory. To sign into this application, the account must be added to the directory."},
	50048:   {err: "invalid_client", text: "Subject must match the issuer claim in the client assertion."},
	50055:   {err: "invalid_grant", suberror: "user_password_expired", text: "The password is expired."},
	50057:   {err: "invalid_grant", text: "The user account is disabled."},
	50058:   {err: "login_required", text: "A silent sign-in request was sent but no user is signed in."},
	50072:   {err: "invalid_grant", suberror: "basic_action", authorize: "interaction_required", text: "Due to a configuration change made by your administrator, or because you moved to a new location, you must enroll in multi-factor authentication to access %s."},
	50074:   {err: "invalid_grant", suberror: "basic_action", authorize: "interaction_required", text: "Strong Authentication is required."},
	50076:   {err: "invalid_grant", suberror: "basic_action", authorize: "interaction_required", text: "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access %s."},
	50079:   {err: "invalid_grant", suberror: "basic_action", authorize: "interaction_required", text: "Due to a configuration change made by your administrator, or because you moved to a new location, you must enroll in multifactor authentication to access %s."},
	50097:   {err: "invalid_grant", suberror: "additional_action", authorize: "interaction_required", text: "Device authentication is required."},
	50105:   {err: "interaction_required", text: "The signed in user is not assigned to a role for the application %s."},
	50126:   {err: "invalid_grant", text: "Error validating credentials due to invalid username or password."},
	50131:   {err: "invalid_grant", suberror: "message_only", text: "Device is not in required device state."},
	50133:   {err: "invalid_grant", text: "Session is invalid due to expiration or recent password change."},
	50148:   {err: "invalid_grant", text: "The code_verifier does not match the code_challenge supplied in the authorization request for PKCE."},
	50158:   {err: "invalid_grant", authorize: "interaction_required", text: "External security challenge not satisfied. User will be redirected to another page or authentication provider to satisfy additional authentication challenges."},
	50166:   {err: "invalid_request", text: "Request to External OIDC endpoint failed."},
	50173:   {err: "invalid_grant", suberror: "bad_token", text: "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password."},
	50194:   {err: "invalid_request", text: "Application %s is not configured as a multi-tenant application. Usage of the /common endpoint is not supported for such apps created after '10/15/2018'. Use a tenant-specific endpoint or configure the application to be multi-tenant."},
	50196:   {err: "invalid_grant", text: "The server terminated an operation because it encountered a client request loop. Please contact your app vendor."},
	53000:   {err: "invalid_grant", suberror: "additional_action", authorize: "interaction_required", text: "Device is not in required device state: not compliant. Conditional Access policy requires a compliant device, and the device is not compliant."},
	53001:   {err: "invalid_grant", suberror: "additional_action", authorize: "interaction_required", text: "Device is not in required device state: not joined. Conditional Access policy requires a domain joined device, and the device is not domain joined."},
	53003:   {err: "invalid_grant", suberror: "message_only", authorize: "interaction_required", text: "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance."},
	53005:   {err: "unauthorized_client", suberror: "protection_policy_required", text: "Application needs to enforce Intune protection policies."},
	54005:   {err: "invalid_grant", text: "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token."},
	65001:   {err: "invalid_grant", suberror: "consent_required", authorize: "consent_required", text: "The user or administrator has not consented to use the application with ID %s. Send an interactive authorization request for this user and resource."},
	65004:   {err: "invalid_grant", suberror: "consent_required", authorize: "access_denied", text: "User declined to consent to access the app."},
	70000:   {err: "invalid_grant", text: "The provided value for the input parameter %s is not valid."},
	70003:   {err: "unsupported_grant_type", text: "The app requested an unsupported grant type %s."},
	70007:   {err: "invalid_request", text: "%s is not a supported value of 'response_mode' when requesting a code."},
	70008:   {err: "invalid_grant", text: "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization request for this user and resource."},
	70011:   {err: "invalid_scope", text: "The provided value for the input parameter 'scope' is not valid. %s"},
	70021:   {err: "invalid_client", text: "No matching federated identity record found for presented assertion."},
	70043:   {err: "invalid_grant", suberror: "token_expired", text: "The refresh token has expired or is invalid due to sign-in frequency checks by conditional access."},
	90002:   {err: "invalid_tenant", text: "Tenant %s not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant."},
	90009:   {err: "invalid_request", text: "Application %s is requesting a token for itself. This scenario is supported only if resource is specified using the GUID based App Identifier."},
	90011:   {err: "invalid_request", text: "Unexpected client assertion type."},
	90013:   {err: "invalid_request", text: "Invalid input received from the user."},
	90014:   {err: "invalid_request", text: "The required field %s is missing from the credential. Ensure that you have all the necessary parameters for the login request."},
	90015:   {err: "invalid_request", text: "Requested query string is too long."},
	90019:   {err: "invalid_request", text: "No tenant-identifying information found in either the request or implied by any provided credentials."},
	90023:   {err: "invalid_request", text: "Unsupported %s value."},
	90033:   {err: "temporarily_unavailable", text: "A transient error has occurred. Please try again."},
	90055:   {err: "temporarily_unavailable", text: "There are too many incoming requests. This exception is thrown for blocked tenants."},
	90072:   {err: "invalid_grant", authorize: "access_denied", text: "User account %s from identity provider does not exist in tenant and cannot access the application in that tenant. The account needs to be added as an external user in the tenant first."},
	90094:   {err: "invalid_grant", suberror: "message_only", authorize: "access_denied", text: "%s needs permission to access resources in your organization that only an admin can grant. Please ask an admin to grant permission to this app before you can use it."},
	90100:   {err: "invalid_request", text: "%s parameter is empty or not valid."},
	500011:  {err: "invalid_resource", text: "The resource principal named %s was not found in the tenant."},
	500112:  {err: "invalid_client", text: "The reply address %s does not match the reply address provided when requesting Authorization code."},
	500121:  {err: "access_denied", text: "Authentication failed during strong authentication request."},
	500200:  {err: "invalid_grant", authorize: "access_denied", text: "User account %s is a personal Microsoft account. Personal Microsoft accounts are not supported for this application unless explicitly invited to an organization. Try signing out and signing back in with an organizational account."},
	501481:  {err: "invalid_grant", text: "The Code_Verifier does not match the code_challenge supplied in the authorization request."},
	501661:  {err: "invalid_request", text: "Request to External OIDC endpoint failed."},
	530003:  {err: "invalid_grant", suberror: "additional_action", authorize: "interaction_required", text: "Your device is required to be managed to access this resource."},
	530034:  {err: "invalid_grant", suberror: "message_only", text: "A delegated administrator was blocked from accessing the tenant due to account risk in their home tenant."},
	650053:  {err: "invalid_client", text: "The application asked for scope %s. Contact the app vendor."},
	700003:  {err: "invalid_grant", suberror: "device_authentication_failed", text: "Device object was not found in the tenant directory."},
	700016:  {err: "unauthorized_client", text: "Application with identifier %s was not found in the directory. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant."},
	700021:  {err: "invalid_client", text: "Client assertion application identifier doesn't match 'client_id' parameter. Review the documentation at https://docs.microsoft.com/azure/active-directory/develop/active-directory-certificate-credentials ."},
	700023:  {err: "invalid_client", text: "Client assertion audience claim does not match Realm issuer. Review the documentation at https://docs.microsoft.com/azure/active-directory/develop/active-directory-certificate-credentials ."},
	700024:  {err: "invalid_client", text: "Client assertion is not within its valid time range."},
	700025:  {err: "invalid_client", text: "Client is public so neither 'client_assertion' nor 'client_secret' should be presented."},
	700027:  {err: "invalid_client", text: "The certificate with identifier used to sign the client assertion is not registered on application."},
	700054:  {err: "unsupported_response_type", text: "response_type %s is not enabled for the application."},
	700081:  {err: "invalid_grant", suberror: "bad_token", text: "The refresh token has expired due to maximum lifetime. The token was issued on 2026-01-01T00:00:00.0000000Z and the maximum allowed lifetime for this application is 1.00:00:00."},
	700082:  {err: "invalid_grant", text: "The refresh token has expired due to inactivity."},
	700084:  {err: "invalid_grant", text: "The refresh token was issued to a single page app (SPA), and therefore has a fixed, limited lifetime of 1.00:00:00, which cannot be extended. It is now expired and a new sign in request must be sent by the SPA to the sign in page."},
	700211:  {err: "invalid_client", text: "No matching federated identity record found for presented assertion issuer %s. Check your federated identity credential Subject, Audience and Issuer against the presented assertion. https://learn.microsoft.com/entra/workload-id/workload-identity-federation"},
	700212:  {err: "invalid_client", text: "No matching federated identity record found for presented assertion audience %s. Check your federated identity credential Subject, Audience and Issuer against the presented assertion. https://learn.microsoft.com/entra/workload-id/workload-identity-federation"},
	700213:  {err: "invalid_client", text: "No matching federated identity record found for presented assertion subject %s. Check your federated identity credential Subject, Audience and Issuer against the presented assertion. https://learn.microsoft.com/entra/workload-id/workload-identity-federation"},
	900144:  {err: "invalid_request", text: "The request body must contain the following parameter: %s."},
	900561:  {err: "invalid_request", text: "The endpoint only accepts POST requests. Received a %s request."},
	1000502: {err: "invalid_client", text: "The provided certificate is not within its specified validity window."},
	5002723: {err: "invalid_client", text: "Invalid JWT token. No certificate SHA-1 thumbprint, certificate SHA-256 thumbprint, nor keyId specified in token header."},
	5002727: {err: "invalid_request", text: "Invalid JWT header type specified, must be 'JWT' or 'http://openid.net/specs/jwt/1.0'."},
	5002738: {err: "invalid_client", text: "Invalid JWT token. %s is not a supported signature algorithm."},
	7000112: {err: "unauthorized_client", text: "Application %s is disabled."},
	7000214: {err: "invalid_client", text: "Certificate has been revoked."},
	7000215: {err: "invalid_client", text: "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app %s."},
	7000218: {err: "invalid_client", text: "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."},
	7000222: {err: "invalid_client", text: "The provided client secret keys for app %s are expired. Visit the Azure portal to create new keys for your app, or consider using certificate credentials for added security."},
	7000272: {err: "invalid_client", text: "The certificate used to sign the federated credential could not be found in the metadata of the identity provider."},
	7009999: {err: "invalid_client", text: "The client assertion was used before."}, // made up
	9002313: {err: "invalid_request", text: "Request is malformed or invalid: %s."},
	9002325: {err: "invalid_request", text: "Proof Key for Code Exchange is required for cross-origin authorization code redemption."},
	9002331: {err: "invalid_request", text: "Application %s is configured for use by Microsoft Account users only. Please use the /consumers endpoint to serve this request."},
	9002327: {err: "invalid_request", text: "Tokens issued for the 'Single-Page Application' client-type may only be redeemed via cross-origin requests."},
}

// olderForms are the errors and suberrors of version 1 endpoints and of older
// captures, if they differ.
var olderForms = map[int]struct{ err, suberror string }{
	50072: {"interaction_required", ""},
	50074: {"interaction_required", ""},
	50076: {"interaction_required", "basic_action"},
	50079: {"interaction_required", ""},
	50097: {"interaction_required", ""},
	53000: {"interaction_required", ""},
	53003: {"interaction_required", "message_only"},
	65001: {"invalid_grant", ""},
}

// defaultCode is the number for an OAuth error if a Failure has none.
var defaultCode = map[string]int{
	"access_denied":           65004,
	"consent_required":        65001,
	"interaction_required":    50076,
	"invalid_client":          7000215,
	"invalid_grant":           70000,
	"invalid_request":         9002313,
	"invalid_resource":        500011,
	"invalid_scope":           70011,
	"login_required":          50058,
	"temporarily_unavailable": 90033,
	"unauthorized_client":     700016,
	"unsupported_grant_type":  70003,
}
