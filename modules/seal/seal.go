// Package seal encrypts what the store must be able to give back, such as the
// signing secrets of webhook endpoints. Whoever holds the database alone can
// neither read nor exchange them.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// KeySize is the length of a key, in bytes.
const KeySize = 32

// MaxPlain bounds what is sealed at once, in bytes.
const MaxPlain = 64 << 10

// Overhead is how much longer the sealed form is than the plain one, in bytes.
const Overhead = headerSize + nonceSize + tagSize

// A sealed form is
//
//	version (1) | key ID (4) | nonce (12) | AES-256-GCM ciphertext and tag
//
// and the additional data is the header followed by the caller's context. The
// nonce is random: by NIST SP 800-38D §8.3 one key may so seal 2^32 times.
const (
	version    = 1
	idSize     = 4
	headerSize = 1 + idSize
	nonceSize  = 12
	tagSize    = 16
)

// What the keys are derived for. A change of either makes all that was sealed
// unreadable.
const (
	infoKey = "purser seal v1: aes-256-gcm key"
	infoID  = "purser seal v1: key id"
)

// The errors of this package.
var (
	// ErrKey: a key is not [KeySize] bytes long.
	ErrKey = errors.New("a seal key is 32 bytes")
	// ErrOpen: these bytes were not sealed with this key and this context, or
	// were changed since. Which of the three is not told.
	ErrOpen = errors.New("cannot open what is sealed")
	// ErrUnknownKey is an [ErrOpen] that names its cause: it was sealed with a
	// key that the box does not have.
	ErrUnknownKey = fmt.Errorf("%w: it was sealed with another key", ErrOpen)
	// ErrTooLong: more than [MaxPlain] bytes.
	ErrTooLong = errors.New("too long to seal")
)

type keyID [idSize]byte

// Box seals with its key, and opens what was sealed with that or with a retired
// one. It is safe for concurrent use, and prints nothing of its keys.
type Box struct {
	random io.Reader
	now    keyID
	keys   map[keyID]cipher.AEAD
}

// New returns a box that seals with key. Retired keys open what was sealed
// before a rotation. A nil random is crypto/rand; another one is for tests.
func New(random io.Reader, key []byte, retired ...[]byte) (*Box, error) {
	if random == nil {
		random = rand.Reader
	}
	b := &Box{random: random, keys: map[keyID]cipher.AEAD{}}
	now, err := b.add(key)
	if err != nil {
		return nil, err
	}
	b.now = now
	for _, k := range retired {
		if _, err := b.add(k); err != nil {
			return nil, fmt.Errorf("retired: %w", err)
		}
	}
	return b, nil
}

// add derives, so that the operator's key itself encrypts nothing, and its ID
// tells nothing of it.
func (b *Box) add(key []byte) (id keyID, err error) {
	if len(key) != KeySize {
		return id, ErrKey
	}
	derived, err := hkdf.Key(sha256.New, key, nil, infoKey, KeySize)
	if err != nil {
		return id, fmt.Errorf("derive seal key: %w", err)
	}
	name, err := hkdf.Key(sha256.New, key, nil, infoID, idSize)
	if err != nil {
		return id, fmt.Errorf("derive seal key's ID: %w", err)
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return id, fmt.Errorf("seal key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return id, fmt.Errorf("seal key: %w", err)
	}
	id = keyID(name)
	b.keys[id] = aead
	return id, nil
}

// Seal encrypts plain and binds it to context, which is not part of the result:
// what was sealed in one context opens in no other. Name in it whose secret it
// is and what for, such as an endpoint's ID.
func (b *Box) Seal(plain, context []byte) ([]byte, error) {
	if len(plain) > MaxPlain {
		return nil, ErrTooLong
	}
	sealed := make([]byte, headerSize+nonceSize, len(plain)+Overhead)
	sealed[0] = version
	copy(sealed[1:], b.now[:])
	nonce := sealed[headerSize:]
	if _, err := io.ReadFull(b.random, nonce); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return b.keys[b.now].Seal(sealed, nonce, plain, additional(sealed, context)), nil
}

// Open returns what was sealed in the same context. All its errors are
// [ErrOpen].
func (b *Box) Open(sealed, context []byte) ([]byte, error) {
	if len(sealed) < Overhead || len(sealed) > MaxPlain+Overhead || sealed[0] != version {
		return nil, ErrOpen
	}
	aead := b.keys[keyID(sealed[1:headerSize])]
	if aead == nil {
		return nil, ErrUnknownKey
	}
	nonce, text := sealed[headerSize:headerSize+nonceSize], sealed[headerSize+nonceSize:]
	plain, err := aead.Open(nil, nonce, text, additional(sealed, context))
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

// Current tells whether sealed names the key that the box seals with; if not, it
// is to be sealed anew before that key is given up.
func (b *Box) Current(sealed []byte) bool {
	return len(sealed) >= headerSize && sealed[0] == version && keyID(sealed[1:headerSize]) == b.now
}

// additional joins the header, whose length is fixed, and the context.
func additional(sealed, context []byte) []byte {
	return append(append(make([]byte, 0, headerSize+len(context)), sealed[:headerSize]...), context...)
}

const redacted = "[redacted]"

// Format hides the keys from every verb.
func (*Box) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue hides the keys from slog.
func (*Box) LogValue() slog.Value { return slog.StringValue(redacted) }
