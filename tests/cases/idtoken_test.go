package cases_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestCase023_WrongIssuerIsRefused(t *testing.T) {
	c := newCase(t)
	const us, them = msauthtest.TenantContoso, msauthtest.TenantFabrikam
	const origin = "http://localhost:9"
	for _, wrong := range []any{
		"https://evil.example/" + us + "/v2.0", origin + "/" + us + "/v2.0/", origin + "/" + us + "/v2.0 ",
		"https://localhost:9/" + us + "/v2.0", "http://LOCALHOST:9/" + us + "/v2.0", origin + "/" + strings.ToUpper(us) + "/v2.0",
		origin + "/" + them + "/v2.0", origin + "/" + us, origin + "/" + us + "/v1.0", origin + "." + us + "/v2.0",
		origin + "//" + us + "/v2.0", origin + "/common/v2.0", origin + "/" + us + "/v2.0#", "https://sts.windows.net/" + us + "/",
		"http://localhost/" + us + "/v2.0", "http://localhost:9@evil.example/" + us + "/v2.0", "", nil, 7, []any{origin + "/" + us + "/v2.0"},
	} {
		c.refusesToken(fmt.Sprintf("%v", wrong), "ID token: ", claimIs("iss", wrong))
	}
	c.refusesToken("absent", "ID token: ", without("iss"))
}

func TestCase023_WrongIssuerOfAnotherProvider(t *testing.T) {
	c := newCase(t)
	for _, wrong := range []string{"/generic/", "/Generic", "", "/" + msauthtest.TenantContoso + "/v2.0"} {
		c.run(wrong, func(c *testCase) {
			s := testsite.NewInProcess(c.T)
			s.Restart(c.T, testsite.Generic(s))
			s.MS.Set(claimIs("iss", s.MS.URL+wrong))
			s.As(msauthtest.Ada)
			b := s.Browser(c.T)
			c.refused(b, b.Get("/"), 400, "start-again", "different provider")
			c.calls(s, msauthtest.TokenCode, 1)
		})
	}
}

func TestCase024_WrongAudienceIsRefused(t *testing.T) {
	c := newCase(t)
	for _, wrong := range []any{
		"6731de76-14a6-49ae-97bc-6eba6914391e", []any{"6731de76-14a6-49ae-97bc-6eba6914391e"}, "00000003-0000-0000-c000-000000000000",
		"https://app.test/auth/callback", "*",
	} {
		c.refusesToken(fmt.Sprint(wrong), "expected audience", claimIs("aud", wrong))
	}
	c.refusesToken("ours with a space", "expected audience", func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["aud"] = claims["aud"].(string) + " " }
	})
	c.refusesToken("ours and another's, meant for nobody", "azp is not this app", func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["aud"] = []any{claims["aud"], "other"} }
	})
	c.refusesToken("ours and another's, meant for the other", "azp is not this app", func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
			claims["aud"], claims["azp"] = []any{claims["aud"], "other"}, "other"
		}
	})
	c.refusesToken("ours, meant for another", "azp is not this app", claimIs("azp", "other"))
}

func TestCase025_NoAudienceIsRefused(t *testing.T) {
	c := newCase(t)
	c.refusesToken("absent", "expected audience", without("aud"))
	for _, wrong := range []any{"", []any{}, []any{""}, 7, []any{7}, nil, true, map[string]any{"x": 1}} {
		c.refusesToken(fmt.Sprintf("%T %v", wrong, wrong), "ID token: ", claimIs("aud", wrong))
	}
}

func TestCase027_NoSubjectIsRefused(t *testing.T) {
	c := newCase(t)
	c.refusesToken("absent", "sub is missing", without("sub"))
	for _, wrong := range []any{"", nil} {
		c.refusesToken(fmt.Sprintf("%T %v", wrong, wrong), "sub is missing", claimIs("sub", wrong))
	}
	for _, wrong := range []any{7, []any{"x"}, true, map[string]any{}} {
		c.refusesToken(fmt.Sprintf("%T %v", wrong, wrong), "ID token: ", claimIs("sub", wrong))
	}
	// What identifies a Microsoft account besides.
	for _, name := range []string{"oid", "tid"} {
		c.refusesToken(name+" absent", name+" is", without(name))
		for _, wrong := range []any{"", "x", 7, msauthtest.TenantContoso + "x", "{" + msauthtest.TenantContoso + "}", strings.ReplaceAll(msauthtest.TenantContoso, "-", ""), msauthtest.TenantContoso + "\n"} {
			c.refusesToken(fmt.Sprintf("%s %q", name, wrong), name+" is", claimIs(name, wrong))
		}
	}
}

