package golden_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"strings"

	"example.com/msauth/msauthtest"
)

// rich is a person with all that a session can hold, and an access token with
// every claim and word that has a short form.
func goldenRich(a *goldenApp) {
	u := msauthtest.User{
		SignInName: "zoë.o'neill@contoso.example", Name: "Zoë Ana O'Neill", GivenName: "Zoë", FamilyName: "O'Neill",
		Email: "zoe@contoso.example", TenantID: msauthtest.TenantContoso, ObjectID: "0f6d2c1b-7a55-4f0e-8d39-2b1c9a7e6f43",
		Roles: []string{"Auditor", "Site.Admin"},
	}
	for i := range 60 {
		u.Groups = append(u.Groups, fmt.Sprintf("%08x-1111-4222-8333-%012x", 0xa0000000+uint32(i), 7*i))
	}
	a.ms.SetUser(u)
	a.person = u.SignInName
	a.cfg.CookieBudget = 7168
	a.cfg.Claims = []string{"department", "level", "manager", "remote", "tags"}
	a.cfg.Scopes = []string{"User.Read", "Files.ReadWrite.All", "Mail.Send", "Custom.Scope"}
	token := goldenToken()
	a.behave(func(b *msauthtest.Behavior) {
		before := b.IDToken
		b.IDToken = func(kind msauthtest.Kind, claims map[string]any) {
			before(kind, claims)
			maps.Copy(claims, map[string]any{
				"department": "Bridges & Tunnels", "level": 7, "manager": nil, "remote": true,
				"tags": []any{"a", 1.5, map[string]any{"b": "c"}}, "acrs": []string{"c1", "c25"},
			})
		}
		b.TokenReply = func(kind msauthtest.Kind, reply map[string]any) {
			reply["access_token"] = token
			a.note(kind, reply)
		}
	})
}

// goldenWords and goldenClaims are those that had a short form when the values
// were made.
const (
	goldenWords = `openid profile email User.Read 9188040d-6c67-4c5b-b112-36a304b66dad offline_access
		https://graph.microsoft.com 00000003-0000-0000-c000-000000000000 RS256
		Files.Read Files.Read.All Files.ReadWrite Files.ReadWrite.All Mail.Read Mail.ReadWrite Mail.Send
		Calendars.Read Calendars.ReadWrite Contacts.Read User.ReadBasic.All Group.Read.All Directory.Read.All
		Sites.Read.All Tasks.Read Tasks.ReadWrite Notes.Read People.Read Presence.Read Chat.Read
		Contacts.ReadWrite Notes.ReadWrite Sites.ReadWrite.All User.Read.All User.ReadWrite
		b79fbf4d-3ef9-4689-8143-76b194e85509
		dvc_mngd dvc_cmp dvc_dmjd inknownntwk kmsi urn:user:registersecurityinfo user fido wia 1.0 2.0`
	goldenClaims = `typ alg kid x5t nonce aud iss iat nbf exp acct acr acrs aio amr
		app_displayname appid appidacr auth_time azp azpacr capolids_latebind cnf controls
		controls_auds ctry deviceid domain_dns_name domain_netbios_name email endpoint enfpolids
		family_name fwd given_name groups hasgroups idp idtyp in_corp inviter ipaddr login_hint
		name oid onprem_sam_account_name onprem_sid platf preferred_username puid pwd_exp pwd_url rh
		roles scp secaud sid signin_state src1 sub tenant_ctry tenant_display_name
		tenant_region_scope tenant_region_sub_scope tid unique_name upn uti ver verified_primary_email
		verified_secondary_email vnet wids xms_acd xms_act_fct xms_az_nwperimid xms_cae xms_cc
		xms_edov xms_filter_index xms_ftd xms_idrel xms_mirid xms_pdl xms_pftexp xms_pl xms_rd
		xms_ssm xms_st xms_sub_fct xms_tcdt xms_tdbr xms_tdbr_sub xms_tnt_fct xms_tpl zone groups_src
		_claim_names _claim_sources client_id jti sec typ_hint at_hash c_hash locale picture
		middle_name nickname phone_number zoneinfo updated_at email_verified phone_number_verified`
)

