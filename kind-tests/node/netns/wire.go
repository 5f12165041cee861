package netns

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Pods share no segment with each other or with the node: a pod has single addresses and one way
// out, and the node a route to each. So every packet is the node's to translate, also between two
// pods, whatever the machine's bridges do. Both ends know each other's hardware address beforehand:
// nothing is asked and nothing is waited for.
const (
	podLink  = "eth0"
	gateway4 = "169.254.1.1"
	gateway6 = "fe80::1"
)

// wire is the pair of links between a pod and its node.
type wire struct {
	link     string
	pod      []netip.Addr
	node     []netip.Addr
	podMAC   net.HardwareAddr
	nodeMAC  net.HardwareAddr
	podSpace string
}

func newWire(index uint32, pod, node []netip.Addr, podSpace string) wire {
	mac := func(side byte) net.HardwareAddr {
		return net.HardwareAddr{0x02, side, byte(index >> 24), byte(index >> 16), byte(index >> 8), byte(index)}
	}
	return wire{
		link: linkName(index), pod: pod, node: node,
		podMAC: mac(1), nodeMAC: mac(0), podSpace: podSpace,
	}
}

func linkName(index uint32) string { return fmt.Sprintf("pod%d", index) }

// nodeScript makes the pair and the node's side of it, in the language of `ip -batch`.
func (w wire) nodeScript() string {
	var s strings.Builder
	fmt.Fprintf(&s, "link add %s address %s type veth peer name %s address %s netns %s\n",
		w.link, w.nodeMAC, podLink, w.podMAC, w.podSpace)
	fmt.Fprintf(&s, "link set %s up\n", w.link)
	for _, address := range w.pod {
		fmt.Fprintf(&s, "neigh replace %s lladdr %s dev %s nud permanent\n", address, w.podMAC, w.link)
		// Without a source the node would show pods whichever of its addresses comes first.
		source := ""
		if from, ok := sameFamily(w.node, address); ok {
			source = " src " + from.String()
		}
		fmt.Fprintf(&s, "route replace %s dev %s%s\n", host(address), w.link, source)
	}
	return s.String()
}

// podScript makes the pod's side.
func (w wire) podScript() string {
	var s strings.Builder
	fmt.Fprintf(&s, "link set lo up\nlink set %s up\n", podLink)
	for _, address := range w.pod {
		gateway, option, onlink := gateway4, "", " onlink"
		if address.Is6() {
			gateway, option, onlink = gateway6, " nodad", ""
		}
		fmt.Fprintf(&s, "address add %s dev %s%s\n", host(address), podLink, option)
		fmt.Fprintf(&s, "neigh replace %s lladdr %s dev %s nud permanent\n", gateway, w.nodeMAC, podLink)
		fmt.Fprintf(&s, "route add %s via %s dev %s%s\n", everything(address), gateway, podLink, onlink)
	}
	return s.String()
}

// A pod that calls a service and is itself the endpoint would get a packet from its own address,
// which the kernel takes for forged. kube-proxy masquerades those, but only for endpoints on the
// node it believes it is on; a namespace that shows several nodes needs it for all.
const hairpinTable = "diolkos_node"

func hairpinScript() string {
	return fmt.Sprintf(`table inet %[1]s
delete table inet %[1]s
table inet %[1]s {
	set hairpin4 { type ipv4_addr . ipv4_addr; }
	set hairpin6 { type ipv6_addr . ipv6_addr; }
	chain hairpin {
		type nat hook postrouting priority srcnat - 5; policy accept;
		ct status dnat ip saddr . ip daddr @hairpin4 masquerade
		ct status dnat ip6 saddr . ip6 daddr @hairpin6 masquerade
	}
}
`, hairpinTable)
}

// hairpinElements adds or deletes pods' addresses, as `verb` says.
func hairpinElements(verb string, addresses []netip.Addr) string {
	var s strings.Builder
	for _, address := range addresses {
		family := 4
		if address.Is6() {
			family = 6
		}
		fmt.Fprintf(&s, "%s element inet %s hairpin%d { %s . %s }\n", verb, hairpinTable, family, address, address)
	}
	return s.String()
}

func sameFamily(among []netip.Addr, as netip.Addr) (netip.Addr, bool) {
	for _, address := range among {
		if address.Is4() == as.Is4() {
			return address, true
		}
	}
	return netip.Addr{}, false
}

func host(address netip.Addr) netip.Prefix { return netip.PrefixFrom(address, address.BitLen()) }

func everything(as netip.Addr) string {
	if as.Is4() {
		return "0.0.0.0/0"
	}
	return "::/0"
}
