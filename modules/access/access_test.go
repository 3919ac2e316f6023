package access_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
)

var (
	pepper = bytes.Repeat([]byte{7}, 32)
	start  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// known was put together by hand from the written format: its checksum is
// that of Python's zlib.crc32.
const (
	knownID = "key_01h455vb4pex5vsknk084sn02q"
	known   = "pur_test_01h455vb4pex5vsknk084sn02q_0123456789ABCDEFGHIJabcdefghijkl4Vnv2K"
)

func issuer(now *time.Time) *access.Issuer {
	clock := func() time.Time { return *now }
	return &access.Issuer{Pepper: pepper, Random: rand.Reader, IDs: &payment.IDs{Now: clock}, Now: clock}
}

func withChecksum(body string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	n, out := crc32.ChecksumIEEE([]byte(body)), ""
	for range 6 {
		out, n = string(digits[n%62])+out, n/62
	}
	return body + out
}

func TestParseKey(t *testing.T) {
	const id, secret = "01h455vb4pex5vsknk084sn02q", "0123456789ABCDEFGHIJabcdefghijkl"
	good := withChecksum("pur_test_" + id + "_" + secret)
	tests := []struct {
		name, text string
		mode       payment.Mode // "" = refused
	}{
		{"test", good, payment.Test},
		{"live", withChecksum("pur_live_" + id + "_" + secret), payment.Live},
		{"known", known, payment.Test},
		{"empty", "", ""},
		{"typo in the secret", strings.Replace(good, "AB", "BA", 1), ""},
		{"typo in the id", strings.Replace(good, "455", "545", 1), ""},
		{"typo in the checksum", good[:len(good)-1] + string(good[len(good)-1]^1), ""},
		{"mode swapped", strings.Replace(good, "test", "live", 1), ""},
		{"unknown mode", withChecksum("pur_prod_" + id + "_" + secret), ""},
		{"upper-case id", withChecksum("pur_test_" + strings.ToUpper(id) + "_" + secret), ""},
		{"letter outside the id's alphabet", withChecksum("pur_test_" + strings.Replace(id, "h", "u", 1) + "_" + secret), ""},
		{"no second underscore", withChecksum("pur_test_" + id + "x" + secret), ""},
		{"dash in the secret", withChecksum("pur_test_" + id + "_" + strings.Replace(secret, "A", "-", 1)), ""},
		{"short secret", withChecksum("pur_test_" + id + "_" + secret[1:]), ""},
		{"long secret", withChecksum("pur_test_" + id + "_" + secret + "0"), ""},
		{"example", withChecksum("pur_test_" + id + "_" + "EXAMPLE" + secret[7:]), ""},
		{"space before", " " + good, ""},
		{"newline after", good + "\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := access.ParseKey(tt.text)
			if tt.mode == "" {
				if !errors.Is(err, access.ErrMalformedKey) {
					t.Fatalf("ParseKey = %v, %v; want ErrMalformedKey", got, err)
				}
				if len(tt.text) > 40 && strings.Contains(err.Error(), tt.text[30:40]) {
					t.Errorf("the error quotes the key: %v", err)
				}
				return
			}
			if err != nil || got.Mode != tt.mode || got.ID != knownID {
				t.Errorf("ParseKey = %v %v, %v; want %s %s", got.ID, got.Mode, err, knownID, tt.mode)
			}
			for _, printed := range []string{fmt.Sprint(got), fmt.Sprintf("%+v", got), fmt.Sprintf("%#v", got), got.LogValue().String()} {
				if strings.Contains(printed, "ABCDEF") {
					t.Errorf("the parsed key prints its secret: %s", printed)
				}
			}
		})
	}
}

func TestNewSecretIsUniformAndParses(t *testing.T) {
	counts := map[rune]int{}
	for range 400 {
		text, err := access.NewSecret(rand.Reader, knownID, payment.Live)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := access.ParseKey(text); err != nil {
			t.Fatalf("ParseKey of a fresh key: %v", err)
		}
		for _, r := range text[36:68] {
			counts[r]++
		}
	}
	if len(counts) != 62 {
		t.Errorf("12,800 characters hold %d different ones, want 62", len(counts))
	}
	if _, err := access.NewSecret(bytes.NewReader(make([]byte, 5)), knownID, payment.Test); err == nil {
		t.Error("NewSecret took a reader that ran dry")
	}
	if _, err := access.NewSecret(rand.Reader, "pay_01h455vb4pex5vsknk084sn02q", payment.Test); err == nil {
		t.Error("NewSecret took a payment's ID")
	}
	// Bytes of 248 and above would favor the first characters of the alphabet.
	mixed := append(bytes.Repeat([]byte{248, 255}, 16), bytes.Repeat([]byte{61}, 32)...)
	text, err := access.NewSecret(bytes.NewReader(mixed), knownID, payment.Test)
	if want := strings.Repeat("z", 32); err != nil || text[36:68] != want {
		t.Errorf("secret of unfair bytes = %q, %v; want %q", text[36:68], err, want)
	}
}

