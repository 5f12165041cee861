package smoke

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Under a loaded machine everything takes longer; what must be quick has a limit of its own.
const patience = time.Minute

func TestACluster(t *testing.T) {
	if why := reason(); why != "" {
		t.Skipf("NOT RUN, a cluster was not tested: %s", why)
	}
	folder := t.TempDir()
	build(t, "diolkos.dev/kind-tests/node", filepath.Join(folder, nodeName()))
	build(t, "diolkos.dev/kind-tests/node/smoke/actor", filepath.Join(folder, actorName()))
	started := time.Now()
	c := startCluster(t, folder)
	t.Logf("%6.2f s until the control plane and both nodes are there", time.Since(started).Seconds())
	c.apply(t, "dns.yaml")
	c.apply(t, "echo.yaml")
	c.kubectl(t, "rollout", "status", "deployment", "-n", "kube-system", "coredns", "--timeout=60s")
	c.kubectl(t, "rollout", "status", "deployment", "echo", "--timeout=60s")
	c.kubectl(t, "wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
	for _, test := range []struct {
		name string
		run  func(*testing.T, *cluster)
	}{
		{"EndpointsAreBothPodsOnBothNodes", endpoints},
		{"AServiceAnswersByNameInBothFamilies", serviceByName},
		{"APodReachesItselfThroughItsService", hairpin},
		{"LogsAndExecAndPortForward", asked},
		{"AContainerSeesWhatItsPodSays", sees},
		{"ContainersBeginAndEndInOrder", order},
		{"ATokenIsBoundToItsPod", boundToken},
		{"TheAPIServerIsReachedFromAPod", apiFromPod},
		{"AConfigMapChangesInPlace", configMap},
		{"AnUnreadyPodIsNoEndpoint", readiness},
		{"TheAPIServerCallsAWebhookInAPod", webhook},
		{"PodsEndFailAndStartAnew", lives},
		{"ADeletedPodIsGoneAtOnce", deletion},
		{"ManyPodsComeAndGo", many},
		{"NothingOutlivesTheNodeProgram", crash},
		{"NothingIsLeftAfterAnOrderlyEnd", orderlyEnd},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, c) })
	}
}

func endpoints(t *testing.T, c *cluster) {
	for _, family := range []string{"IPv4", "IPv6"} {
		c.eventually(t, family+" endpoints are ready on both nodes", patience, func() error {
			out, err := c.try("get", "endpointslices", "-l", "kubernetes.io/service-name=echo", "-o",
				`go-template={{range .items}}{{if eq .addressType "`+family+`"}}{{range .endpoints}}{{if .conditions.ready}}{{.nodeName}} {{end}}{{end}}{{end}}{{end}}`)
			if err != nil {
				return err
			}
			nodes := strings.Fields(out)
			slices.Sort(nodes)
			return expect(strings.Join(nodes, " "), "one two")
		})
	}
}

func serviceByName(t *testing.T, c *cluster) {
	for _, family := range []string{"-4", "-6"} {
		c.eventually(t, "the service answers, "+family, patience, func() error {
			out, err := c.try("exec", "client", "--", "actor", "get", family, "http://echo.default.svc.cluster.local/")
			if err == nil && !strings.HasPrefix(out, "echo-") {
				err = fmt.Errorf("%q", out)
			}
			return err
		})
	}
	// Between pods nothing changes the address of who asks.
	ip := c.kubectl(t, "get", "pod", "client", "-o", "jsonpath={.status.podIP}")
	if out := c.kubectl(t, "exec", "client", "--", "actor", "get", "-4", "http://echo/"); !strings.Contains(out, " to "+ip) {
		t.Errorf("%q, expected it to be asked from %s", out, ip)
	}
}

func hairpin(t *testing.T, c *cluster) {
	pods := strings.Fields(c.kubectl(t, "get", "pods", "-l", "app=echo", "-o", "jsonpath={.items[*].metadata.name}"))
	for _, pod := range pods {
		for _, family := range []string{"-4", "-6"} {
			seen := map[string]bool{}
			c.eventually(t, pod+" is answered by all, itself included, "+family, patience, func() error {
				out, err := c.try("exec", pod, "--", actorName(), "get", family, "http://echo/")
				if err != nil {
					t.Fatal(err)
				}
				who, _, _ := strings.Cut(out, " ")
				if seen[who] = true; len(seen) < 2 {
					return fmt.Errorf("only %v", seen)
				}
				return nil
			})
		}
	}
}