func TestCase028_NoIssueTimeIsRefused(t *testing.T) {
	c := newCase(t)
	c.refusesToken("absent", "iat is missing", without("iat"))
	c.refusesToken("null", "ID token: ", claimIs("iat", nil))
	for _, wrong := range []any{"now", "1700000000", []any{}, true, 1e300, -1e12} {
		c.refusesToken(fmt.Sprint(wrong), "ID token: ", claimIs("iat", wrong))
	}
	c.refusesToken("no exp", "exp is missing", without("exp"))
	c.refusesToken("exp null", "ID token: ", claimIs("exp", nil))
	for _, wrong := range []any{"never", 1e300, 0, -1, []any{}} {
		c.refusesToken(fmt.Sprint("exp ", wrong), "ID token: ", claimIs("exp", wrong))
	}
	c.refusesToken("expired two minutes ago", "expired 2m", claimAt("exp", -2*time.Minute))
}

func TestCase029_StaleTokenIsRefused(t *testing.T) {
	c := newCase(t)
	ago := func(d time.Duration) func(*msauthtest.Behavior) { return claimAt("iat", -d) }
	c.refusesToken("a week", "issued 168h", ago(7*24*time.Hour))
	c.refusesToken("just over an hour", "issued 1h0", ago(time.Hour+10*time.Second))
	c.refusesToken("1970", "ago by the clock of this server", claimIs("iat", 0))
	c.refusesToken("tomorrow", "in the future", ago(-24*time.Hour))
	c.refusesToken("in six minutes", "in the future by the clock", ago(-6*time.Minute-time.Second/2))
}

func TestCase031_NotBefore(t *testing.T) {
	c := newCase(t)
	c.refusesToken("an hour ahead", "not valid for another", claimAt("nbf", time.Hour))
	c.refusesToken("six minutes ahead", "not valid for another", claimAt("nbf", 6*time.Minute))
	for _, wrong := range []any{"now", nil, []any{}, 1e300} {
		c.refusesToken(fmt.Sprint(wrong), "ID token: ", claimIs("nbf", wrong))
	}
	for name, tamper := range map[string]func(*msauthtest.Behavior){
		"four minutes ahead": claimAt("nbf", 4*time.Minute),
		"absent":             without("nbf"),
	} {
		c.run(name, func(c *testCase) {
			s := testsite.NewInProcess(c.T)
			s.MS.Set(tamper)
			s.Browser(c.T).SignIn(msauthtest.Ada)
			c.calls(s, msauthtest.TokenCode, 1)
		})
	}
}

func TestCase032_FlippedBitIsRefused(t *testing.T) {
	c := newCase(t)
	c.refusesToken("flipped", "failed to verify signature", signed(msauthtest.SignFlippedBit))
	c.refusesToken("cut", "failed to verify signature", signed(msauthtest.SignTruncated))
	// The payload changed under a good signature; the signature gone, doubled, of another token.
	for name, change := range map[string]func(parts []string) string{
		"payload": func(p []string) string {
			payload, _ := base64.RawURLEncoding.DecodeString(p[1])
			return p[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(payload), "Ada", "Eve", 1))) + "." + p[2]
		},
		"header":       func(p []string) string { return p[0][:len(p[0])-1] + "." + p[1] + "." + p[2] },
		"no signature": func(p []string) string { return p[0] + "." + p[1] + "." },
		"two parts":    func(p []string) string { return p[0] + "." + p[1] },
		"four parts":   func(p []string) string { return strings.Join(p, ".") + "." + p[2] },
		"padding":      func(p []string) string { return strings.Join(p, ".") + "==" },
		"in JSON": func(p []string) string {
			return `{"payload":"` + p[1] + `","protected":"` + p[0] + `","signature":"` + p[2] + `"}`
		},
		"other text":       func(p []string) string { return "x" },
		"header in header": func(p []string) string { return p[0] + "." + p[0] + "." + p[2] },
	} {
		c.refusesToken(name, "ID token: ", func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) {
				reply["id_token"] = change(strings.Split(reply["id_token"].(string), "."))
			}
		})
	}
}

func TestCase033_AlgNoneIsRefused(t *testing.T) {
	c := newCase(t)
	c.refusesToken("none", "unexpected signature algorithm", signed(msauthtest.SignNone))
	for _, alg := range []string{"None", "NONE", "nOnE", "", "none "} {
		c.refusesToken("spelled "+alg, "ID token: ", func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) {
				p := strings.Split(reply["id_token"].(string), ".")
				head, _ := json.Marshal(map[string]string{"alg": alg, "typ": "JWT"})
				reply["id_token"] = base64.RawURLEncoding.EncodeToString(head) + "." + p[1] + "."
			}
		})
	}
}

