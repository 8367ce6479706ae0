package settings

// A Variable is an environment variable, and the flag that takes its place.
type Variable struct {
	Name string
	Flag string // "" for secrets, which other users of a computer see in its list of processes
	Help string
}

// Variables are those of the examples, and two more that have flags only.
var Variables = []Variable{
	{"AZURE_CLIENT_ID", "client-id", "the application (client) `ID`"},
	{"AZURE_TENANT_ID", "tenant", "common (default), organizations, consumers, or a tenant's `ID or domain`"},
	{"AZURE_AUTHORITY_HOST", "authority", "the `origin` of another Microsoft cloud"},
	{"AZURE_FEDERATED_TOKEN_FILE", "federated-token-file", "a `file` with a token of another issuer"},
	{"AZURE_CLIENT_CERTIFICATE_PATH", "certificate", "a PEM `file` with certificate and private key"},
	{"AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "send-chain", "`1 or true`: trust by subject and issuer"},
	{secretFile, "secret-file", "a `file` with a client secret"},
	{"AZURE_CLIENT_SECRET", "", "a client secret"},
	{"MSAUTH_ISSUER", "issuer", "another OpenID provider, by its `URL`"},
	{"MSAUTH_BASE_URL", "base-url", "the public `URL` of msauth's pages; default http://localhost:PORT/auth"},
	{keyFiles, "key-files", "`files` of keys that seal the cookies, separated by commas"},
	{"MSAUTH_KEYS", "", "keys that seal the cookies: base64, separated by commas"},
	{"MSAUTH_SCOPES", "scopes", "the `scopes` of a sign-in; default \"User.Read Files.Read\""},
	{"PORT", "port", "the `port` in the default of -base-url; default 8080"},

	{microsoftIssuer, "microsoft-issuer", "the `issuer` of Entra External ID or Azure AD B2C on a custom domain"},
	{postLogoutURL, "post-logout-url", "the `URL` where people land after signing out; default BASE_URL/signed-out"},
}

const (
	secretFile = "AZURE_CLIENT_SECRET_FILE"
	keyFiles   = "MSAUTH_KEY_FILES"
)

// These are no variables of the examples.
const (
	microsoftIssuer = "(microsoft-issuer)"
	postLogoutURL   = "(post-logout-url)"
)
