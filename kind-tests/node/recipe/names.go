package recipe

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// DNS is what a cluster says about names.
type DNS struct {
	Servers []netip.Addr
	Domain  string
	// Machine is the text of the resolv.conf this program itself has.
	Machine string
}

// ResolvConf is a pod's.
func ResolvConf(pod *v1.Pod, dns DNS) string {
	policy := pod.Spec.DNSPolicy
	if policy == v1.DNSClusterFirstWithHostNet || policy == v1.DNSClusterFirst && !pod.Spec.HostNetwork {
		policy = v1.DNSClusterFirst
	} else if policy != v1.DNSNone {
		policy = v1.DNSDefault
	}
	var r resolver
	switch policy {
	case v1.DNSClusterFirst:
		for _, server := range dns.Servers {
			r.servers = append(r.servers, server.String())
		}
		service := "svc." + dns.Domain
		r.search = []string{pod.Namespace + "." + service, service, dns.Domain}
		r.options = []string{"ndots:5"}
	case v1.DNSDefault:
		r.read(dns.Machine)
	}
	r.add(pod.Spec.DNSConfig)
	return r.String()
}

type resolver struct {
	servers, search, options []string
}

func (r *resolver) read(text string) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			r.servers = append(r.servers, words[1])
		case "search":
			r.search = words[1:]
		case "options":
			r.options = append(r.options, words[1:]...)
		}
	}
}

func (r *resolver) add(said *v1.PodDNSConfig) {
	if said == nil {
		return
	}
	r.servers = append(r.servers, said.Nameservers...)
	r.search = append(r.search, said.Searches...)
	for _, option := range said.Options {
		r.options = slices.DeleteFunc(r.options, func(earlier string) bool {
			name, _, _ := strings.Cut(earlier, ":")
			return name == option.Name
		})
		if option.Value != nil {
			option.Name += ":" + *option.Value
		}
		r.options = append(r.options, option.Name)
	}
}

func (r *resolver) String() string {
	var out strings.Builder
	for _, server := range r.servers {
		fmt.Fprintf(&out, "nameserver %s\n", server)
	}
	if len(r.search) > 0 {
		fmt.Fprintf(&out, "search %s\n", strings.Join(r.search, " "))
	}
	if len(r.options) > 0 {
		fmt.Fprintf(&out, "options %s\n", strings.Join(r.options, " "))
	}
	return out.String()
}

// Hosts is a pod's hosts file.
func Hosts(pod *v1.Pod, domain string) string {
	var out strings.Builder
	out.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	name := Hostname(pod)
	if pod.Spec.Subdomain != "" {
		name = fmt.Sprintf("%s.%s.%s.svc.%s\t%s", name, pod.Spec.Subdomain, pod.Namespace, domain, name)
	}
	for _, address := range pod.Status.PodIPs {
		fmt.Fprintf(&out, "%s\t%s\n", address.IP, name)
	}
	for _, alias := range pod.Spec.HostAliases {
		fmt.Fprintf(&out, "%s\t%s\n", alias.IP, strings.Join(alias.Hostnames, "\t"))
	}
	return out.String()
}

// Hostname is a pod's; the kernel takes 63 characters.
func Hostname(pod *v1.Pod) string {
	name := pod.Name
	if pod.Spec.Hostname != "" {
		name = pod.Spec.Hostname
	}
	return strings.TrimRight(name[:min(len(name), 63)], "-.")
}
