output "client_id" {
  description = "Config.ClientID."
  value       = azuread_application.app.client_id
}

output "tenant" {
  description = "Config.Tenant."
  value       = local.tenant
}

# terraform output -raw environment
output "environment" {
  description = "The environment of the example and of msauth-check, without the credential."
  value       = <<-END
    export AZURE_CLIENT_ID=${azuread_application.app.client_id} AZURE_TENANT_ID=${local.tenant}
    export MSAUTH_BASE_URL=${var.base_urls[0]} MSAUTH_SCOPES="${join(" ", var.scopes)}"
    # go run ./cmd/msauth-check
  END
}

locals {
  tenant = {
    AzureADMyOrg                       = data.azuread_client_config.current.tenant_id
    AzureADMultipleOrgs                = "organizations"
    AzureADandPersonalMicrosoftAccount = "common"
    PersonalMicrosoftAccount           = "consumers"
  }[var.audience]
}