func TestDirectory(t *testing.T) {
	now := start
	is := issuer(&now)
	shop, err := is.CreateMerchant("Shop")
	if err != nil {
		t.Fatal(err)
	}
	create := func(r access.KeyRequest) (access.Key, string) {
		t.Helper()
		r.Merchant = shop.ID
		key, text, err := is.CreateKey(r)
		if err != nil {
			t.Fatal(err)
		}
		return key, text
	}
	plain, plainText := create(access.KeyRequest{Mode: payment.Test})
	brief, briefText := create(access.KeyRequest{Mode: payment.Live, ExpiresAt: start.Add(time.Hour), Scopes: []access.Scope{access.PaymentsRead}})
	gone, goneText := create(access.KeyRequest{Mode: payment.Test})
	gone = access.RevokeKey(gone, start)
	_, unknownText := create(access.KeyRequest{Mode: payment.Test})
	orphan, orphanText := create(access.KeyRequest{Mode: payment.Test})
	orphan.Merchant = "mer_01h455vb4pex5vsknk084sn02q"
	forged, _ := access.NewSecret(rand.Reader, plain.ID, payment.Test)
	crossed, crossedText := create(access.KeyRequest{Mode: payment.Test})
	crossed.Mode = payment.Live

	var failing error
	d := access.NewDirectory(pepper, func(context.Context) ([]access.Merchant, []access.Key, error) {
		return []access.Merchant{shop}, []access.Key{plain, brief, gone, orphan, crossed}, failing
	}, func() time.Time { return now })
	if _, err := d.Authenticate(t.Context(), plainText); !errors.Is(err, access.ErrNotLoaded) {
		t.Fatalf("before Refresh: %v, want ErrNotLoaded", err)
	}
	if err := d.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}

	tests := []struct {
		name, text string
		after      time.Duration
		want       access.Principal // zero = refused
	}{
		{"valid", plainText, 0, access.Principal{
			Merchant: shop.ID, Mode: payment.Test, By: access.ByKey, Key: plain.ID, KeyCreatedAt: start, Scopes: access.DefaultScopes(),
		}},
		{"valid until it expires", briefText, time.Hour - 1, access.Principal{
			Merchant: shop.ID, Mode: payment.Live, By: access.ByKey, Key: brief.ID, KeyCreatedAt: start, Scopes: []access.Scope{access.PaymentsRead},
		}},
		{"expired", briefText, time.Hour, access.Principal{}},
		{"revoked", goneText, 0, access.Principal{}},
		{"unknown", unknownText, 0, access.Principal{}},
		{"wrong secret", forged, 0, access.Principal{}},
		{"no merchant", orphanText, 0, access.Principal{}},
		{"mode differs from the record", crossedText, 0, access.Principal{}},
		{"garbage", "sk_live_123", 0, access.Principal{}},
		{"empty", "", 0, access.Principal{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now = start.Add(tt.after)
			got, err := d.Authenticate(t.Context(), tt.text)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Authenticate (-want +got):\n%s", diff)
			}
			if tt.want.Key == "" && !errors.Is(err, access.ErrUnauthenticated) {
				t.Errorf("error %v, want ErrUnauthenticated", err)
			}
			if err != nil && len(tt.text) > 40 && strings.Contains(err.Error(), tt.text[36:46]) {
				t.Errorf("the error quotes the secret: %v", err)
			}
		})
	}

	now = start
	failing = errors.New("store down")
	if err := d.Refresh(t.Context()); !errors.Is(err, failing) {
		t.Errorf("Refresh = %v, want %v", err, failing)
	}
	if _, err := d.Authenticate(t.Context(), plainText); err != nil {
		t.Errorf("after a failed Refresh the old snapshot is gone: %v", err)
	}
	other := access.NewDirectory(bytes.Repeat([]byte{8}, 32), func(context.Context) ([]access.Merchant, []access.Key, error) {
		return []access.Merchant{shop}, []access.Key{plain}, nil
	}, func() time.Time { return now })
	if err := other.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Authenticate(t.Context(), plainText); !errors.Is(err, access.ErrUnauthenticated) {
		t.Errorf("under another pepper: %v, want ErrUnauthenticated", err)
	}
	if got, ok := d.Merchant(shop.ID); !ok || got.Name != "Shop" {
		t.Errorf("Merchant = %v, %v", got, ok)
	}
}

