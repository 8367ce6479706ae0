// Package provider talks to the identity provider: Microsoft Entra ID, Entra
// External ID, Azure AD B2C, or another OpenID provider. What it returns, an
// identity or a set of tokens, is true; otherwise there is an error that says why.
//
//   - An [Authority] reads discovery ([Authority.Discover]) and signing keys, keeps
//     them, and verifies ID tokens: [Authority.Verify] turns one into an [Identity].
//   - A [TokenEndpoint] exchanges codes and refresh tokens for a [TokenSet].
//   - A [Failure] is a refusal or a fault, and its [Class] says what that means for
//     the session. The class depends on HTTP status and OAuth error codes; AADSTS
//     numbers are for texts, as Microsoft may change them.
//   - [Scopes] knows which API a scope belongs to. A [Requirement] is what a sign-in
//     must bring besides the identity; [ChallengeIn] finds one in an API's answer.
//
// Everything the provider sends is input from outside: sizes and times are bounded,
// a member of the wrong type counts as absent, and texts for logs are one short
// line.
//
// The package imports seal (secrets, base64) and web (what HTTP clients need,
// loopback hosts, texts of one line). It does not know Config, sessions, cookies or
// handlers, though its errors name the fields of Config that an operator should
// change. It writes no log. No error contains a token, a code or a secret. No
// request with a secret follows a redirect. Nothing here decides whether a session
// ends, retries after a pause, or stores anything but discovery and keys.
package provider