// A provider that announces weak algorithms does not bring them in.
func TestCase033_AnnouncedWeakAlgorithms(t *testing.T) {
	c := newCase(t)
	for _, how := range []msauthtest.Signing{msauthtest.SignNone, msauthtest.SignHS256Secret, msauthtest.SignHS256Public} {
		c.run(string(how), func(c *testCase) {
			s := testsite.NewInProcess(c.T)
			s.Restart(c.T, testsite.Generic(s))
			s.MS.Set(func(b *msauthtest.Behavior) {
				b.Signing = how
				b.Discovery = func(doc map[string]any) {
					doc["id_token_signing_alg_values_supported"] = []string{"none", "HS256", "HS384", "HS512"}
				}
			})
			s.As(msauthtest.Ada)
			b := s.Browser(c.T)
			c.refused(b, b.Get("/"), 400, "start-again", "unexpected signature algorithm")
			c.calls(s, msauthtest.TokenCode, 1)
		})
	}
}

func TestCase034_HMACIsRefused(t *testing.T) {
	c := newCase(t)
	c.refusesToken("with the client secret", "unexpected signature algorithm", signed(msauthtest.SignHS256Secret))
	c.refusesToken("with the public key", "unexpected signature algorithm", signed(msauthtest.SignHS256Public))
	c.refusesToken("with a published secret", "unexpected signature algorithm", func(b *msauthtest.Behavior) {
		b.Signing = msauthtest.SignHS256Secret
		b.KeySet = func(keys []map[string]any) []map[string]any {
			return append([]map[string]any{{"kty": "oct", "k": "AAAA", "alg": "HS256", "use": "sig"}}, keys...)
		}
	})
}

func TestCase035_OtherAlgorithmsAreRefused(t *testing.T) {
	c := newCase(t)
	c.refusesToken("PS256", "unexpected signature algorithm", signed(msauthtest.SignPS256))
	c.refusesToken("ES256, though announced", "unexpected signature algorithm", func(b *msauthtest.Behavior) {
		b.Signing = msauthtest.SignES256
		b.Discovery = func(doc map[string]any) {
			doc["id_token_signing_alg_values_supported"] = []string{"RS256", "ES256", "PS256"}
		}
	})
}

func TestCase036_UnknownKeyIsRefused(t *testing.T) {
	c := newCase(t)
	c.refusesToken("under a published kid", "failed to verify signature", signed(msauthtest.SignUnknownKey))
	c.refusesToken("under a kid of its own", "failed to verify signature", signed(msauthtest.SignUnpublished))
	c.refusesToken("of personal accounts, for a work account", "failed to verify signature", signed(msauthtest.SignOtherClass))
	c.refusesToken("for encryption", "ID token: ", func(b *msauthtest.Behavior) {
		b.KeySet = func(keys []map[string]any) []map[string]any {
			other := map[string]any{}
			for _, key := range keys {
				for name, value := range key {
					other[name] = value
				}
				key["use"] = "enc"
			}
			other["kid"], other["n"] = "other", strings.Replace(other["n"].(string), "A", "B", 1)
			return append(keys, other)
		}
	})
	// Tokens with made-up kids do not make us fetch keys again and again.
	s := testsite.NewInProcess(t)
	s.MS.Set(signed(msauthtest.SignUnpublished))
	s.As(msauthtest.Ada)
	for range 5 {
		b := s.Browser(t)
		c.refused(b, b.Get("/"), 400, "start-again", "failed to verify signature")
	}
	c.calls(s, msauthtest.Keys, 2)
}

func TestCase037_NoKeyID(t *testing.T) {
	c := newCase(t)
	for name, behave := range map[string]func(*msauthtest.Behavior){
		"several keys": signed(msauthtest.SignWithoutKeyID),
		"one key": func(b *msauthtest.Behavior) {
			b.Signing = msauthtest.SignWithoutKeyID
			b.KeySet = func(keys []map[string]any) []map[string]any { return keys[1:] } // of work accounts
		},
	} {
		c.run(name, func(c *testCase) {
			s := testsite.NewInProcess(c.T)
			s.MS.Set(behave)
			s.Browser(c.T).SignIn(msauthtest.Ada)
			c.calls(s, msauthtest.Keys, 1)
		})
	}
	c.refusesToken("and no key that fits", "failed to verify signature", func(b *msauthtest.Behavior) {
		b.Signing = msauthtest.SignWithoutKeyID
		b.KeySet = func(keys []map[string]any) []map[string]any { return keys[:1] }
	})
	c.refusesToken("that is published", "failed to verify signature", signed(msauthtest.SignWrongKeyID))
}

