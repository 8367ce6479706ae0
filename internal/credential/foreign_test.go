package credential

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// foreign is a token with this header and these claims, and some signature.
func foreign(header, claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(header)) + "." + encode([]byte(claims)) + "." + encode([]byte("a signature"))
}

// endingAt is a token that says when it ends.
func endingAt(exp string) string { return foreign(`{"alg":"RS256"}`, `{"sub":"app","exp":`+exp+`}`) }

const noJWT = "is not a JWT: want three parts in base64url, with a dot between them"

func TestTokenFile(t *testing.T) {
	t.Parallel()
	good := endingAt("4102444800")
	parts := strings.Split(good, ".")
	at2100 := time.Unix(4102444800, 0)
	for _, test := range []struct {
		name, content string
		until         time.Time // zero if it is not known
		want          string    // in the error
	}{
		{"a token", good, at2100, ""},
		{"white space around", " \r\n" + good + "\r\n\n", at2100, ""},
		{"exp with a fraction", endingAt("4102444800.75"), at2100, ""},
		{"exp with an exponent", endingAt("4.1024448e9"), at2100, ""},
		{"exp in a text", endingAt(`"4102444800"`), at2100, ""},
		{"exp that is over", endingAt("1000000000"), time.Unix(1e9, 0), ""},
		{"no exp", foreign(`{}`, `{}`), time.Time{}, ""},
		{"exp is null", endingAt("null"), time.Time{}, ""},
		{"exp is true", endingAt("true"), time.Time{}, ""},
		{"exp is a word", endingAt(`"soon"`), time.Time{}, ""},
		{"exp is a list", endingAt("[1]"), time.Time{}, ""},
		{"exp is negative", endingAt("-5"), time.Time{}, ""},
		{"exp is 0", endingAt("0"), time.Time{}, ""},
		{"exp in milliseconds", endingAt("4102444800000"), time.Time{}, ""},
		{"exp beyond all numbers", endingAt("1e999"), time.Time{}, ""},
		{"EXP is another claim", foreign(`{}`, `{"exp":4102444800,"EXP":1}`), at2100, ""},
		{"exp in the header", foreign(`{"exp":[]}`, `{"exp":4102444800}`), at2100, ""},
		{"as long as it may be", foreign(`{}`, `{}`) + strings.Repeat("A", maxAssertion-len(foreign(`{}`, `{}`))-2), time.Time{}, ""},
		{"empty", "", time.Time{}, "is empty: want a JWT"},
		{"white space", " \n\n", time.Time{}, "is empty: want a JWT"},
		{"a text", "token", time.Time{}, noJWT},
		{"two parts", parts[0] + "." + parts[1], time.Time{}, noJWT},
		{"four parts", good + "." + parts[2], time.Time{}, noJWT},
		{"an encrypted token", good + "." + parts[2] + "." + parts[2], time.Time{}, noJWT},
		{"an empty signature", parts[0] + "." + parts[1] + ".", time.Time{}, noJWT},
		{"an empty header", "." + parts[1] + "." + parts[2], time.Time{}, noJWT},
		{"empty claims", parts[0] + ".." + parts[2], time.Time{}, noJWT},
		{"a header that is not base64", "!" + good, time.Time{}, noJWT},
		{"claims that are not base64", parts[0] + ".!." + parts[2], time.Time{}, noJWT},
		{"a signature that is not base64", parts[0] + "." + parts[1] + ".!", time.Time{}, noJWT},
		{"padding", parts[0] + "." + parts[1] + "." + base64.URLEncoding.EncodeToString([]byte("a")), time.Time{}, noJWT},
		{"standard base64", parts[0] + "." + parts[1] + "." + base64.RawStdEncoding.EncodeToString([]byte{0xfb, 0xff, 0xfe}), time.Time{}, noJWT},
		{"a line break in the header", good[:4] + "\n" + good[4:], time.Time{}, noJWT},
		{"a line break in the signature", good[:len(good)-4] + "\r\n" + good[len(good)-4:], time.Time{}, noJWT},
		{"two tokens", good + "\n" + good, time.Time{}, noJWT},
		{"Bearer before it", "Bearer " + good, time.Time{}, noJWT},
		{"quotation marks", `"` + good + `"`, time.Time{}, noJWT},
		{"a JSON list for claims", foreign(`{}`, `[]`), time.Time{}, noJWT},
		{"a JSON list for a header", foreign(`[]`, `{}`), time.Time{}, noJWT},
		{"null for claims", foreign(`{}`, `null`), time.Time{}, noJWT},
		{"null for a header", foreign(`null`, `{}`), time.Time{}, noJWT},
		{"no JSON", foreign(`{}`, `{"exp":`), time.Time{}, noJWT},
		{"JSON that holds the token", `{"access_token":"` + good + `"}`, time.Time{}, noJWT},
		{"64 KB and more", good + strings.Repeat("A", maxAssertion), time.Time{}, "has more than 65536 bytes: want a JWT"},
		{"1 MB and more", strings.Repeat("A", 1<<20+1), time.Time{}, "has more than 1048576 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "token")
			writeFile(t, path, test.content)
			source, err := TokenFile(path)
			if wantError(t, err, test.want); err != nil {
				if !strings.HasPrefix(err.Error(), path+": ") {
					t.Errorf("%v does not name the file", err)
				}
				return
			}
			c, _, fault := source.Look()
			proof, err := c.Prove(t.Context(), elsewhere)
			if fault != nil || err != nil || string(proof.Assertion) != strings.TrimSpace(test.content) || proof.Secret != "" {
				t.Errorf("%q, %v, %v", string(proof.Assertion), fault, err)
			}
			from, until := c.Valid()
			if !from.IsZero() || !until.Equal(test.until) || c.Expires() || c.Name() != "federated token in "+path {
				t.Errorf("%s is valid from %v until %v, want %v", c.Name(), from, until, test.until)
			}
		})
	}
	_, err := TokenFile(filepath.Join(t.TempDir(), "missing"))
	wantError(t, err, "missing: no such file or directory")
}

