#!/usr/bin/env bash
# Makes an app registration for msauth at Microsoft, or changes what is missing or
# different in one: redirect URIs, claims, permissions, roles, a credential. Run it
# again after a change, or after it was interrupted: it writes only what differs.
# README.md, beside it, says more.
#
# It needs az (the Azure CLI, signed in by "az login") and jq; for app roles and
# certificates openssl too. The settings are variables of the environment. Lists are
# separated by commas, SCOPES by spaces too.

APP_NAME=${APP_NAME-}       # name of the app registration, which is found by it, or made
APP_ID=${APP_ID-}           # its Application (client) ID, if there are several of the name, or to change the name
BASE_URL=${BASE_URL-}       # Config.BaseURL; of several, the front-channel logout URL is of the first with https
AUDIENCE=${AUDIENCE-AzureADandPersonalMicrosoftAccount} # or AzureADMyOrg, AzureADMultipleOrgs, PersonalMicrosoftAccount
SCOPES=${SCOPES-User.Read}  # permissions of Microsoft Graph: Config.Scopes
LATER_SCOPES=${LATER_SCOPES-} # further ones: those of RequireScopes
ROLES=${ROLES-}             # app roles, for RequireRole
GROUP_CLAIMS=${GROUP_CLAIMS-} # SecurityGroup, ApplicationGroup, DirectoryRole or All: for RequireGroup
CLAIMS=${CLAIMS-email,login_hint,sid,auth_time,xms_edov} # optional claims in ID tokens
CREDENTIAL=${CREDENTIAL-}   # secret, certificate, federated or none

SECRET_FILE=${SECRET_FILE-client-secret.txt} # where a new client secret is written, for its owner only
SECRET_NAME=${SECRET_NAME-msauth}   # name of the client secret
SECRET_DAYS=${SECRET_DAYS-180}      # days until it ends
CERTIFICATE=${CERTIFICATE-}         # a PEM file with the certificate, and without its private key
FEDERATED_NAME=${FEDERATED_NAME-msauth} # name of the federated credential
FEDERATED_ISSUER=${FEDERATED_ISSUER-}   # claim iss of the token
FEDERATED_SUBJECT=${FEDERATED_SUBJECT-} # claim sub of the token
FEDERATED_AUDIENCE=${FEDERATED_AUDIENCE-} # claim aud of the token; by default api://AzureADTokenExchange, or that of the cloud

set -eu -o pipefail
export LC_ALL=C
export AZURE_LOGGING_ENABLE_LOG_FILE=no # az would log what Microsoft answers, secrets too
umask 077

usage() {
	cat <<'END'
usage: APP_NAME="My app" BASE_URL=https://app.example.com/auth CREDENTIAL=secret register.sh [options]

  --dry-run        print the requests that would change something, and send none of them
  --new-secret     make another client secret, beside those that there are
  --admin-consent  grant the permissions for everybody in the tenant
  --prune          remove redirect URIs, app roles and permissions of Graph that are not listed
  --help           print this

Settings are variables of the environment:

END
	sed -n 's/^\([A-Z_]*\)=\${[A-Z_]*-\([^}]*\)} *#* *\(.*\)$/\1|\2|\3/p' "$0" | while IFS='|' read -r name value meaning; do
		printf '  %-20s%s%s\n' "$name" "$meaning" "${value:+ [$value]}"
	done
}

fail() {
	local text=$*
	printf 'register.sh: %s\n' "${text//$'\n'/ }" >&2
	exit 1
}

say() { printf '%s\n' "$*" >&2; }

dry="" new_secret="" consent="" prune=""
for arg in "$@"; do
	case $arg in
	--dry-run) dry=1 ;;
	--new-secret) new_secret=1 ;;
	--admin-consent) consent=1 ;;
	--prune) prune=1 ;;
	--help | -h)
		usage
		exit 0
		;;
	*) fail "unknown option $arg: --help lists them, and settings are variables of the environment" ;;
	esac
done

# What can be wrong with the settings.

