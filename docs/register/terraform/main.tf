# An app registration for msauth, as ../register.sh makes it. No secret is made here:
# Terraform would keep it in its state. README.md, one folder up, says more.

terraform {
  required_version = ">= 1.5"
  required_providers {
    azuread = {
      source  = "hashicorp/azuread"
      version = "3.7.0"
    }
  }
}

data "azuread_client_config" "current" {}

# Microsoft Graph in this tenant, with the IDs of its permissions.
data "azuread_service_principal" "graph" {
  client_id = local.graph
}

locals {
  graph    = "00000003-0000-0000-c000-000000000000"
  personal = strcontains(var.audience, "Personal")
  https    = [for url in var.base_urls : url if startswith(url, "https:")]

  # What every sign-in asks for, then what the app does.
  scopes     = distinct(concat(["openid", "profile", "email", "offline_access"], var.scopes, var.later_scopes))
  scope_ids  = data.azuread_service_principal.graph.oauth2_permission_scope_ids
  not_scopes = [for name in local.scopes : name if !contains(keys(local.scope_ids), name)]
}

resource "azuread_application" "app" {
  display_name            = var.app_name
  prevent_duplicate_names = true
  owners                  = [data.azuread_client_config.current.object_id]
  sign_in_audience        = var.audience
  group_membership_claims = var.group_claims == null ? null : [var.group_claims]

  api {
    requested_access_token_version = local.personal ? 2 : 1
  }

  web {
    redirect_uris = flatten([for url in var.base_urls : ["${url}/callback", "${url}/signed-out"]])
    logout_url    = length(local.https) > 0 ? "${local.https[0]}/front-channel-logout" : null # https only
  }

  optional_claims {
    dynamic "id_token" {
      for_each = concat(var.claims, var.group_claims == null ? [] : ["groups"])
      content {
        name = id_token.value
      }
    }
  }

  dynamic "app_role" {
    for_each = var.roles
    content {
      id                   = uuidv5("url", "urn:msauth:app-role:${app_role.value}") # the same at every run
      value                = app_role.value
      display_name         = app_role.value
      description          = "App role ${app_role.value}"
      allowed_member_types = ["User"]
    }
  }

  required_resource_access {
    resource_app_id = local.graph

    dynamic "resource_access" {
      for_each = setsubtract(local.scopes, local.not_scopes)
      content {
        id   = local.scope_ids[resource_access.value]
        type = "Scope"
      }
    }
  }

  lifecycle {
    precondition {
      condition     = length(local.not_scopes) == 0
      error_message = "scopes, later_scopes: Microsoft Graph has no delegated permission ${join(", ", local.not_scopes)}."
    }
  }
}

# The app in this tenant ("Enterprise applications").
resource "azuread_service_principal" "app" {
  client_id    = azuread_application.app.client_id
  use_existing = true
  owners       = [data.azuread_client_config.current.object_id]

  feature_tags {
    enterprise = true
  }
}

resource "azuread_application_certificate" "app" {
  for_each = var.certificates

  application_id = azuread_application.app.id
  type           = "AsymmetricX509Cert"
  value          = file(each.value.file)
  end_date       = each.value.end
}

resource "azuread_application_federated_identity_credential" "app" {
  for_each = var.federated

  application_id = azuread_application.app.id
  display_name   = each.key
  issuer         = each.value.issuer
  subject        = each.value.subject
  audiences      = [each.value.audience]
}

# What the button "Grant admin consent" makes.
resource "azuread_service_principal_delegated_permission_grant" "graph" {
  count = var.admin_consent ? 1 : 0

  service_principal_object_id          = azuread_service_principal.app.object_id
  resource_service_principal_object_id = data.azuread_service_principal.graph.object_id
  claim_values                         = local.scopes
}