// What puts the token there replaces it; a token that is half written is not used.
func TestTokenFileChanges(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	first, second := endingAt("4102444800"), endingAt("4102444801")
	writeFile(t, path, first)
	source, err := TokenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		content, token, fault string
		version               int
	}{
		{second[:len(second)/2], first, noJWT, 1}, {second, second, "", 2}, {"", second, "is empty", 2}, {first, first, "", 3},
	} {
		writeFile(t, path, step.content)
		c, version, fault := source.Look()
		wantError(t, fault, step.fault)
		if proof, _ := c.Prove(t.Context(), elsewhere); string(proof.Assertion) != step.token || version != step.version {
			t.Errorf("version %d: %q, want %q", version, string(proof.Assertion), step.token)
		}
	}
}

// The function is asked for each request, and told for whom.
func TestFunctionIsAskedForEachRequest(t *testing.T) {
	t.Parallel()
	type key struct{}
	var asked []string
	c, err := NewAsked(func(ctx context.Context, audience string) (string, error) {
		asked = append(asked, fmt.Sprint(audience, " ", ctx.Value(key{})))
		return " " + endingAt("4102444800") + "\n", nil
	}, "the function")
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.WithValue(t.Context(), key{}, "mine")
	for _, to := range []Recipient{atMicrosoft, elsewhere, elsewhere} {
		proof, err := c.Prove(ctx, to)
		if err != nil || string(proof.Assertion) != endingAt("4102444800") || proof.Secret != "" {
			t.Errorf("%q, %v", string(proof.Assertion), err)
		}
	}
	if got := strings.Join(asked, ", "); got != "api://AzureADTokenExchange mine, https://id.example.com mine, https://id.example.com mine" {
		t.Errorf("asked for %s", got)
	}
	if from, until := c.Valid(); !from.IsZero() || !until.IsZero() || c.Expires() || c.Name() != "the function" {
		t.Errorf("%s is valid from %v until %v", c.Name(), from, until)
	}
	_, err = NewAsked(nil, "the function")
	wantError(t, err, "has no function")
}

