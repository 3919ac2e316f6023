package books

import "sync/atomic"

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// ids makes identifiers from a seed and a counter, without a lock. They are
// repeatable, not secret.
type ids struct {
	seed uint64
	n    atomic.Uint64
}

// idBlock is how many characters one mixed word yields: 62^10 < 2^64.
const idBlock = 10

func (s *ids) next(prefix string, n int, alphabet string) string {
	base := uint64(len(alphabet))
	at := s.n.Add(1)
	out := make([]byte, 0, len(prefix)+n)
	out = append(out, prefix...)
	for word := uint64(0); n > 0; word++ {
		x := mix(s.seed ^ mix(at<<3|word))
		for range min(n, idBlock) {
			out = append(out, alphabet[x%base])
			x /= base
		}
		n -= min(n, idBlock)
	}
	return string(out)
}

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood 2014): a bijection
// that spreads a counter over all 64 bits.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb
	return x ^ (x >> 31)
}
