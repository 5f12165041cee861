package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestConfigIsReadWithItsDefaults(t *testing.T) {
	c, err := Read(write(t, `{"cluster": "oslo", "kubeconfig": "k", "state": "/s", "images": "i",
		"podCIDRs": ["10.244.0.0/16", "fd00:244::/64"], "backoff": {"first": "1s", "max": "2s"},
		"nodes": [{"name": "a", "addresses": ["10.9.0.1"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Nodes[0].Port != 10250 || c.ClusterDomain != "cluster.local" {
		t.Errorf("defaults are missing: %+v", c)
	}
	if time.Duration(c.Backoff.Max) != 2*time.Second {
		t.Errorf("backoff is %v", c.Backoff)
	}
}

func TestConfigThatCannotWorkIsRefused(t *testing.T) {
	for _, test := range []struct{ text, says string }{
		{`{"clutser": "oslo"}`, "unknown field"},
		{`{"kubeconfig": "k", "state": "s", "images": "i"}`, "no nodes"},
		{base(`"podCIDRs": ["10.0.0.0/8", "10.1.0.0/16"]`), "one family"},
		{base(`"podCIDRs": ["10.0.0.0/8"], "backoff": {"first": "2s", "max": "1s"}`), "backoff"},
		{strings.Replace(base(`"podCIDRs": ["10.0.0.0/8"]`), "10.9.0.2", "10.9.0.1", 1), "both serve"},
	} {
		_, err := Read(write(t, test.text))
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, expected %q", test.text, err, test.says)
		}
	}
}

func TestImagesAreFoundByReferenceAndTheFirstMatchCounts(t *testing.T) {
	path := write(t, `[{"name": "r.io:5000/diolkos", "binary": "/bin/diolkos"},
		{"name": "diolkos/*", "binary": "/bin/true", "at": "/entry"}, {"name": "tool:1"}]`)
	for _, test := range []struct{ reference, at string }{
		{"r.io:5000/diolkos", "/usr/local/bin/diolkos"},
		{"r.io:5000/diolkos:v1", "/usr/local/bin/diolkos"},
		{"r.io:5000/diolkos@sha256:00", "/usr/local/bin/diolkos"},
		{"diolkos/primary:dev", "/entry"},
		{"tool:1", ""},
	} {
		image, err := FindImage(path, test.reference)
		if err != nil || image.At != test.at {
			t.Errorf("%s: %+v, %v", test.reference, image, err)
		}
	}
	for _, reference := range []string{"tool:2", "tool", "r.io:5000/diolkos2"} {
		if image, err := FindImage(path, reference); err == nil {
			t.Errorf("%s: %+v, expected none", reference, image)
		}
	}
}

func base(more string) string {
	return `{"kubeconfig": "k", "state": "s", "images": "i", "nodes": [
		{"name": "a", "addresses": ["10.9.0.1"]}, {"name": "b", "addresses": ["10.9.0.2"]}], ` + more + `}`
}

func write(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "file.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