func TestFunctionThatReturnsNoToken(t *testing.T) {
	t.Parallel()
	offline := errors.New("the identity endpoint does not answer")
	returns := func(text string, err error) func(context.Context, string) (string, error) {
		return func(context.Context, string) (string, error) { return text, err }
	}
	for _, test := range []struct {
		name string
		get  func(context.Context, string) (string, error)
		want string
	}{
		{"an error", returns("", offline), "the identity endpoint does not answer"},
		{"an error and a token", returns(endingAt("4102444800"), offline), "the identity endpoint does not answer"},
		{"a panic", func(context.Context, string) (string, error) { panic("a bug") }, "panic: a bug"},
		{"nothing", returns("", nil), "the text that the function returned is empty: want a JWT"},
		{"white space", returns(" \n", nil), "the text that the function returned is empty: want a JWT"},
		{"a text", returns("token", nil), "the text that the function returned " + noJWT},
		{"a line break", returns(endingAt("4102444800\n")+"\nA", nil), "the text that the function returned " + noJWT},
		{"64 KB and more", returns(strings.Repeat("A", maxAssertion+1), nil), "the text that the function returned has more than 65536 bytes"},
		{"a token that has ended", returns(endingAt("1000000000"), nil), "the token that the function returned ended at 2001-09-09T01:46:40Z"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, err := NewAsked(test.get, "the function")
			if err != nil {
				t.Fatal(err)
			}
			err = NewRing([]Source{Fixed(c)}, 0, deaf{}).Use(t.Context(), atMicrosoft, false, func(Proof) (Verdict, error) {
				t.Error("a request was sent")
				return Accepted, nil
			})
			if wantError(t, err, "msauth: the function: "+test.want); errors.Is(err, offline) != strings.Contains(test.name, "error") {
				t.Errorf("%v wraps another error", err)
			}
		})
	}
}

// A token that the function keeps too long is not sent.
func TestTokenOfAFunctionEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kept := endingAt(fmt.Sprint(time.Now().Unix() + 60))
		c, err := NewAsked(func(context.Context, string) (string, error) { return kept, nil }, "the function")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Second)
		if _, err := c.Prove(t.Context(), atMicrosoft); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		_, err = c.Prove(t.Context(), atMicrosoft)
		wantError(t, err, "the token that the function returned ended at ")
	})
}

// What is accepted is one JWT of three parts, each what the strictest reader takes.
func FuzzForeignToken(f *testing.F) {
	for _, seed := range []string{
		"", "a.b.c", endingAt("4102444800"), endingAt(`"5"`), endingAt("1e400"), endingAt("true"), foreign(`null`, `null`), foreign(`[]`, `{}`),
		foreign(`{"alg":"none"}`, `{"exp":1,"exp":2}`), foreign(`{}`, ` {} `), foreign(`{}`, `{}`) + "\n", foreign(`{}`, `{}`) + "=", "e30.e30.e31", "e30.e30.AA\nAA",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		until, err := checkAssertion(text)
		if err != nil {
			if !until.IsZero() {
				t.Errorf("%q: %v and %v", text, until, err)
			}
			return
		}
		parts := strings.Split(text, ".")
		if len(parts) != 3 || len(text) > maxAssertion || parts[2] == "" || strings.ContainsAny(text, " \t\r\n") {
			t.Fatalf("%q was accepted", text)
		}
		for i, part := range parts {
			data, err := base64.RawURLEncoding.DecodeString(part)
			if err != nil || base64.RawURLEncoding.EncodeToString(data) != part {
				t.Fatalf("part %d of %q: %v", i, text, err)
			}
			if i == 2 {
				break
			}
			var object any
			decoder := json.NewDecoder(bytes.NewReader(data))
			decoder.UseNumber()
			if err := decoder.Decode(&object); err != nil || !json.Valid(data) {
				t.Fatalf("part %d of %q: %v", i, text, err)
			}
			members, is := object.(map[string]any)
			if !is {
				t.Fatalf("part %d of %q is no object", i, text)
			}
			number, _ := members["exp"].(json.Number)
			if exp, err := number.Float64(); i == 1 && err == nil && exp >= 1 && exp < 1<<40 && until.Unix() != int64(exp) {
				t.Errorf("%q ends at %v", text, until)
			}
		}
		if again, err := checkAssertion(text); err != nil || !again.Equal(until) {
			t.Errorf("%q: then %v, %v", text, again, err)
		}
	})
}