// goldenToken is a signed token to look at, with every kind of value.
func goldenToken() string {
	words := strings.Fields(goldenWords)
	values := []string{
		`"%s"`, `"%s"`, // the second is the text before, where words come in pairs
		`1772443%03d`, `null`, `true`, `false`, `-12.50e3`, `[]`, `["%s",["x"],{}]`, `{"%s":{"deep":[1,2,null]}}`,
		`"5b1c6c1e-0d3b-4a54-9a86-5d0f3f0f8a%02x"`, `"\u00fc\n\"q\""`, `"%s openid profile"`, `"a.%s.b"`,
		`"c29tZSBiYXNlNjR1cmwgdGhhdCBpcyBsb25n"`, `"c29tZSBiYXNlNjQ/dGhhdCBpcyBsb25n+w=="`, `"-c29tZSBiYXNlNjQ*dGhhdCBpcyBsb25n!w$$"`, `"40A0CFFE-4FC9-448B-9790-232954984F24"`,
	}
	var members []string
	add := func(name, value string) { members = append(members, `"`+name+`":`+value) }
	for i, name := range strings.Fields(goldenClaims) {
		switch value := values[i%len(values)]; {
		case strings.Contains(value, "%s"):
			add(name, fmt.Sprintf(value, words[i%len(words)]))
		case strings.Contains(value, "%0"):
			add(name, fmt.Sprintf(value, i))
		default:
			add(name, value)
		}
	}
	for i, word := range words {
		add(fmt.Sprintf("w%d", i), `"`+word+`"`)
	}
	add("twice", `"same"`)
	add("again", `"same"`)
	payload := "{" + strings.Join(members, ",") + "}"
	b64 := base64.RawURLEncoding
	return b64.EncodeToString([]byte(`{"typ":"JWT","alg":"RS256","kid":"golden","x5t":"golden"}`)) + "." + b64.EncodeToString([]byte(payload)) + "." + b64.EncodeToString(bytes.Repeat([]byte("signature"), 28))
}

// goldenUnknown is an access token with names and values that are in no list, and
// every kind of value.
func goldenUnknown(a *goldenApp) {
	b64 := base64.RawURLEncoding
	token := b64.EncodeToString([]byte(`{"alg":"RS256","qkayw":"golden","s7v":"FUF_Wn1rlLnYVteyqdM5o_LxJ3y"}`)) + "." +
		b64.EncodeToString([]byte(`{"aud":"https://api.contoso.example/","employeeType":"Ziddbr","s7v":"2.RcIdrzpNM2OPzYjdlM2tXgNkToPLphZSgjo2XocM.",`+
			`"nvc":1772443800,"nvd":1772443800,"tyo":-9831812117,"dmc":"4","bfl":["ljv","ljv",[],{}],"femey":"52.51.861.53",`+
			`"zlx":"XXJeCRd7d7uTZAV9LoPd4PtCHPMGZePZQJCB+zHEad6g/cr8PAOBfhBQzy6NEu4HAdAarF","iftmn":"a71216c2-faeb-4f8d-83db-a2e1a74e948c",`+
			`"jrc":"jscym://nwp.xlwqgak.opx/eb4e2b97-a6cd-454e-89e3-25b2899a462a/","egxvaj_lty":"S-4-3-52-3489154583-811457875",`+
			`"tnh":"Fgbahvon (gruj) \u00fc ü","hsu":"A1415BF1-7579-427F-816A-FDF3BBB4E50D","scopes":"openid profile Kxy.Read","pht_xt":{"jsw":{"q":""}},`+
			`"":null,"wq":true,"wr":false,"ws":-12.50e3,"wt":9223372036854775807,"wu":-9223372036854775808,"clientid":"`+goldenClient+`"}`)) + "." +
		b64.EncodeToString(bytes.Repeat([]byte("signature"), 28))
	a.behave(func(b *msauthtest.Behavior) {
		b.TokenReply = func(kind msauthtest.Kind, reply map[string]any) {
			reply["access_token"] = token
			a.note(kind, reply)
		}
	})
}
