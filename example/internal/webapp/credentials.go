package webapp

import (
	"fmt"
	"io"
	"os"
	"strings"

	"example.com/msauth"
)

// CredentialVariables are the variables that [ReadSettings] takes Auth.Credentials
// from, the most preferred first.
var CredentialVariables = []string{"AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_CLIENT_SECRET_FILE", "AZURE_CLIENT_SECRET"}

// readCredentials returns the ways in which the app proves itself, the most
// preferred first, and a text about each.
func readCredentials(getenv func(string) string) (list []msauth.Credential, texts []string, err error) {
	chain, err := readBool(getenv, "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN")
	if err != nil {
		return nil, nil, err
	}
	for _, name := range CredentialVariables {
		value := getenv(name)
		if value == "" {
			continue
		}
		text := "the client secret in " + name
		credential := msauth.Secret(value)
		if name != "AZURE_CLIENT_SECRET" {
			if _, err := os.Stat(value); err != nil {
				return nil, nil, fmt.Errorf("%s: %w", name, err)
			}
			text, credential = "the token in "+value, msauth.FederatedTokenFile(value)
		}
		if name == "AZURE_CLIENT_SECRET_FILE" {
			text, credential = "the client secret in "+value, msauth.SecretFile(value)
		}
		if name == "AZURE_CLIENT_CERTIFICATE_PATH" {
			text, credential = "the certificate in "+value, msauth.CertificateFiles(value, value)
			if chain {
				text, credential = text+", sent with its chain", credential.WithChain()
			}
		}
		list, texts = append(list, credential), append(texts, text)
	}
	return list, texts, nil
}

// readBool reads a variable that Microsoft's SDKs read in the same way.
func readBool(getenv func(string) string, name string) (bool, error) {
	switch value := getenv(name); strings.ToLower(value) {
	case "1", "true":
		return true, nil
	case "", "0", "false":
		return false, nil
	default:
		return false, fmt.Errorf("%s is %q: must be 1, true, 0 or false", name, value)
	}
}

// PrintCredentials prints how the app proves itself at the provider.
func (set *Settings) PrintCredentials(out io.Writer) {
	if len(set.credentials) == 1 {
		fmt.Fprintf(out, "The app proves itself with %s.\n\n", set.credentials[0])
		return
	}
	fmt.Fprintln(out, "The app proves itself in the first of these ways that works:")
	fmt.Fprintln(out)
	for i, text := range set.credentials {
		fmt.Fprintf(out, "  %d. %s\n", i+1, text)
	}
	fmt.Fprintln(out)
}