func asked(t *testing.T, c *cluster) {
	pod := strings.Fields(c.kubectl(t, "get", "pods", "-l", "app=echo", "-o", "jsonpath={.items[*].metadata.name}"))[0]
	if out := c.kubectl(t, "logs", pod); out != pod+" serves on 8080\n" {
		t.Errorf("logs are %q", out)
	}
	_, err := c.try("exec", "client", "--", "sh", "-c", "exit 7")
	if err == nil || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("a code of 7 arrived as %v", err)
	}
	if out, err := c.tryWith("typed\n", "exec", "-i", "client", "--", "cat"); err != nil || out != "typed\n" {
		t.Errorf("%q, %v", out, err)
	}
	forward := exec.Command(os.Getenv(kubernetesVariable)+"/kubectl", "--kubeconfig", c.path("admin"), "port-forward", "pod/"+pod, ":8080")
	forward.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := forward.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.parent.Start(nil, forward); err != nil {
		t.Fatal(err)
	}
	defer forward.Wait()
	defer forward.Process.Kill()
	// "Forwarding from 127.0.0.1:40123 -> 8080"
	line, err := bufio.NewReader(out).ReadString('\n')
	fields := strings.Fields(line)
	if err != nil || len(fields) < 3 {
		t.Fatalf("%q, %v", line, err)
	}
	if _, _, err := net.SplitHostPort(fields[2]); err != nil {
		t.Fatal(err)
	}
	answer, err := http.Get("http://" + fields[2])
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
}

func sees(t *testing.T, c *cluster) {
	script := `echo $(id -u):$(id -g) $IP $COLOUR; cat /etc/settings/colour; echo
		grep -c "$IP.client" /etc/hosts; grep -c ndots:5 /etc/resolv.conf; hostname
		stat -L -c %g /etc/settings/colour; grep CapEff /proc/self/status`
	ip := c.kubectl(t, "get", "pod", "client", "-o", "jsonpath={.status.podIP}")
	expected := "1337:1337 " + ip + " red\nred\n1\n1\nclient\n2000\nCapEff:\t0000000000000000\n"
	if out := c.kubectl(t, "exec", "client", "--", "sh", "-c", script); out != expected {
		t.Errorf("%q, expected %q", out, expected)
	}
}

