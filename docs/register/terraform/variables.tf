variable "app_name" {
  description = "Name of the app registration."
  type        = string

  validation {
    condition     = length(var.app_name) > 0 && length(var.app_name) <= 120 && !can(regex("[[:cntrl:]]", var.app_name))
    error_message = "app_name must have 1 to 120 characters, and no line break."
  }
}

variable "base_urls" {
  description = "Config.BaseURL, one or several. The front-channel logout URL is of the first with https."
  type        = list(string)

  validation {
    condition     = length(var.base_urls) > 0
    error_message = "base_urls is empty: Config.BaseURL, such as https://app.example.com/auth."
  }
  validation {
    condition     = alltrue([for url in var.base_urls : !endswith(url, "/")])
    error_message = "base_urls: write them without a slash at the end."
  }
  validation {
    # Microsoft compares redirect URIs letter by letter, and allows few characters in them.
    condition     = alltrue([for url in var.base_urls : can(regex("^https?://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?$", url))])
    error_message = "base_urls must be absolute URLs of plain characters, such as https://app.example.com/auth."
  }
  validation {
    condition     = alltrue([for url in var.base_urls : can(regex("^(https://|http://(localhost|127[.]0[.]0[.]1)([:/]|$))", url))])
    error_message = "base_urls must be https: Microsoft takes plain http for localhost and 127.0.0.1 only."
  }
}

variable "audience" {
  description = "Who may sign in: AzureADMyOrg, AzureADMultipleOrgs, AzureADandPersonalMicrosoftAccount or PersonalMicrosoftAccount."
  type        = string
  default     = "AzureADandPersonalMicrosoftAccount"

  validation {
    condition     = contains(["AzureADMyOrg", "AzureADMultipleOrgs", "AzureADandPersonalMicrosoftAccount", "PersonalMicrosoftAccount"], var.audience)
    error_message = "audience must be AzureADMyOrg, AzureADMultipleOrgs, AzureADandPersonalMicrosoftAccount or PersonalMicrosoftAccount."
  }
}

variable "scopes" {
  description = "Delegated permissions of Microsoft Graph, by name: Config.Scopes."
  type        = list(string)
  default     = ["User.Read"]
}

variable "later_scopes" {
  description = "Further ones: those of RequireScopes."
  type        = list(string)
  default     = []
}

variable "claims" {
  description = "Optional claims in ID tokens."
  type        = list(string)
  default     = ["email", "login_hint", "sid", "auth_time", "xms_edov"]
}

variable "roles" {
  description = "App roles, for RequireRole."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for role in var.roles : can(regex("^[!-~]{1,120}$", role)) && !startswith(role, ".")])
    error_message = "roles: Microsoft allows 1 to 120 characters of ASCII, no space, and no dot in front."
  }
}

variable "group_claims" {
  description = "Which groups are in ID tokens, for RequireGroup: SecurityGroup, ApplicationGroup, DirectoryRole or All."
  type        = string
  default     = null

  validation {
    condition     = var.group_claims == null ? true : contains(["SecurityGroup", "ApplicationGroup", "DirectoryRole", "All"], var.group_claims)
    error_message = "group_claims must be SecurityGroup, ApplicationGroup, DirectoryRole or All."
  }
}

variable "certificates" {
  description = "Certificates by a name of yours: a PEM file without the private key, and when the certificate ends (such as 2027-01-31T00:00:00Z)."
  type        = map(object({ file = string, end = string }))
  default     = {}

  validation {
    condition     = alltrue([for cert in var.certificates : !strcontains(file(cert.file), "PRIVATE KEY")])
    error_message = "certificates: a file contains a private key, which must stay where it is: openssl x509 -in FILE -out cert.pem writes the certificate alone."
  }
  validation {
    condition     = alltrue([for cert in var.certificates : strcontains(file(cert.file), "-----BEGIN CERTIFICATE-----")])
    error_message = "certificates: a file has no certificate in PEM form."
  }
}

variable "federated" {
  description = "Federated credentials by name: issuer (claim iss), subject (claim sub) and audience (claim aud) of the token."
  type = map(object({
    issuer   = string
    subject  = string
    audience = optional(string, "api://AzureADTokenExchange")
  }))
  default = {}

  validation {
    condition     = alltrue([for name, credential in var.federated : startswith(credential.issuer, "https://") && credential.subject != ""])
    error_message = "federated: the issuer must begin with https://, and the subject must not be empty."
  }
  validation {
    condition     = alltrue([for name, credential in var.federated : can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{2,119}$", name))])
    error_message = "federated: names must be 3 to 120 letters, digits, - and _."
  }
}

variable "admin_consent" {
  description = "Whether to grant the permissions for everybody in the tenant."
  type        = bool
  default     = false
}
