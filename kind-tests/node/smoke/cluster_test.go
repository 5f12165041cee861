package smoke

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"diolkos.dev/kind-tests/node/netns"
)

// A cluster in the network namespace this test runs in: what kind-tests/README.md says, done.
const (
	serverURL = "https://10.9.0.1:6443"
	services  = "10.96.0.0/16,fd00:96::/112"
	pods4     = "10.244.0.0/16"
	pods6     = "fd00:244::/64"
	token     = "smoke"
)

type cluster struct {
	folder string
	parent *netns.Parent
	// running are those that were started, in order.
	running []*process
	node    *process
}

type process struct {
	name    string
	command *exec.Cmd
	ended   chan struct{}
}

// startCluster starts one whose files are in a folder, the node program and the actor among them.
func startCluster(t *testing.T, folder string) *cluster {
	c := &cluster{folder: folder}
	var err error
	if c.parent, err = netns.NewParent(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.stop(t) })
	c.addresses(t)
	kubernetes := os.Getenv(kubernetesVariable) + "/"
	c.keys(t)
	c.start(t, "etcd", os.Getenv(etcdVariable), "--data-dir", c.path("etcd"), "--unsafe-no-fsync", "--log-level", "warn")
	c.start(t, "kube-apiserver", kubernetes+"kube-apiserver",
		"--etcd-servers", "http://127.0.0.1:2379",
		"--bind-address", "0.0.0.0", "--secure-port", "6443", "--advertise-address", "10.9.0.1",
		"--cert-dir", c.path("pki"),
		"--service-cluster-ip-range", services,
		"--service-account-issuer", "https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file", c.path("account.key"),
		"--service-account-signing-key-file", c.path("account.key"),
		"--authorization-mode", "RBAC", "--token-auth-file", c.path("tokens.csv"),
		"--allow-privileged", "--kubelet-preferred-address-types", "InternalIP")
	c.eventually(t, "the API server is ready", time.Minute, func() error {
		_, err := os.Stat(c.path("pki/apiserver.crt"))
		if err == nil {
			_, err = c.try("get", "--raw", "/readyz")
		}
		return err
	})
	c.start(t, "kube-controller-manager", kubernetes+"kube-controller-manager",
		"--kubeconfig", c.path("system:kube-controller-manager"), "--root-ca-file", c.path("pki/apiserver.crt"),
		"--service-account-private-key-file", c.path("account.key"),
		"--kube-api-qps", "300", "--kube-api-burst", "500",
		"--leader-elect=false", "--secure-port", "0")
	c.start(t, "kube-scheduler", kubernetes+"kube-scheduler",
		"--kubeconfig", c.path("system:kube-scheduler"), "--leader-elect=false", "--secure-port", "0")
	c.startNode(t)
	c.eventually(t, "both nodes are there", time.Minute, func() error {
		return c.says("One Two", "get", "nodes", "-o", "jsonpath={.items[*].metadata.labels.smoke}")
	})
	c.eventually(t, "pods may be made", time.Minute, func() error {
		return c.says("default", "get", "serviceaccount", "default", "-o", "jsonpath={.metadata.name}")
	})
	c.start(t, "kube-proxy", kubernetes+"kube-proxy",
		"--kubeconfig", c.path("system:kube-proxy"), "--proxy-mode", "nftables",
		"--hostname-override", "one", "--cluster-cidr", pods4+","+pods6,
		"--conntrack-max-per-core", "0", "--conntrack-min", "0",
		"--conntrack-tcp-timeout-established", "0", "--conntrack-tcp-timeout-close-wait", "0")
	return c
}

// addresses gives the namespace what its nodes are known by. The services' ranges need a route, or
// the API server could not reach a webhook: only packets that have one are translated.
func (c *cluster) addresses(t *testing.T) {
	command := exec.Command("ip", "-batch", "-")
	command.Stdin = strings.NewReader(`link set lo up
address add 10.9.0.1/32 dev lo
address add 10.9.0.2/32 dev lo
address add fd00:9::1/128 dev lo nodad
address add fd00:9::2/128 dev lo nodad
route add 10.96.0.0/16 dev lo src 10.9.0.1
route add fd00:96::/112 dev lo src fd00:9::1
`)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
}

// keys makes the key of service accounts, and a kubeconfig for everyone who talks to the API server.
func (c *cluster) keys(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	c.write(t, "account.key", string(pem.EncodeToMemory(block)))
	var tokens string
	for user, group := range map[string]string{
		"admin": "system:masters", "node": "system:masters",
		"system:kube-controller-manager": "system:masters", "system:kube-scheduler": "", "system:kube-proxy": "",
	} {
		tokens += fmt.Sprintf("%s-%s,%s,%s,%s\n", token, user, user, user, group)
		c.write(t, user, fmt.Sprintf(`
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "%s", certificate-authority: "%s"}}]
users: [{name: u, user: {token: "%s-%s"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
`, serverURL, c.path("pki/apiserver.crt"), token, user))
	}
	c.write(t, "tokens.csv", tokens)
}

