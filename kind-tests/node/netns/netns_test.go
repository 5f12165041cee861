package netns

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAddressesOfBothFamiliesGoTogetherAndComeBackLate(t *testing.T) {
	pool := NewPool([]netip.Prefix{netip.MustParsePrefix("10.1.2.0/29"), netip.MustParsePrefix("fd00:1::/64")})
	var first uint32
	for i, expected := range []string{"10.1.2.2 fd00:1::2", "10.1.2.3 fd00:1::3", "10.1.2.4 fd00:1::4"} {
		index, addresses, err := pool.Take()
		if err != nil || joined(addresses) != expected {
			t.Fatalf("%v, %v, expected %s", addresses, err, expected)
		}
		if i == 0 {
			first = index
		}
	}
	pool.Give(first)
	for _, expected := range []string{"10.1.2.5 fd00:1::5", "10.1.2.6 fd00:1::6", "10.1.2.2 fd00:1::2"} {
		if _, addresses, err := pool.Take(); err != nil || joined(addresses) != expected {
			t.Fatalf("%v, %v, expected %s", addresses, err, expected)
		}
	}
	if _, addresses, err := pool.Take(); err == nil {
		t.Fatalf("%v although the range is used up", addresses)
	}
}

func TestAWideRangeIsCountedFromItsStart(t *testing.T) {
	pool := NewPool([]netip.Prefix{netip.MustParsePrefix("fd00::ff00/96"), netip.MustParsePrefix("10.255.255.77/8")})
	if _, addresses, err := pool.Take(); err != nil || joined(addresses) != "fd00::2 10.0.0.2" {
		t.Fatalf("%v, %v", addresses, err)
	}
}

func TestAWireIsSingleAddressesAndRoutes(t *testing.T) {
	pod := []netip.Addr{netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("fd00::3")}
	node := []netip.Addr{netip.MustParseAddr("fd00:9::1"), netip.MustParseAddr("10.9.0.1")}
	w := newWire(3, pod, node, "/proc/7/fd/9")
	same(t, w.nodeScript(), `
link add pod3 address 02:00:00:00:00:03 type veth peer name eth0 address 02:01:00:00:00:03 netns /proc/7/fd/9
link set pod3 up
neigh replace 10.1.2.3 lladdr 02:01:00:00:00:03 dev pod3 nud permanent
route replace 10.1.2.3/32 dev pod3 src 10.9.0.1
neigh replace fd00::3 lladdr 02:01:00:00:00:03 dev pod3 nud permanent
route replace fd00::3/128 dev pod3 src fd00:9::1
`)
	same(t, w.podScript(), `
link set lo up
link set eth0 up
address add 10.1.2.3/32 dev eth0
neigh replace 169.254.1.1 lladdr 02:00:00:00:00:03 dev eth0 nud permanent
route add 0.0.0.0/0 via 169.254.1.1 dev eth0 onlink
address add fd00::3/128 dev eth0 nodad
neigh replace fe80::1 lladdr 02:00:00:00:00:03 dev eth0 nud permanent
route add ::/0 via fe80::1 dev eth0
`)
	same(t, hairpinElements("add", pod), `
add element inet diolkos_node hairpin4 { 10.1.2.3 . 10.1.2.3 }
add element inet diolkos_node hairpin6 { fd00::3 . fd00::3 }
`)
}

func same(t *testing.T, found, expected string) {
	t.Helper()
	if found != strings.TrimPrefix(expected, "\n") {
		t.Errorf("found\n%s\nexpected%s", found, expected)
	}
}

func joined(addresses []netip.Addr) string {
	var words []string
	for _, address := range addresses {
		words = append(words, address.String())
	}
	return strings.Join(words, " ")
}