func TestRotateAndRevoke(t *testing.T) {
	now := start
	is := issuer(&now)
	const shop = "mer_01h455vb4pex5vsknk084sn02q"
	old, oldText, err := is.CreateKey(access.KeyRequest{Merchant: shop, Mode: payment.Test, Name: "till", ExpiresAt: start.Add(90 * 24 * time.Hour), Scopes: []access.Scope{access.RefundsWrite}})
	if err != nil {
		t.Fatal(err)
	}
	now = start.Add(24 * time.Hour)
	retired, made, err := is.RotateKey(old, 2*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	next, text := made.Key, made.Text
	if text == oldText || next.ID == old.ID || next.Hash == old.Hash {
		t.Error("the successor is the old key")
	}
	if !retired.RevokedAt.Equal(now.Add(2*time.Hour)) || retired.RotatedTo != next.ID {
		t.Errorf("the old key ends %v as %q, want %v as %q", retired.RevokedAt, retired.RotatedTo, now.Add(2*time.Hour), next.ID)
	}
	if !next.ExpiresAt.Equal(now.Add(90*24*time.Hour)) || next.Name != "till" || !cmp.Equal(next.Scopes, old.Scopes) {
		t.Errorf("the successor is %+v, want the rights and the lifetime of the old one", next)
	}
	if _, _, err := is.RotateKey(retired, 0); !errors.Is(err, access.ErrIssue) {
		t.Errorf("rotating twice: %v, want ErrIssue", err)
	}
	if _, _, err := is.RotateKey(old, access.MaxOverlap+1); !errors.Is(err, access.ErrIssue) {
		t.Errorf("overlap over the limit: %v, want ErrIssue", err)
	}
	if got := access.RevokeKey(retired, now); !got.RevokedAt.Equal(now) {
		t.Errorf("revoking in the overlap ends at %v, want %v", got.RevokedAt, now)
	}
	if got := access.RevokeKey(access.Key{RevokedAt: start}, now); !got.RevokedAt.Equal(start) {
		t.Errorf("revoking again moves the time to %v", got.RevokedAt)
	}
}

func TestCreateKeyRefuses(t *testing.T) {
	now := start
	good := access.KeyRequest{Merchant: "mer_01h455vb4pex5vsknk084sn02q", Mode: payment.Test}
	tests := []struct {
		name   string
		change func(*access.KeyRequest)
	}{
		{"no merchant", func(r *access.KeyRequest) { r.Merchant = "" }},
		{"no mode", func(r *access.KeyRequest) { r.Mode = "" }},
		{"past expiry", func(r *access.KeyRequest) { r.ExpiresAt = start }},
		{"unknown scope", func(r *access.KeyRequest) { r.Scopes = []access.Scope{"payments:*"} }},
		{"scope twice", func(r *access.KeyRequest) { r.Scopes = []access.Scope{access.EventsRead, access.EventsRead} }},
		{"long name", func(r *access.KeyRequest) { r.Name = strings.Repeat("ä", 101) }},
		{"control character", func(r *access.KeyRequest) { r.Name = "a\nb" }},
		{"card number as name", func(r *access.KeyRequest) { r.Name = "4242 4242 4242 4242" }},
	}
	if _, _, err := issuer(&now).CreateKey(good); err != nil {
		t.Fatalf("the good request: %v", err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := good
			tt.change(&r)
			if _, text, err := issuer(&now).CreateKey(r); !errors.Is(err, access.ErrIssue) || text != "" {
				t.Errorf("CreateKey = %v, want ErrIssue", err)
			}
		})
	}
}