func order(t *testing.T, c *cluster) {
	notes := t.TempDir()
	path := filepath.Join(notes, "order")
	c.apply(t, "order.yaml", "NOTES", notes)
	read := func() string {
		text, _ := os.ReadFile(path)
		return strings.ReplaceAll(string(text), "\n", ",")
	}
	c.eventually(t, "the sidecar has begun", patience, func() error { return expect(read(), "first,side begins,") })
	// It is not started until its probe says so, and what comes after it must wait.
	if err := c.says("Pending false", "get", "pod", "order", "-o", "jsonpath={.status.phase} {.status.initContainerStatuses[1].started}"); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(notes, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	c.eventually(t, "all have begun", patience, func() error { return expect(read(), "first,side begins,last,main begins,") })
	c.kubectl(t, "wait", "--for=condition=Ready", "pod/order", "--timeout=60s")
	c.kubectl(t, "delete", "pod", "order")
	if err := expect(read(), "first,side begins,last,main begins,stop,main ends,side ends,"); err != nil {
		t.Error(err)
	}
}

func boundToken(t *testing.T, c *cluster) {
	text := c.kubectl(t, "exec", "client", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")
	review := fmt.Sprintf(`{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": %q}}`, text)
	out, err := c.tryWith(review, "create", "-f", "-", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Status struct {
			Authenticated bool
			User          struct {
				Username string
				Extra    map[string][]string
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatal(err)
	}
	user := answer.Status.User
	if !answer.Status.Authenticated || user.Username != "system:serviceaccount:default:default" {
		t.Errorf("%s", out)
	}
	if found := user.Extra["authentication.kubernetes.io/pod-name"]; len(found) != 1 || found[0] != "client" {
		t.Errorf("the token is bound to %v", found)
	}
}

func apiFromPod(t *testing.T, c *cluster) {
	out := c.kubectl(t, "exec", "client", "--", "actor", "api", "/version")
	if !strings.Contains(out, `"v1.36.3"`) {
		t.Errorf("%s", out)
	}
}

func configMap(t *testing.T, c *cluster) {
	c.kubectl(t, "patch", "configmap", "settings", "-p", `{"data": {"colour": "blue"}}`)
	c.eventually(t, "the pod sees the change", patience, func() error {
		return c.says("blue", "exec", "client", "--", "cat", "/etc/settings/colour")
	})
}

func readiness(t *testing.T, c *cluster) {
	pod := strings.Fields(c.kubectl(t, "get", "pods", "-l", "app=echo", "-o", "jsonpath={.items[*].metadata.name}"))[0]
	ready := func(expected string) error {
		return c.says(expected, "get", "endpointslices", "-l", "kubernetes.io/service-name=echo", "-o",
			`go-template={{range .items}}{{range .endpoints}}{{if .conditions.ready}}+{{end}}{{end}}{{end}}`)
	}
	c.kubectl(t, "exec", pod, "--", "touch", "/tmp/unready")
	c.eventually(t, "an endpoint of each family is left", patience, func() error { return ready("++") })
	c.kubectl(t, "exec", pod, "--", "rm", "/tmp/unready")
	c.eventually(t, "all endpoints are back", patience, func() error { return ready("++++") })
}

func webhook(t *testing.T, c *cluster) {
	certificate, key := certificateFor(t, "hook.default.svc")
	c.apply(t, "hook.yaml", "CERTIFICATE", indented(certificate), "KEY", indented(key), "BUNDLE", encoded(certificate))
	c.kubectl(t, "wait", "--for=condition=Ready", "pod/hook", "--timeout=60s")
	object := `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"refuse": "%s"}}}`
	c.eventually(t, "the webhook refuses", patience, func() error {
		_, err := c.tryWith(fmt.Sprintf(object, "me"), "create", "-f", "-")
		if err == nil || !strings.Contains(err.Error(), "refused by the actor") {
			return fmt.Errorf("not refused: %v", err)
		}
		return nil
	})
	if _, err := c.tryWith(fmt.Sprintf(object, "not"), "create", "-f", "-"); err != nil {
		t.Error(err)
	}
}

func lives(t *testing.T, c *cluster) {
	c.apply(t, "lives.yaml")
	c.kubectl(t, "wait", "--for=condition=Complete", "job/task", "--timeout=60s")
	if out := c.kubectl(t, "logs", "job/task"); !strings.HasPrefix(out, "done by task-") {
		t.Errorf("the job said %q", out)
	}
	c.kubectl(t, "rollout", "status", "daemonset", "each", "--timeout=60s")
	c.eventually(t, "the failing pod was started again", patience, func() error {
		out, err := c.try("get", "pod", "crash", "-o", "jsonpath={.status.containerStatuses[0].lastState.terminated}")
		if err == nil && !(strings.Contains(out, `"exitCode":3`) && strings.Contains(out, `"message":"the reason\n"`)) {
			err = fmt.Errorf("%q", out)
		}
		return err
	})
	if out := c.kubectl(t, "logs", "crash", "--previous"); out != "attempt\n" {
		t.Errorf("its first start said %q", out)
	}
	c.kubectl(t, "wait", "--for=condition=Ready", "pod/unwell", "pod/redirect", "--timeout=60s")
	c.kubectl(t, "exec", "unwell", "--", "touch", "/tmp/ill")
	c.eventually(t, "the unwell container was started again", patience, func() error {
		return c.says("1 true", "get", "pod", "unwell", "-o",
			"jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}")
	})
	ip := c.kubectl(t, "get", "pod", "redirect", "-o", "jsonpath={.status.podIP}")
	if out := c.kubectl(t, "exec", "client", "--", "actor", "get", "-4", "http://"+ip+":9/"); !strings.HasPrefix(out, "redirect to ") {
		t.Errorf("%q", out)
	}
	if _, err := c.try("exec", "redirect", "--", "touch", "/etc/new"); err == nil {
		t.Error("a read-only root was written to")
	}
}

func deletion(t *testing.T, c *cluster) {
	started := time.Now()
	c.kubectl(t, "delete", "pod", "client")
	if took := time.Since(started); took > 3*time.Second {
		t.Errorf("deleting took %s", took)
	}
}

func many(t *testing.T, c *cluster) {
	c.kubectl(t, "create", "deployment", "many", "--image", "smoke/machine", "--replicas", "20", "--", "sleep", "infinity")
	c.kubectl(t, "rollout", "status", "deployment", "many", "--timeout=60s")
	c.kubectl(t, "delete", "deployment", "many")
	c.eventually(t, "all are gone from the API server", patience, func() error {
		return c.says("", "get", "pods", "-l", "app=many", "-o", "name")
	})
	// News of a pod that is gone must not begin it anew.
	c.eventually(t, "all are gone from the machine", patience, func() error {
		pods := strings.Fields(c.kubectl(t, "get", "pods", "-A", "-o", "jsonpath={.items[*].metadata.uid}"))
		if folders, _ := filepath.Glob(c.path("state/pods/*")); len(folders) > len(pods) {
			return fmt.Errorf("%d folders of %d pods", len(folders), len(pods))
		}
		return nil
	})
	text, err := os.ReadFile(c.path("diolkos-node.log"))
	if err != nil || strings.Contains(string(text), "FailedMount") {
		t.Errorf("a pod was begun in vain (%v)", err)
	}
}

func crash(t *testing.T, c *cluster) {
	if left(nodeName(), actorName()) == nil {
		t.Fatal("what runs is not seen; what is left would not be either")
	}
	c.node.command.Process.Kill()
	<-c.node.ended
	c.eventually(t, "all its processes and links are gone", 5*time.Second, func() error {
		return left(nodeName(), actorName())
	})
	if output, err := exec.Command(c.path(nodeName()), "cleanup", "--state", c.path("state")).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, output)
	}
	if files, _ := filepath.Glob(c.path("state/*")); len(files) > 0 {
		t.Errorf("%v is left", files)
	}
	if rules(t) {
		t.Error("its rules are left")
	}
}

func orderlyEnd(t *testing.T, c *cluster) {
	c.startNode(t)
	c.eventually(t, "pods of before are running again", patience, func() error {
		return c.says("2", "get", "deployment", "echo", "-o", "jsonpath={.status.readyReplicas}")
	})
	c.kubectl(t, "rollout", "status", "deployment", "echo", "--timeout=60s")
	c.eventually(t, "they were started anew", patience, func() error {
		return c.says("1 1", "get", "pods", "-l", "app=echo", "-o", "jsonpath={.items[*].status.containerStatuses[0].restartCount}")
	})
	// Each has one address of each family; those of before are forgotten.
	for line := range strings.Lines(c.kubectl(t, "get", "pods", "-l", "app=echo", "-o",
		`jsonpath={range .items[*]}{.status.podIP} {.status.podIPs[*].ip}{"\n"}{end}`)) {
		if words := strings.Fields(line); len(words) != 3 || words[0] != words[1] {
			t.Errorf("addresses are %q", line)
		}
	}
	c.node.command.Process.Signal(syscall.SIGTERM)
	<-c.node.ended
	if err := left(nodeName(), actorName()); err != nil {
		t.Error(err)
	}
	if code := c.node.command.ProcessState.ExitCode(); code != 0 || rules(t) {
		t.Errorf("it ended with %d, its rules are left: %v", code, rules(t))
	}
	if files, _ := filepath.Glob(c.path("state/pods/*")); len(files) > 0 {
		t.Errorf("%v is left", files)
	}
}

// rules says whether the node program's table is there.
func rules(t *testing.T) bool {
	out, err := exec.Command(os.Getenv(nftVariable), "list", "tables").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(out), "diolkos_node")
}

func expect(found, expected string) error {
	if found != expected {
		return fmt.Errorf("%q, expected %q", found, expected)
	}
	return nil
}
