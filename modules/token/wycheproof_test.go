package token

import (
	"maps"
	"os"
	"slices"
	"testing"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// wycheproof is a file of vectors. A key comes as its private form, its public
// one, or both; some are sets.
type wycheproof struct {
	NumberOfTests int `json:"numberOfTests"`
	TestGroups    []struct {
		Comment string         `json:"comment"`
		Private jsontext.Value `json:"private"`
		Public  jsontext.Value `json:"public"`
		Tests   []struct {
			ID      int    `json:"tcId"`
			Comment string `json:"comment"`
			// JWS is text, or an object: the JSON serialization.
			JWS    jsontext.Value `json:"jws"`
			JWE    jsontext.Value `json:"jwe"`
			Result string         `json:"result"`
		} `json:"tests"`
	} `json:"testGroups"`
}

func readVectors(t *testing.T, name string) wycheproof {
	t.Helper()
	b, err := os.ReadFile("testdata/wycheproof_json_web_" + name + "_test.json")
	if err != nil {
		t.Fatal(err)
	}
	var w wycheproof
	if err := json.Unmarshal(b, &w); err != nil {
		t.Fatal(err)
	}
	return w
}

// text is the token of a test: what is in the quotes, or the object itself.
func text(t *testing.T, v jsontext.Value) string {
	t.Helper()
	if v.Kind() != jsontext.KindString {
		return string(v)
	}
	s, err := unquote(v)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// public is a key without its private members.
func public(t *testing.T, v jsontext.Value) object {
	t.Helper()
	o, err := parseObject(v)
	if err != nil {
		t.Fatalf("the key of the vectors: %v", err)
	}
	if kty, _, _ := o.text("kty"); kty == "oct" {
		return o
	}
	maps.DeleteFunc(o, func(name string, _ jsontext.Value) bool {
		return slices.Contains([]string{"d", "p", "q", "dp", "dq", "qi", "oth"}, name)
	})
	return o
}

// publicSet is a set of keys without their private members.
func publicSet(t *testing.T, v jsontext.Value) []byte {
	t.Helper()
	o, err := parseObject(v)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := elements(o["keys"])
	if err != nil {
		t.Fatal(err)
	}
	var set struct {
		Keys []object `json:"keys"`
	}
	for _, k := range keys {
		set.Keys = append(set.Keys, public(t, k))
	}
	b, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// openWith verifies a JWS with one JWK, or with the one of a set.
func openWith(text string, jwk object) error {
	c, err := parseCompact(text)
	if err != nil {
		return err
	}
	k, err := parseKey(jwk)
	if err != nil {
		return err
	}
	return c.verify(k)
}

func openWithSet(text string, set []byte) error {
	c, err := parseCompact(text)
	if err != nil {
		return err
	}
	keys, err := parseKeySet(set, []string{"RS256", "PS256", "ES256", "EdDSA"})
	if err != nil {
		return err
	}
	k, err := keys.find(c)
	if err != nil {
		return err
	}
	return c.verify(k)
}

// algorithmOf is what a token says that it is signed with; "" where it says
// nothing that can be read.
func algorithmOf(text string) string {
	c := compact{}
	for i := range len(text) {
		if text[i] == '.' {
			b, err := decode64(text[:i])
			if err != nil {
				return ""
			}
			if c.header, err = parseObject(b); err != nil {
				return ""
			}
			alg, _, _ := c.header.text("alg")
			return alg
		}
	}
	return ""
}

// TestWycheproof: what Wycheproof calls invalid is refused, and what it calls
// valid is taken where its algorithm is one of ours, and refused where it is not.
// No valid one of our algorithms is refused.
func TestWycheproof(t *testing.T) {
	for _, file := range []string{"signature", "crypto"} {
		t.Run(file, func(t *testing.T) {
			w, seen, taken := readVectors(t, file), 0, 0
			for _, g := range w.TestGroups {
				raw := g.Public
				if len(raw) == 0 {
					raw = g.Private
				}
				for _, tt := range g.Tests {
					seen++
					jws := tt.JWS
					if len(jws) == 0 {
						jws = tt.JWE
					}
					s := text(t, jws)
					var err error
					if o, _ := parseObject(raw); o["keys"] != nil {
						err = openWithSet(s, publicSet(t, raw))
					} else {
						err = openWith(s, public(t, raw))
					}
					want := tt.Result == "valid" && methods[algorithmOf(s)] != nil
					if got := err == nil; got != want {
						t.Errorf("%s, test %d (%s): %v, want it taken: %v", g.Comment, tt.ID, tt.Comment, err, want)
					}
					if err == nil {
						taken++
					}
				}
			}
			if seen != w.NumberOfTests || taken == 0 {
				t.Errorf("%d tests of %d were run, %d were taken", seen, w.NumberOfTests, taken)
			}
		})
	}
}

// TestWycheproofKeySets runs the vectors of key sets. Those that hold private keys
// are run without them, and refused with them.
func TestWycheproofKeySets(t *testing.T) {
	w, seen := readVectors(t, "key"), 0
	for _, g := range w.TestGroups {
		for _, tt := range g.Tests {
			seen++
			raw, s := g.Public, text(t, tt.JWS)
			if len(raw) == 0 {
				raw = publicSet(t, g.Private)
			}
			err := openWithSet(s, raw)
			want := tt.Result == "valid" && methods[algorithmOf(s)] != nil
			if got := err == nil; got != want {
				t.Errorf("%s, test %d (%s): %v, want it taken: %v", g.Comment, tt.ID, tt.Comment, err, want)
			}
			if err := openWithSet(s, g.Private); err == nil {
				t.Errorf("%s, test %d: a set with private or symmetric keys was taken", g.Comment, tt.ID)
			}
		}
	}
	if seen != w.NumberOfTests {
		t.Errorf("%d tests of %d were run", seen, w.NumberOfTests)
	}
}