// startNode starts the node program with two nodes, in two zones.
func (c *cluster) startNode(t *testing.T) {
	nft := os.Getenv(nftVariable)
	shown := filepath.Dir(filepath.Dir(nft))
	images := []map[string]any{
		{"name": "smoke/actor", "binary": c.path(actorName())},
		{"name": "smoke/machine", "mounts": map[string]string{"/usr/local/bin/actor": c.path(actorName())}},
		{"name": "coredns", "binary": os.Getenv(corednsVariable)},
		{
			"name":   "smoke/nft",
			"mounts": map[string]string{"/opt/nft": shown},
			"env":    map[string]string{"PATH": "/opt/nft/" + filepath.Base(filepath.Dir(nft)) + ":/usr/bin:/bin"},
		},
	}
	c.write(t, "images.json", asJSON(t, images))
	c.write(t, "node.json", asJSON(t, map[string]any{
		"cluster": "smoke", "kubeconfig": c.path("node"), "state": c.path("state"), "images": c.path("images.json"),
		"podCIDRs": []string{pods4, pods6}, "clusterDNS": []string{"10.96.0.10"}, "nft": nft,
		"nodes": []map[string]any{
			{"name": "one", "region": "r", "zone": "a", "addresses": []string{"10.9.0.1", "fd00:9::1"}, "labels": map[string]string{"smoke": "One"}},
			{"name": "two", "region": "r", "zone": "b", "addresses": []string{"10.9.0.2", "fd00:9::2"}, "labels": map[string]string{"smoke": "Two"}},
		},
	}))
	c.node = c.start(t, "diolkos-node", c.path(nodeName()), "run", "--config", c.path("node.json"))
}

// start starts a program that ends when this test does, whatever happens.
func (c *cluster) start(t *testing.T, name, path string, arguments ...string) *process {
	out, err := os.OpenFile(c.path(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	command := exec.Command(path, arguments...)
	command.Stdout, command.Stderr = out, out
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// kube-proxy looks for nft by its name.
	command.Env = append(os.Environ(), "PATH="+filepath.Dir(os.Getenv(nftVariable))+":"+os.Getenv("PATH"))
	if err := c.parent.Start(nil, command); err != nil {
		t.Fatal(err)
	}
	p := &process{name: name, command: command, ended: make(chan struct{})}
	go func() {
		command.Wait()
		close(p.ended)
	}()
	c.running = append(c.running, p)
	return p
}

// stop ends all programs, the last first, and shows what they said if the test failed.
func (c *cluster) stop(t *testing.T) {
	for i := len(c.running) - 1; i >= 0; i-- {
		p := c.running[i]
		p.command.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(10 * time.Second):
			p.command.Process.Kill()
			<-p.ended
		}
	}
	if !t.Failed() {
		return
	}
	logs, _ := filepath.Glob(c.path("*.log"))
	for _, path := range logs {
		text, _ := os.ReadFile(path)
		if len(text) > 3000 {
			text = text[len(text)-3000:]
		}
		t.Logf("=== %s\n%s", filepath.Base(path), text)
	}
}

// try runs kubectl and returns what it printed.
func (c *cluster) try(arguments ...string) (string, error) {
	return c.tryWith("", arguments...)
}

func (c *cluster) tryWith(stdin string, arguments ...string) (string, error) {
	arguments = append([]string{"--kubeconfig", c.path("admin")}, arguments...)
	command := exec.Command(os.Getenv(kubernetesVariable)+"/kubectl", arguments...)
	command.Stdin = strings.NewReader(stdin)
	var out, errs strings.Builder
	command.Stdout, command.Stderr = &out, &errs
	if err := command.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w: %s%s", strings.Join(arguments[2:], " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}

func (c *cluster) kubectl(t *testing.T, arguments ...string) string {
	t.Helper()
	out, err := c.try(arguments...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// apply applies a file of testdata with words replaced.
func (c *cluster) apply(t *testing.T, file string, words ...string) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.tryWith(strings.NewReplacer(words...).Replace(string(text)), "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

// says is an error unless kubectl prints what is expected.
func (c *cluster) says(expected string, arguments ...string) error {
	out, err := c.try(arguments...)
	if err == nil && strings.TrimSpace(out) != expected {
		err = fmt.Errorf("kubectl %s says %q, expected %q", strings.Join(arguments, " "), out, expected)
	}
	return err
}

func (c *cluster) eventually(t *testing.T, what string, limit time.Duration, holds func() error) {
	t.Helper()
	started := time.Now()
	for {
		err := holds()
		if err == nil {
			t.Logf("%6.2f s until %s", time.Since(started).Seconds(), what)
			return
		}
		if time.Since(started) > limit {
			t.Fatalf("not within %s: %s: %v", limit, what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (c *cluster) path(name string) string { return filepath.Join(c.folder, name) }

func (c *cluster) write(t *testing.T, name, text string) {
	if err := os.WriteFile(c.path(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func asJSON(t *testing.T, value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
