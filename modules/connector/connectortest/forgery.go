package connectortest

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connector"
)

// maxFlips bounds the places of one text where [Forgery] flips a bit.
const maxFlips = 400

// Forgery takes a delivery that verifies, and alters it in every way that an
// attacker might; VerifyWebhook must refuse each with [connector.ErrSignature].
// The delivery's headers are those of the signature's scheme and no other (and
// none that the scheme ignores): each is flipped bit by bit, emptied, removed, cut
// and given twice; the body is flipped, cut, extended and emptied.
//
// tolerance is the age that the PSP's scheme allows, either way; 0 = the scheme
// knows no time. One second more must be refused.
//
// A form whose encoding alone was changed ("%2B" to "%2b") says the same, and
// is no forgery.
func Forgery(t *testing.T, d connector.WebhookDecoder, good connector.Delivery, tolerance time.Duration) {
	t.Helper()
	if err := d.VerifyWebhook(good); err != nil {
		t.Fatalf("the good delivery does not verify: %v", err)
	}
	refuse := func(what string, bad connector.Delivery) {
		t.Helper()
		if err := d.VerifyWebhook(bad); !errors.Is(err, connector.ErrSignature) {
			t.Errorf("%s: %v, want ErrSignature", what, err)
		}
	}
	for what, body := range forgedBodies(good) {
		bad := good
		bad.Body = []byte(body)
		refuse("body "+what, bad)
	}
	for _, name := range slices.Sorted(maps.Keys(good.Header)) {
		for what, values := range forgedHeaders(good.Header[name]) {
			bad := good
			bad.Header = good.Header.Clone()
			if bad.Header.Del(name); len(values) > 0 {
				bad.Header[name] = values
			}
			refuse("header "+name+" "+what, bad)
		}
	}
	bare := good
	bare.Header = http.Header{}
	if len(good.Header) > 0 {
		refuse("without any header", bare)
		bare.Header = nil
		refuse("with nil headers", bare)
	}
	if tolerance <= 0 {
		return
	}
	for _, shift := range []time.Duration{-tolerance - time.Second, tolerance + time.Second, 24 * time.Hour, -24 * time.Hour} {
		late := good
		late.Now = good.Now.Add(shift)
		refuse("verified at "+shift.String(), late)
	}
}

// forgedBodies alters the body; the key says how.
func forgedBodies(good connector.Delivery) map[string]string {
	body := string(good.Body)
	forged := flips(body)
	forged["empty"] = ""
	forged["cut"] = body[:len(body)-1]
	forged["with a byte more"] = body + " "
	forged["with a byte before"] = " " + body
	forged["twice"] = body + body
	values, err := url.ParseQuery(body)
	form := err == nil && strings.Contains(body, "=") && !strings.HasPrefix(strings.TrimSpace(body), "{")
	for what, b := range forged {
		if v, err := url.ParseQuery(b); b == body || (form && err == nil && reflect.DeepEqual(v, values)) {
			delete(forged, what)
		}
	}
	return forged
}

// forgedHeaders alters the values of one header.
func forgedHeaders(values []string) map[string][]string {
	forged := map[string][]string{"removed": nil, "emptied": {""}}
	if len(values) == 0 {
		return forged
	}
	v := values[0]
	for what, s := range flips(v) {
		forged[what] = []string{s}
	}
	forged["given twice"] = []string{v, v}
	forged["after an empty one"] = []string{"", v}
	forged["before an empty one"] = []string{v, ""}
	forged["cut"] = []string{v[:len(v)-1]}
	return forged
}

// flips changes one byte at a time: its lowest bit, and the bit of its case.
func flips(s string) map[string]string {
	forged := map[string]string{}
	stride := 1 + len(s)/maxFlips
	for i := 0; i < len(s); i += stride {
		for _, bit := range []byte{0x01, 0x20} {
			b := []byte(s)
			b[i] ^= bit
			forged[fmt.Sprintf("with byte %d (%q) as %q", i, s[i], b[i])] = string(b)
		}
	}
	return forged
}