func FuzzParseKey(f *testing.F) {
	good, err := access.NewSecret(rand.Reader, knownID, payment.Test)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("")
	f.Add("pur_live_")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := access.ParseKey(text)
		if err != nil {
			if len(text) > 12 && strings.Contains(err.Error(), text[9:]) {
				t.Errorf("the error quotes the key: %v", err)
			}
			return
		}
		if !payment.IsID(payment.PrefixKey, got.ID) || !strings.HasPrefix(text, "pur_"+string(got.Mode)+"_"+got.ID[4:]+"_") {
			t.Errorf("ParseKey(%q) = %v %v", text, got.ID, got.Mode)
		}
		if text != withChecksum(text[:len(text)-6]) {
			t.Errorf("ParseKey took %q in spite of its checksum", text)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	now := start
	is := issuer(&now)
	shop, _ := is.CreateMerchant("Shop")
	key, text, err := is.CreateKey(access.KeyRequest{Merchant: shop.ID, Mode: payment.Test})
	if err != nil {
		b.Fatal(err)
	}
	d := access.NewDirectory(pepper, func(context.Context) ([]access.Merchant, []access.Key, error) {
		return []access.Merchant{shop}, []access.Key{key}, nil
	}, func() time.Time { return now })
	if err := d.Refresh(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Authenticate(b.Context(), text); err != nil {
			b.Fatal(err)
		}
	}
}

// While a node may have missed a change, the store is asked about each key, and
// nobody is let in where it cannot be.
func TestDistrust(t *testing.T) {
	now := start
	is := issuer(&now)
	merchant, err := is.CreateMerchant("a")
	if err != nil {
		t.Fatal(err)
	}
	old, text, err := is.CreateKey(access.KeyRequest{Merchant: merchant.ID, Mode: payment.Test})
	if err != nil {
		t.Fatal(err)
	}
	revoked := old
	revoked.RevokedAt = now
	for _, tt := range []struct {
		name    string
		current bool
		m       access.Merchant
		k       access.Key
		lookup  error
		want    error
	}{
		{"current: the snapshot is believed", true, merchant, revoked, nil, nil},
		{"revoked elsewhere", false, merchant, revoked, nil, access.ErrUnauthenticated},
		{"still good", false, merchant, old, nil, nil},
		{"gone", false, access.Merchant{}, access.Key{}, nil, access.ErrUnauthenticated},
		{"its merchant is gone", false, access.Merchant{}, old, nil, access.ErrUnauthenticated},
		{"the store is away", false, merchant, old, errors.New("away"), access.ErrNotLoaded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := access.NewDirectory(pepper, func(context.Context) ([]access.Merchant, []access.Key, error) {
				return []access.Merchant{merchant}, []access.Key{old}, nil
			}, func() time.Time { return now })
			d.Distrust(func() bool { return tt.current }, func(_ context.Context, id string) (access.Merchant, access.Key, error) {
				if id != old.ID {
					t.Errorf("looked up %q, want %q", id, old.ID)
				}
				return tt.m, tt.k, tt.lookup
			})
			if err := d.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Authenticate(t.Context(), text); !errors.Is(err, tt.want) {
				t.Errorf("got error %v, want %v", err, tt.want)
			}
		})
	}
}

// A key that was made elsewhere a moment ago is good here, whether or not the news has
// come; one that claims to be older is not worth a look.
func TestYoungKey(t *testing.T) {
	now := start
	is := issuer(&now)
	merchant, err := is.CreateMerchant("a")
	if err != nil {
		t.Fatal(err)
	}
	key, text, err := is.CreateKey(access.KeyRequest{Merchant: merchant.ID, Mode: payment.Test})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		age    time.Duration
		k      access.Key
		lookup error
		looks  int
		want   error
	}{
		{"made just now", 0, key, nil, 1, nil},
		{"made a while ago", 9 * time.Second, key, nil, 1, nil},
		{"by a clock that is ahead", -9 * time.Second, key, nil, 1, nil},
		{"made up", 0, access.Key{}, nil, 1, access.ErrUnauthenticated},
		{"the store is away", 0, key, errors.New("away"), 1, access.ErrNotLoaded},
		{"old", 10 * time.Second, key, nil, 0, access.ErrUnauthenticated},
		{"of the future", -10 * time.Second, key, nil, 0, access.ErrUnauthenticated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			looks := 0
			d := access.NewDirectory(pepper, func(context.Context) ([]access.Merchant, []access.Key, error) {
				return nil, nil, nil
			}, func() time.Time { return start.Add(tt.age) })
			d.Distrust(func() bool { return true }, func(context.Context, string) (access.Merchant, access.Key, error) {
				looks++
				return merchant, tt.k, tt.lookup
			})
			if err := d.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Authenticate(t.Context(), text); !errors.Is(err, tt.want) || looks != tt.looks {
				t.Errorf("got error %v and %d looks, want %v and %d", err, looks, tt.want, tt.looks)
			}
		})
	}
}