func TestCase039_AccessTokenHash(t *testing.T) {
	c := newCase(t)
	for _, wrong := range []any{"", "AAAAAAAAAAAAAAAAAAAAAA", "x"} {
		c.refusesToken(fmt.Sprintf("%q", wrong), "at_hash does not fit", claimIs("at_hash", wrong))
	}
	c.refusesToken("number", "ID token: ", claimIs("at_hash", 7))
	c.refusesToken("null", "at_hash does not fit", claimIs("at_hash", nil))
	c.refusesToken("another access token under a good one", "at_hash does not fit", func(b *msauthtest.Behavior) {
		b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply["access_token"] = "injected" }
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["at_hash"] = "77QmUPtjPfzWtF2AnpK9RQ" }
	})
	c.run("absent at Microsoft, right elsewhere", func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		s.Browser(c.T).SignIn(msauthtest.Ada)
		s.Restart(c.T, testsite.Generic(s))
		s.Browser(c.T).SignIn(msauthtest.Ada)
		c.calls(s, msauthtest.TokenCode, 2)
	})
}

func TestCase043_ClaimsOfEveryShape(t *testing.T) {
	c := newCase(t)
	strange := map[string]any{
		"name": "\u202eÅda \u0000<b>🦊", "email": nil, "preferred_username": []any{"x"}, "roles": "one", "groups": map[string]any{"a": 1},
		"hasgroups": "maybe", "xms_edov": []any{1}, "sid": 7, "login_hint": true, "auth_time": "x", "upn": []any{nil, 1.5, "x"},
	}
	for name, tamper := range map[string]func(*msauthtest.Behavior){
		"strange": func(b *msauthtest.Behavior) {
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
				for name, value := range strange {
					claims[name] = value
				}
			}
		},
		"bare": func(b *msauthtest.Behavior) {
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
				for name := range strange {
					delete(claims, name)
				}
			}
		},
		"overage": func(b *msauthtest.Behavior) {
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
				claims["_claim_names"] = map[string]string{"groups": "src1"}
				claims["_claim_sources"] = map[string]any{"src1": map[string]string{"endpoint": "https://graph.example/x"}}
			}
		},
		"overage of text": claimIs("hasgroups", "true"),
		"null lists": func(b *msauthtest.Behavior) {
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
				claims["roles"], claims["groups"] = nil, []any{nil, 1, []any{}, "g"}
			}
		},
		"deep": claimIs("upn", json.RawMessage(strings.Repeat("[", 200)+strings.Repeat("]", 200))),
	} {
		c.run(name, func(c *testCase) {
			s := testsite.NewInProcess(c.T, func(cfg *msauth.Config) { cfg.Claims = []string{"upn", "roles", "absent"} })
			got := make(chan msauth.User, 1)
			s.Mux.Handle("/who", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				session, _ := msauth.FromContext(r.Context())
				got <- session.User
			})))
			s.MS.Set(tamper)
			s.As(msauthtest.Ada)
			s.Browser(c.T).Get("/who")
			c.calls(s, msauthtest.TokenCode, 1)
			select {
			case u := <-got:
				if u.Key() == "" || u.TenantID != msauthtest.TenantContoso {
					c.Errorf("user %+v", u)
				}
				if name == "strange" && (u.Email != "" || u.EmailVerified || u.Username != "" || len(u.Groups) > 0 || !u.HasRole("one") || u.GroupsOverage) {
					c.Errorf("user %+v", u)
				}
				if strings.HasPrefix(name, "overage") != u.GroupsOverage {
					c.Errorf("overage %v", u.GroupsOverage)
				}
			default:
				c.Errorf("not signed in:\n%s", s.Log)
			}
		})
	}
	// Distributed claims that contradict themselves are no shape to live with.
	c.refusesToken("claim names without a source", "source does not exist", claimIs("_claim_names", map[string]any{"groups": "src1"}))
	c.refusesToken("claim names of text", "ID token: ", claimIs("_claim_names", "x"))
	c.run("two hundred groups", func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		s.As(msauthtest.Grace)
		b := s.Browser(c.T)
		if got := b.Get("/"); !strings.HasPrefix(got.Text, "hello Grace") {
			c.Errorf("page %q", got.Text)
		}
		s.MS.Set(func(b *msauthtest.Behavior) { b.GroupClaims = true })
		b = s.Browser(c.T)
		if got := b.Get("/"); !strings.HasPrefix(got.Text, "hello Grace") {
			c.Errorf("page %q", got.Text)
		}
		c.calls(s, msauthtest.TokenCode, 2)
	})
}
