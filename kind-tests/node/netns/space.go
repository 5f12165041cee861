package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Network is the node's side of all pods' networks.
type Network struct {
	pool *Pool
	nft  string
}

// Space is a pod's network namespace, or the node's own for a pod that uses its network.
type Space struct {
	// File is nil for the node's own.
	File      *os.File
	Addresses []netip.Addr
	// Link is the node's end of the wire.
	Link  string
	index uint32
}

// NewNetwork makes the namespace of this program a node's.
func NewNetwork(ranges []netip.Prefix, nft string) (*Network, error) {
	n := &Network{pool: NewPool(ranges), nft: nft}
	settings := map[string]string{"net.ipv4.ip_forward": "1"}
	if hasSix(ranges) {
		settings["net.ipv6.conf.all.forwarding"] = "1"
	}
	if err := setSysctls(settings); err != nil {
		return nil, err
	}
	return n, n.rules(hairpinScript())
}

// Close takes back what the node's namespace holds beyond its pods.
func (n *Network) Close() error {
	return RemoveRules(n.nft)
}

// Open makes a pod's namespace with its addresses. `sysctls` are those the pod asks for.
func (n *Network) Open(node []netip.Addr, sysctls map[string]string) (*Space, error) {
	index, addresses, err := n.pool.Take()
	if err != nil {
		return nil, err
	}
	settings := map[string]string{
		// As container runtimes do: ports below 1024 and ping without privileges.
		"net.ipv4.ip_unprivileged_port_start": "0",
		"net.ipv4.ping_group_range":           "0 2147483647",
	}
	if hasSix(n.pool.ranges) {
		settings["net.ipv6.conf.default.dad_transmits"] = "0"
	}
	for name, value := range sysctls {
		settings[name] = value
	}
	space := &Space{Addresses: addresses, Link: linkName(index), index: index}
	space.File, err = create(func() error { return setSysctls(settings) })
	if err != nil {
		n.pool.Give(index)
		return nil, err
	}
	path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), space.File.Fd())
	w := newWire(index, addresses, node, path)
	err = errors.Join(
		batch(w.nodeScript()),
		inside(space.File, func() error { return batch(w.podScript()) }),
		n.rules(hairpinElements("add", addresses)))
	if err != nil {
		return nil, errors.Join(err, n.Shut(space))
	}
	return space, nil
}

// Shut removes a pod's wire. Its namespace goes with its last process.
func (n *Network) Shut(space *Space) error {
	if space.File == nil {
		return nil
	}
	defer n.pool.Give(space.index)
	defer space.File.Close()
	return errors.Join(n.rules(hairpinElements("delete", space.Addresses)), RemoveLink(space.Link))
}

// Dial connects from inside a pod to the pod itself.
func (s *Space) Dial(port uint16, timeout time.Duration) (net.Conn, error) {
	var conn net.Conn
	err := inside(s.File, func() error {
		dialer := net.Dialer{Timeout: timeout}
		var err, other error
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))
		if conn, err = dialer.Dial("tcp4", address); err == nil {
			return nil
		}
		address = net.JoinHostPort("::1", strconv.Itoa(int(port)))
		if conn, other = dialer.Dial("tcp6", address); other == nil {
			return nil
		}
		return err
	})
	return conn, err
}

// RemoveRules removes the rules of this program from the namespace it is in.
func RemoveRules(nft string) error {
	return pipe(exec.Command(nft, "-f", "-"), fmt.Sprintf("table inet %[1]s\ndelete table inet %[1]s\n", hairpinTable))
}

// Identity is the namespace this program is in, as no other has it while it exists.
func Identity() (uint64, error) {
	var status unix.Stat_t
	err := unix.Stat("/proc/self/ns/net", &status)
	return status.Ino, err
}

// RemoveLink removes the node's end of a wire, and so the other one; it may be gone already.
func RemoveLink(name string) error {
	if _, err := net.InterfaceByName(name); err != nil {
		return nil
	}
	return batch("link delete " + name + "\n")
}

func (n *Network) rules(script string) error {
	return pipe(exec.Command(n.nft, "-f", "-"), script)
}

func batch(script string) error {
	return pipe(exec.Command("ip", "-batch", "-"), script)
}

func pipe(command *exec.Cmd, script string) error {
	command.Stdin = strings.NewReader(script)
	output, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s of %q", command, err, strings.TrimSpace(string(output)), script)
	}
	return nil
}

// setSysctls writes for the network namespace of the calling thread.
func setSysctls(settings map[string]string) error {
	for name, value := range settings {
		path := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
		if err := os.WriteFile(path, []byte(value), 0); err != nil {
			return fmt.Errorf("sysctl %s: %w", name, err)
		}
	}
	return nil
}

func hasSix(ranges []netip.Prefix) bool {
	for _, r := range ranges {
		if r.Addr().Is6() {
			return true
		}
	}
	return false
}