one_of() { # NAME VALUE CHOICE...
	local name=$1 value=$2 choice
	shift 2
	for choice in "$@"; do
		[ "$value" != "$choice" ] || return 0
	done
	fail "$name is \"$value\": must be one of $*"
}

# split prints the entries of a list, one a line, without the spaces around them.
split() { printf '%s\n' "$1" | tr ',' '\n' | sed -e 's/^[[:space:]]*//' -e 's/[[:space:]]*$//' -e '/^$/d'; }

printable() { # NAME VALUE LIMIT
	[ "${#2}" -le "$3" ] || fail "$1 is longer than $3 bytes"
	case $2 in *[[:cntrl:]]*) fail "$1 contains a control character, such as a line break" ;; esac
}

[ -n "$APP_NAME$APP_ID" ] || fail "APP_NAME is not set: the name of the app registration (--help lists all settings)"
printable APP_NAME "$APP_NAME" 120
guid='^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$'
[[ -z $APP_ID || $APP_ID =~ $guid ]] || fail "APP_ID is \"$APP_ID\": must be an Application (client) ID, such as 00001111-aaaa-2222-bbbb-3333cccc4444"
one_of CREDENTIAL "$CREDENTIAL" secret certificate federated none
[ -z "$new_secret" ] || [ "$CREDENTIAL" = secret ] || fail "--new-secret needs CREDENTIAL=secret"
one_of AUDIENCE "$AUDIENCE" AzureADMyOrg AzureADMultipleOrgs AzureADandPersonalMicrosoftAccount PersonalMicrosoftAccount
[ -z "$GROUP_CLAIMS" ] || one_of GROUP_CLAIMS "$GROUP_CLAIMS" SecurityGroup ApplicationGroup DirectoryRole All

base_urls=$(split "$BASE_URL")
[ -n "$base_urls" ] || fail "BASE_URL is not set: Config.BaseURL, such as https://app.example.com/auth"
while IFS= read -r url; do
	# Microsoft compares redirect URIs letter by letter, and allows few characters in them.
	[[ $url =~ ^(https?)://([A-Za-z0-9.-]+)(:[0-9]+)?(/[A-Za-z0-9._~/-]*)?$ ]] ||
		fail "BASE_URL: \"$url\" must be an absolute URL of plain characters, such as https://app.example.com/auth"
	host=${BASH_REMATCH[2]}
	case $url in */) fail "BASE_URL: \"$url\" ends with a slash: write it without" ;; esac
	case ${url#*://} in *//* | */.*) fail "BASE_URL: \"$url\" must have a plain path, such as /auth" ;; esac
	case ${BASH_REMATCH[1]}:$host in
	https:* | http:localhost | http:127.0.0.1) ;;
	*) fail "BASE_URL: \"$url\" must be https: Microsoft takes plain http for localhost and 127.0.0.1 only" ;;
	esac
	[ "${#url}" -le 240 ] || fail "BASE_URL: a redirect URI may have 256 characters, and the path of msauth is added to $url"
done <<<"$base_urls"

roles=$(split "$ROLES")
while IFS= read -r role; do
	case $role in
	*[[:space:][:cntrl:]]*) fail "ROLES: \"$role\" contains a space: Microsoft allows none in the value of an app role" ;;
	.*) fail "ROLES: \"$role\" begins with a dot: Microsoft allows none there" ;;
	*\"* | *\\* | *[![:print:]]*) fail "ROLES: \"$role\" has a character that Microsoft does not allow in the value of an app role" ;;
	esac
	[ "${#role}" -le 120 ] || fail "ROLES: \"$role\" is longer than 120 characters"
done <<<"$roles"

scopes=$(split "${SCOPES//[[:space:]]/,}")
later_scopes=$(split "${LATER_SCOPES//[[:space:]]/,}")
[ -n "$scopes" ] || fail "SCOPES is empty: permissions of Microsoft Graph, such as User.Read"
while IFS= read -r scope; do
	[[ -z $scope || $scope =~ ^[A-Za-z0-9._-]+$ ]] || fail "SCOPES, LATER_SCOPES: \"$scope\" is not the name of a permission of Microsoft Graph, such as User.Read"
