// Package config reads the one file that tells the node program what to be.
package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// Config is a cluster as its nodes see it.
type Config struct {
	// Cluster is the cluster's name, for logs.
	Cluster string `json:"cluster"`
	// Kubeconfig names the API server and who this program is to it.
	Kubeconfig string `json:"kubeconfig"`
	// State is a folder of this program's own. What it holds of an earlier run is removed.
	State string `json:"state"`
	// Images is the file that maps images to programs, read anew whenever a container starts.
	Images string `json:"images"`
	// PodCIDRs are the ranges pods get their addresses from: one, or one of each family. The first
	// family is the one status.podIP is of.
	PodCIDRs      []netip.Prefix `json:"podCIDRs"`
	ClusterDNS    []netip.Addr   `json:"clusterDNS"`
	ClusterDomain string         `json:"clusterDomain"`
	Nodes         []Node         `json:"nodes"`
	// ClientCA, when given, signs the certificates of those who may ask for logs and exec.
	ClientCA string `json:"clientCA"`
	// Nft is the program that keeps rules of packets.
	Nft     string  `json:"nft"`
	Backoff Backoff `json:"backoff"`
}

// Node is one Node object. All of them live in the network namespace this program runs in.
type Node struct {
	Name   string            `json:"name"`
	Region string            `json:"region"`
	Zone   string            `json:"zone"`
	Labels map[string]string `json:"labels"`
	// Addresses are on some interface of the namespace already; the first is where the node serves
	// logs and exec.
	Addresses []netip.Addr `json:"addresses"`
	// Port of that service.
	Port uint16 `json:"port"`
}

// Backoff is how long a container that ended waits for its next start. The first restart is at
// once, as a kubelet's is.
type Backoff struct {
	First Duration `json:"first"`
	Max   Duration `json:"max"`
}

// Duration is written as Go writes durations: "500ms".
type Duration time.Duration

// UnmarshalText makes Duration readable from JSON's strings.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}

// Read reads and checks a file, and fills in what it leaves out.
func Read(path string) (*Config, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	c := &Config{
		ClusterDomain: "cluster.local",
		Nft:           "nft",
		Backoff:       Backoff{First: Duration(500 * time.Millisecond), Max: Duration(10 * time.Second)},
	}
	if err := decoder.Decode(c); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if c.State, err = filepath.Abs(c.State); err != nil {
		return nil, err
	}
	for i := range c.Nodes {
		if c.Nodes[i].Port == 0 {
			c.Nodes[i].Port = 10250
		}
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func (c *Config) check() error {
	switch {
	case c.Kubeconfig == "" || c.State == "" || c.Images == "":
		return errors.New("kubeconfig, state and images must be given")
	case len(c.Nodes) == 0:
		return errors.New("no nodes")
	case len(c.PodCIDRs) == 0 || len(c.PodCIDRs) > 2:
		return fmt.Errorf("%d podCIDRs, expected one or one of each family", len(c.PodCIDRs))
	case len(c.PodCIDRs) == 2 && c.PodCIDRs[0].Addr().Is4() == c.PodCIDRs[1].Addr().Is4():
		return errors.New("both podCIDRs are of one family")
	case c.Backoff.First <= 0 || c.Backoff.Max < c.Backoff.First:
		return errors.New("backoff.first must be more than nothing and at most backoff.max")
	}
	taken := map[string]string{}
	for _, node := range c.Nodes {
		if node.Name == "" || len(node.Addresses) == 0 {
			return fmt.Errorf("node %q: a name and an address must be given", node.Name)
		}
		serves := netip.AddrPortFrom(node.Addresses[0], node.Port).String()
		if other, ok := taken[serves]; ok {
			return fmt.Errorf("nodes %s and %s both serve on %s", other, node.Name, serves)
		}
		taken[serves] = node.Name
	}
	return nil
}
