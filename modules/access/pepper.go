package access

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"sync"
)

// MaxFormer bounds the peppers beside the current one under which keys are still
// good: each costs every call a hash.
const MaxFormer = 4

// PepperID names a pepper without telling anything of it: the first 8 characters
// of SHA-256("purser pepper id" and the pepper), in hexadecimal.
func PepperID(pepper []byte) string {
	sum := sha256.Sum256(append([]byte("purser pepper id"), pepper...))
	return hex.EncodeToString(sum[:4])
}

// hasher hashes the texts of keys under one pepper. It keeps what it has worked
// out of the pepper: a new HMAC costs as much again as the hash itself.
type hasher struct {
	id   string
	pool sync.Pool
}

func newHasher(pepper []byte) *hasher {
	h := &hasher{id: PepperID(pepper)}
	h.pool.New = func() any { return &worker{mac: hmac.New(sha256.New, pepper)} }
	return h
}

type worker struct {
	mac hash.Hash
	in  [keyLength]byte
	out [sha256.Size]byte
}

// hash is [ParsedKey.Hash].
func (h *hasher) hash(p ParsedKey) (sum [sha256.Size]byte) {
	w, _ := h.pool.Get().(*worker)
	w.mac.Reset()
	w.mac.Write(w.in[:copy(w.in[:], p.text)])
	w.mac.Sum(w.out[:0])
	sum = w.out
	clear(w.in[:]) // a pool may keep it for long
	h.pool.Put(w)
	return sum
}