done <<<"$scopes
$later_scopes"
claims=$(split "$CLAIMS")
while IFS= read -r claim; do
	[[ -z $claim || $claim =~ ^[A-Za-z0-9_]+$ ]] || fail "CLAIMS: \"$claim\" is not the name of a claim"
done <<<"$claims"

command -v jq >/dev/null || fail "jq is missing: install it (https://jqlang.org), or use the Azure Cloud Shell, which has it"
if [ -n "$roles" ] || [ "$CREDENTIAL" = certificate ]; then
	command -v openssl >/dev/null || fail "openssl is missing: app roles and certificates need it"
fi

file_name() { case $1 in /*) printf %s "$1" ;; *) printf %s/%s "$PWD" "$1" ;; esac; } # -name is no option then

work=$(mktemp -d)
new_file=
trap 'rm -rf "$work" ${new_file:+"$new_file"}' EXIT

case $CREDENTIAL in
secret)
	[ -n "$SECRET_FILE" ] || fail "SECRET_FILE is empty: the file that a new secret is written to"
	SECRET_FILE=$(file_name "$SECRET_FILE")
	[ ! -d "$SECRET_FILE" ] || fail "SECRET_FILE: $SECRET_FILE is a directory"
	[ -d "$(dirname "$SECRET_FILE")" ] || fail "SECRET_FILE: there is no directory $(dirname "$SECRET_FILE")"
	printable SECRET_NAME "$SECRET_NAME" 90
	[[ $SECRET_DAYS =~ ^[1-9][0-9]{0,2}$ && $SECRET_DAYS -le 730 ]] || fail "SECRET_DAYS is \"$SECRET_DAYS\": must be a number from 1 to 730"
	;;
certificate)
	[ -n "$CERTIFICATE" ] || fail "CERTIFICATE is not set: a PEM file with the certificate"
	CERTIFICATE=$(file_name "$CERTIFICATE")
	[[ -f $CERTIFICATE && -r $CERTIFICATE ]] || fail "CERTIFICATE: cannot read $CERTIFICATE"
	if grep -q -a 'PRIVATE KEY' "$CERTIFICATE"; then
		fail "CERTIFICATE: $CERTIFICATE contains a private key, which must stay where it is: write the certificate alone into another file, with openssl x509 -in $CERTIFICATE -out cert.pem"
	fi
	# Only what openssl has understood as a certificate is sent.
	openssl x509 -in "$CERTIFICATE" -outform DER -out "$work/cert.der" 2>/dev/null || fail "CERTIFICATE: $CERTIFICATE has no certificate in PEM form"
	openssl x509 -in "$CERTIFICATE" -noout -checkend 0 >/dev/null || fail "CERTIFICATE: $CERTIFICATE has ended"
	openssl x509 -in "$CERTIFICATE" -noout -pubkey | openssl rsa -pubin -noout 2>/dev/null || fail "CERTIFICATE: the key of $CERTIFICATE is not an RSA key, and Microsoft takes no other"
	;;
federated)
	[[ $FEDERATED_ISSUER =~ ^https://[^[:space:]]+$ ]] || fail "FEDERATED_ISSUER is \"$FEDERATED_ISSUER\": must be the URL in the claim iss of the token, which begins with https://"
	[ -n "$FEDERATED_SUBJECT" ] || fail "FEDERATED_SUBJECT is not set: the claim sub of the token"
	printable FEDERATED_SUBJECT "$FEDERATED_SUBJECT" 600
	printable FEDERATED_AUDIENCE "$FEDERATED_AUDIENCE" 600
	[[ $FEDERATED_NAME =~ ^[A-Za-z0-9][A-Za-z0-9_-]{2,119}$ ]] || fail "FEDERATED_NAME is \"$FEDERATED_NAME\": must be 3 to 120 letters, digits, - and _"
	;;
esac

# How Microsoft Graph is asked. az signs the requests; everything else is here, so that
# it does not depend on the version of az.

command -v az >/dev/null || fail "az is missing: install the Azure CLI (https://aka.ms/azure-cli), then run az login"

# reason prints why the last az failed: Graph's message, or the first line of az's.
reason() {
	local body
	body=$(tr '\n' ' ' <"$work/err" | sed -n 's/^ERROR: [^(]*(\({.*}\) *) *$/\1/p')
	if [ -z "$body" ] || ! jq -re '.error | "\(.code): \(.message)"' <<<"$body" 2>/dev/null; then
		sed -e '/^$/d' -e 's/^ERROR: //' "$work/err" | head -n 1
	fi
}

run_az() { az "$@" --output json --only-show-errors 2>"$work/err"; }

# graph METHOD PATH [FILE] sends a request, with the file as its body. What was made a
# moment ago is not yet known to all of Microsoft's servers: such a request is repeated.
graph() {
	local method=$1 path=$2 tries=1 why
	set -- rest --method "$method" --url "$graph_url/v1.0/$path" ${3:+--headers Content-Type=application/json --body "@$3"}
	until run_az "$@"; do
		why=$(reason)
		case $why in
		*"does not exist"* | *"does not reference a valid application object"* | *"backing application"* | Request_ResourceNotFound* | TooManyRequests*) ;;
		*) tries=12 ;;
		esac
		[ "$tries" -lt 12 ] || fail "Microsoft Graph: $method ${path%%\?*}: $why"
		tries=$((tries + 1))
		sleep "${REGISTER_PAUSE-5}"
	done
}

# list PATH FILTER [QUERY] asks for the objects that match. Strings in the filter are
# written by quoted, as OData and URLs have them.
list() { graph GET "$1?\$filter=${2// /%20}${3:+&$3}"; }
quoted() { jq -rn --arg text "$1" '$text | split("\u0027") | join("\u0027\u0027") | "\u0027\(.)\u0027" | @uri'; }

# change WHAT METHOD PATH sends what it reads, and prints the answer.
change() {
	cat >"$work/body"
	say "$1"
	if [ -n "$dry" ]; then
		say "  $2 $3"
		jq . "$work/body" | sed 's/^/  /' >&2
		return
	fi
	graph "$2" "$3" "$work/body"
}

if ! account=$(run_az account show); then
	case $(cat "$work/err") in
	*"az login"*) fail "az is not signed in: run az login --allow-no-subscriptions" ;;
	esac
	fail "az account show: $(reason)"
fi
cloud=$(run_az cloud show) || fail "az cloud show: $(reason)"
read -r tenant operator <<<"$(jq -r '"\(.tenantId) \(.user.name // "?")"' <<<"$account")"
read -r cloud_name graph_url authority <<<"$(jq -r '[.name, (.endpoints | .microsoftGraphResourceId, .activeDirectory | . // "-" | rtrimstr("/"))] | join(" ")' <<<"$cloud")"
[[ $graph_url == https://* ]] || fail "az cloud show: this cloud has no Microsoft Graph: set one that has, with az cloud set"
case $cloud_name in
AzureUSGovernment) cloud_audience=api://AzureADTokenExchangeUSGov ;;
AzureChinaCloud) cloud_audience=api://AzureADTokenExchangeChina ;;
*) cloud_audience=api://AzureADTokenExchange ;;
esac
say "tenant $tenant, as $operator"

# The permissions, by name. What every sign-in asks for besides is among them.

msgraph=00000003-0000-0000-c000-000000000000
list servicePrincipals "appId eq '$msgraph'" "\$select=id,appId,oauth2PermissionScopes" |
	jq '[.value[] | {id, scopes: (.oauth2PermissionScopes | map({(.value): .id}) | add)}]' >"$work/graph" # long: in a file
all_scopes=$(printf '%s\n' openid profile email offline_access "$scopes" "$later_scopes" |
	jq -Rn '[inputs | select(. != "")] | reduce .[] as $s ([]; if index([$s]) then . else . + [$s] end)')
found=$(jq -r --argjson wanted "$all_scopes" 'if . == [] then "-" else .[0] | "\(.id) \($wanted - (.scopes | keys) | join(", "))" end' "$work/graph")
read -r graph_principal unknown <<<"$found"
[ "$graph_principal" != - ] || fail "Microsoft Graph has no service principal in tenant $tenant"
[ -z "$unknown" ] || fail "SCOPES, LATER_SCOPES: Microsoft Graph has no delegated permission $unknown (names are compared letter by letter)"

# role_id prints the ID of a new app role: the same for the same value, wherever it is made
# (a UUID of version 5 in the namespace of URLs: uuidv5("url", ...) in Terraform).
role_id() {
	local hash
	hash=$(printf '\x6b\xa7\xb8\x11\x9d\xad\x11\xd1\x80\xb4\x00\xc0\x4f\xd4\x30\xc8urn:msauth:app-role:%s' "$1" | openssl dgst -sha1 -r)
	printf '%s-%s-5%s-%x%s-%s\n' "${hash:0:8}" "${hash:8:4}" "${hash:13:3}" "$((0x${hash:16:1} & 3 | 8))" "${hash:17:3}" "${hash:20:12}"
}
wanted_roles=$(split "$ROLES" | sort -u | while IFS= read -r role; do printf '%s %s\n' "$(role_id "$role")" "$role"; done |
	jq -Rn '[inputs | split(" ") | {id: .[0], value: .[1], displayName: .[1], description: "App role \(.[1])", allowedMemberTypes: ["User"], isEnabled: true}]')

# The app registration.

if [ -n "$APP_ID" ]; then
	found=$(list applications "appId eq '$APP_ID'")
else
	found=$(list applications "displayName eq $(quoted "$APP_NAME")")
fi
case $(jq '.value | length' <<<"$found") in
0)
	[ -z "$APP_ID" ] || fail "APP_ID: there is no app registration with the ID $APP_ID in tenant $tenant"
	have=null
	;;
1) have=$(jq '.value[0]' <<<"$found") ;;
*) fail "APP_NAME: there are several app registrations of the name \"$APP_NAME\": set APP_ID to one of $(jq -r '.value | map(.appId) | join(", ")' <<<"$found")" ;;
esac

# What the registration lacks, as the body of a request; its app roles after those that
# are removed; then, one a line, what it has beyond the settings.
differences=$(jq -cn --argjson have "$have" --arg name "$APP_NAME" --arg audience "$AUDIENCE" --arg bases "$base_urls" \
	--argjson scopes "$all_scopes" --slurpfile graph "$work/graph" --arg msgraph "$msgraph" \
	--argjson roles "$wanted_roles" --arg groups "$GROUP_CLAIMS" --arg claims "$claims" --arg prune "$prune" '
	def lines: split("\n") | map(select(. != ""));
	def only($condition): if $condition then . else {} end;
	$graph[0][0].scopes as $ids
	| ($scopes | map($ids[.])) as $permissions
	| ($have // {}) as $have
	| ($bases | lines | map(. + "/callback", . + "/signed-out") | unique) as $uris
	| ($have.web.redirectUris // []) as $had_uris
	| (if $prune != "" then $uris else $had_uris + ($uris - $had_uris) end) as $new_uris
	| ($bases | lines | map(select(startswith("https:"))) | .[0]) as $front
	| (if $front then $front + "/front-channel-logout" else null end) as $logout
	| (({redirectUris: $new_uris} | only(($new_uris | sort) != ($had_uris | sort)))
		+ ({logoutUrl: $logout} | only($logout != null and $logout != $have.web.logoutUrl))) as $web
	| (($claims | lines) + (if $groups != "" then ["groups"] else [] end)) as $names
	| ($have.optionalClaims.idToken // []) as $had_claims
	| ($names - ($had_claims | map(.name))) as $new_claims
	| ($have.appRoles // []) as $had_roles
	| ($roles | map(.value)) as $values
	| ($had_roles | map(select([.value] | inside($values) | not))) as $extra_roles
	| ($had_roles | map(
		if ([.value] | inside($values)) then .isEnabled = true
		elif $prune != "" then .isEnabled = false else . end | del(.origin))
		+ ($roles | map(select([.value] | inside($had_roles | map(.value)) | not)))) as $new_roles
	| ($have.requiredResourceAccess // []) as $had_access
	| [$had_access[] | select(.resourceAppId == $msgraph) | .resourceAccess[]] as $had_graph
	| ($had_graph | map(select(.type == "Scope") | .id)) as $had_ids
	| ($had_graph | map(select($prune == "" or .type != "Scope" or ([.id] | inside($permissions))))) as $kept_graph
	| ($kept_graph + ($permissions - $had_ids | map({id: ., type: "Scope"}))) as $new_graph
	| ($audience | test("Personal")) as $personal
	| (
		({displayName: $name} | only($name != "" and $name != $have.displayName))
		+ ({signInAudience: $audience} | only($audience != $have.signInAudience))
		+ ({api: {requestedAccessTokenVersion: 2}} | only($personal and $have.api.requestedAccessTokenVersion != 2))
		+ ({web: $web} | only($web != {}))
		+ ({optionalClaims: (($have.optionalClaims // {}) + {idToken: ($had_claims + ($new_claims | map({name: ., essential: false})))})} | only($new_claims != []))
		+ ({groupMembershipClaims: $groups} | only($groups != "" and $groups != $have.groupMembershipClaims))
		+ ({appRoles: $new_roles} | only($new_roles != ($had_roles | map(del(.origin)))))
		+ ({requiredResourceAccess: (($had_access | map(select(.resourceAppId != $msgraph))) + [{resourceAppId: $msgraph, resourceAccess: $new_graph}])}
			| only(($new_graph | sort) != ($had_graph | sort)))
	),
	(if $prune != "" and $extra_roles != [] then $new_roles | map(select([.value] | inside($values))) else null end),
	($had_uris - $uris | .[] | "redirect URI \(.)"),
	($extra_roles[] | "app role \(.value)"),
	($had_ids - $permissions | .[] | . as $id | "permission \([$ids | to_entries[] | select(.value == $id) | .key] | .[0] // $id)")')
{
	read -r body
	read -r without_roles
	while IFS= read -r what; do
		what=${what:1:${#what}-2} # without its quotation marks
		if [ -n "$prune" ]; then say "removing $what"; else say "not in the settings, and left as it is: $what (--prune removes it)"; fi
	done
} <<<"$differences"
if [ "$have" = null ]; then
	made=$(change "making app registration \"$APP_NAME\"" POST applications <<<"$body")
	have=${made:-null}
elif [ "$body" != '{}' ]; then
	change "changing $(jq -r 'keys | join(", ")' <<<"$body") of app registration \"$(jq -r .displayName <<<"$have")\"" \
		PATCH "applications/$(jq -r .id <<<"$have")" <<<"$body"
fi
if [ "$have" = null ]; then
	say "then: its service principal, and the credential ($CREDENTIAL)${consent:+, and consent for the tenant}"
	exit 0
fi
read -r id app_id <<<"$(jq -r '"\(.id) \(.appId)"' <<<"$have")"
[[ $id =~ $guid && $app_id =~ $guid ]] || fail "Microsoft Graph's answer has no id and appId"

# An app role can be removed once it is disabled, which it is now.
if [ "$without_roles" != null ]; then
	jq '{appRoles: .}' <<<"$without_roles" | change "removing app roles that are disabled" PATCH "applications/$id"
fi

# The service principal: the app in this tenant ("Enterprise applications").

principal=$(list servicePrincipals "appId eq '$app_id'" "\$select=id,appId" | jq -r '.value[0].id // empty')
if [ -z "$principal" ]; then
	principal=$(jq -n --arg app "$app_id" '{appId: $app, tags: ["WindowsAzureActiveDirectoryIntegratedApp"]}' |
		change "making its service principal" POST servicePrincipals | jq -r '.id // empty')
fi

# The credential. A secret goes from az to its file and through no variable.

case $CREDENTIAL in
secret)
	now=$(jq -rn 'now | todate')
	old=$(jq -r --arg name "$SECRET_NAME" --arg now "$now" '[.passwordCredentials[]? | select(.displayName == $name and .endDateTime > $now)] | max_by(.endDateTime) | .endDateTime // empty' <<<"$have")
	if [ -n "$old" ] && [ -z "$new_secret" ]; then
		say "client secret \"$SECRET_NAME\" ends on ${old%T*} (--new-secret makes another)"
		[ -e "$SECRET_FILE" ] || say "  its value is not in $SECRET_FILE: where it is lost, --new-secret makes another"
	else
		new_file=$(mktemp "$SECRET_FILE.XXXXXX" 2>/dev/null) || fail "SECRET_FILE: cannot write beside $SECRET_FILE"
		jq -n --arg name "$SECRET_NAME" --argjson days "$SECRET_DAYS" '{passwordCredential: {displayName: $name, endDateTime: (now + $days * 86400 | todate)}}' |
			change "making client secret \"$SECRET_NAME\" for $SECRET_DAYS days, in $SECRET_FILE" POST "applications/$id/addPassword" |
			jq -r '.secretText // empty' >"$new_file"
		if [ -z "$dry" ]; then
			[ -s "$new_file" ] || fail "Microsoft Graph's answer has no secret in it"
			mv -- "$new_file" "$SECRET_FILE"
		fi
	fi
	;;
certificate)
	openssl base64 -A -in "$work/cert.der" >"$work/cert.base64"
	# The bytes of a certificate come with a request for them alone.
	keys=$(graph GET "applications/$id?\$select=keyCredentials" | jq '.keyCredentials // []')
	jq -n --argjson keys "$keys" --rawfile key "$work/cert.base64" --arg subject "$(openssl x509 -in "$CERTIFICATE" -noout -subject -nameopt RFC2253)" \
		--arg from "$(openssl x509 -in "$CERTIFICATE" -noout -startdate)" --arg to "$(openssl x509 -in "$CERTIFICATE" -noout -enddate)" '
		def date: sub("^[^=]*="; "") | strptime("%b %d %H:%M:%S %Y GMT") | mktime | todate;
		if any($keys[]; .key == $key) then empty
		else {keyCredentials: ($keys + [{type: "AsymmetricX509Cert", usage: "Verify", key: $key,
			displayName: ($subject | sub("^subject= *"; "") | .[:90]), startDateTime: ($from | date), endDateTime: ($to | date)}])} end' >"$work/keys"
	if [ -s "$work/keys" ]; then
		change "registering the certificate in $CERTIFICATE" PATCH "applications/$id" <"$work/keys"
	fi
	;;
federated)
	federated=$(graph GET "applications/$id/federatedIdentityCredentials" | jq '.value // []')
	wanted=$(jq -n --arg name "$FEDERATED_NAME" --arg issuer "$FEDERATED_ISSUER" --arg subject "$FEDERATED_SUBJECT" --arg audience "${FEDERATED_AUDIENCE:-$cloud_audience}" \
		'{name: $name, issuer: $issuer, subject: $subject, audiences: [$audience]}')
	# There may be one of another name for the same issuer and subject.
	same=$(jq --argjson wanted "$wanted" '[.[] | select(.name == $wanted.name)] + [.[] | select(.issuer == $wanted.issuer and .subject == $wanted.subject)] | .[0] // empty' <<<"$federated")
	if [ -z "$same" ]; then
		change "making federated credential \"$FEDERATED_NAME\"" POST "applications/$id/federatedIdentityCredentials" <<<"$wanted" >/dev/null
	else
		wanted=$(jq --argjson same "$same" 'del(.name) | with_entries(select(.value != $same[.key]))' <<<"$wanted")
		if [ "$wanted" != '{}' ]; then
			change "changing $(jq -r 'keys | join(", ")' <<<"$wanted") of federated credential \"$(jq -r .name <<<"$same")\"" \
				PATCH "applications/$id/federatedIdentityCredentials/$(jq -r .id <<<"$same")" <<<"$wanted"
		fi
	fi
	;;
esac

# Consent for the tenant: what the button "Grant admin consent" makes.

if [ -n "$consent" ] && [ -n "$principal" ]; then
	grant=$(list oauth2PermissionGrants "clientId eq '$principal' and resourceId eq '$graph_principal' and consentType eq 'AllPrincipals'" | jq '.value[0] // empty')
	if [ -z "$grant" ]; then
		jq --arg client "$principal" --arg resource "$graph_principal" '{clientId: $client, consentType: "AllPrincipals", resourceId: $resource, scope: join(" ")}' <<<"$all_scopes" |
			change "granting the permissions for everybody in the tenant" POST oauth2PermissionGrants >/dev/null
	else
		missing=$(jq --argjson grant "$grant" '. - ($grant.scope | split(" "))' <<<"$all_scopes")
		if [ "$missing" != '[]' ]; then
			jq --argjson grant "$grant" '{scope: (($grant.scope | split(" ") | map(select(. != ""))) + . | join(" "))}' <<<"$missing" |
				change "granting $(jq -r 'join(" ")' <<<"$missing") for everybody in the tenant" PATCH "oauth2PermissionGrants/$(jq -r .id <<<"$grant")"
		fi
	fi
fi
[ -z "$dry" ] || exit 0

# What the example, and msauth-check, read from the environment.

case $AUDIENCE in
AzureADMyOrg) tenant_setting=$tenant ;;
AzureADMultipleOrgs) tenant_setting=organizations ;;
PersonalMicrosoftAccount) tenant_setting=consumers ;;
*) tenant_setting=common ;;
esac
say "The registration is as the settings say. The environment of the example:"
printf 'export AZURE_CLIENT_ID=%s AZURE_TENANT_ID=%s\n' "$app_id" "$tenant_setting"
[ "$authority" = https://login.microsoftonline.com ] || printf 'export AZURE_AUTHORITY_HOST=%q\n' "$authority"
first_url=$(head -n 1 <<<"$base_urls")
printf 'export MSAUTH_BASE_URL=%q MSAUTH_SCOPES=%q\n' "$first_url" "$(tr '\n' ' ' <<<"$scopes" | sed 's/ $//')"
case $CREDENTIAL in
secret) printf 'export AZURE_CLIENT_SECRET="%s(cat %q)"\n' '$' "$SECRET_FILE" ;;
certificate) echo '# export AZURE_CLIENT_CERTIFICATE_PATH=: a PEM file with this certificate and its private key' ;;
federated) echo '# export AZURE_FEDERATED_TOKEN_FILE=: the file with the token; AKS sets it' ;;
esac
say "Then check it with:"
echo "# go run ./cmd/msauth-check"

# Where the facts are from: Microsoft's documentation, unless something else is said.
#
#   - "application", "appRole", "keyCredential", "passwordCredential" and
#     "oAuth2PermissionGrant" of Microsoft Graph: a role is disabled before it is removed,
#     the bytes of a certificate come with $select=keyCredentials only, and a secret is
#     shown once, by addPassword. The texts of refusals are from issues that developers
#     published (CannotDeleteOrUpdateEnabledEntitlement: microsoftgraph/msgraph-sdk-powershell 1211)
#   - "Validation differences by supported account types": two secrets;
#     AzureADandPersonalMicrosoftAccount and the others. That these apps need
#     requestedAccessTokenVersion 2 is said in the provider's documentation of
#     azuread_application
#   - "Redirect URI (reply URL) restrictions and limitations": http for loopback only, 256
#     characters
#   - Front-channel logout URLs must begin with https: MicrosoftDocs/azure-docs issue 58937
#   - New objects are not known at once: Azure/azure-cli issue 1332
#   - terraform: HashiCorp's "Manage sensitive data in your configuration", and the
#     provider's documentation
