package netns

import (
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"sync"
)

// Pool hands out pods' addresses: the n-th of every range together, so that what one sees of a pod
// in one family tells it in the other.
type Pool struct {
	mu     sync.Mutex
	ranges []netip.Prefix
	size   uint32
	next   uint32
	taken  map[uint32]struct{}
}

// The network's own address and the first host's, which some take for a gateway, stay free.
const firstIndex = 2

// NewPool makes a pool of ranges of different families.
func NewPool(ranges []netip.Prefix) *Pool {
	size := uint32(math.MaxUint32)
	for _, r := range ranges {
		if bits := r.Addr().BitLen() - r.Bits(); bits < 32 {
			// Without the last, IPv4's broadcast address.
			size = min(size, 1<<bits-1)
		}
	}
	return &Pool{ranges: ranges, size: size, next: firstIndex, taken: map[uint32]struct{}{}}
}

// Take returns an index that is free, and its addresses in the order of the ranges. Addresses given
// back are taken again as late as possible: who still knows them must not meet another pod there.
func (p *Pool) Take() (uint32, []netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for tries := uint32(0); tries < p.size; tries++ {
		index := p.next
		if p.next++; p.next >= p.size {
			p.next = firstIndex
		}
		if _, ok := p.taken[index]; ok || index >= p.size {
			continue
		}
		p.taken[index] = struct{}{}
		var addresses []netip.Addr
		for _, r := range p.ranges {
			addresses = append(addresses, nth(r, index))
		}
		return index, addresses, nil
	}
	return 0, nil, errors.New("no pod address is free; give podCIDRs a wider range")
}

// Give takes an index back.
func (p *Pool) Give(index uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.taken, index)
}

func nth(r netip.Prefix, index uint32) netip.Addr {
	bytes := r.Masked().Addr().AsSlice()
	tail := bytes[len(bytes)-4:]
	binary.BigEndian.PutUint32(tail, binary.BigEndian.Uint32(tail)+index)
	address, _ := netip.AddrFromSlice(bytes)
	return address
}
