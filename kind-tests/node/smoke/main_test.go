// Package smoke holds a whole cluster to what the node program promises, and shows with which flags
// the pieces fit together. It needs root and the programs that the variables below name; without
// them it says so and is skipped. `cargo xtask test node` brings them.
package smoke

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Where the programs are: Kubernetes' own in a folder, the others by themselves.
const (
	kubernetesVariable = "DIOLKOS_TEST_KUBERNETES"
	etcdVariable       = "DIOLKOS_TEST_ETCD"
	corednsVariable    = "DIOLKOS_TEST_COREDNS"
	nftVariable        = "DIOLKOS_TEST_NFT"
	// Set for the test inside its network namespace; tells it the namespace's name.
	insideVariable = "DIOLKOS_SMOKE_INSIDE"
)

func TestMain(m *testing.M) {
	if reason() != "" || os.Getenv(insideVariable) != "" {
		os.Exit(m.Run())
	}
	os.Exit(outside())
}

// reason is why the test cannot run here.
func reason() string {
	for _, variable := range []string{kubernetesVariable, etcdVariable, corednsVariable, nftVariable} {
		if os.Getenv(variable) == "" {
			return variable + " is not set; `cargo xtask test node` sets it"
		}
	}
	if os.Geteuid() != 0 {
		return "only root can make network namespaces"
	}
	return ""
}

// outside runs this very test in a network namespace made for it, and looks what is left after it.
func outside() int {
	// The test must end with this process, and the kernel goes by the thread that started it.
	runtime.LockOSThread()
	name := fmt.Sprintf("diolkos-smoke-%d", os.Getpid())
	if output, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		fmt.Printf("FAIL: making a network namespace: %v: %s\n", err, output)
		return 1
	}
	defer exec.Command("ip", "netns", "delete", name).Run()
	command := exec.Command("ip", append([]string{"netns", "exec", name, "/proc/self/exe"}, os.Args[1:]...)...)
	command.Args[4], _ = os.Executable()
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	command.Env = append(os.Environ(), insideVariable+"="+name)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := command.Run()
	inside := processesIn("/run/netns/" + name)
	if len(inside) > 0 {
		fmt.Printf("--- FAIL: processes are left in the namespace: %v\n", inside)
		return 1
	}
	if err != nil {
		return 1
	}
	return 0
}

// processesIn lists who is in a network namespace.
func processesIn(path string) []string {
	var wanted syscall.Stat_t
	if err := syscall.Stat(path, &wanted); err != nil {
		return []string{err.Error()}
	}
	var found []string
	spaces, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, space := range spaces {
		var status syscall.Stat_t
		if syscall.Stat(space, &status) == nil && status.Ino == wanted.Ino {
			found = append(found, strings.Split(space, "/")[2])
		}
	}
	return found
}

// nodeName and actorName are unlike the names of any other program on the machine, so that what is
// left of them can be told.
func nodeName() string  { return "diolkos-node-" + os.Getenv(insideVariable) }
func actorName() string { return "actor-" + os.Getenv(insideVariable) }

// build builds a program of this module.
func build(t *testing.T, pkg, path string) {
	command := exec.Command("go", "build", "-o", path, pkg)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	started := time.Now()
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	t.Logf("%6.2f s to build %s", time.Since(started).Seconds(), pkg)
}

// left lists processes of the program at a path, links of pods, and rules, that should be gone.
func left(names ...string) error {
	var found []string
	processes, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, process := range processes {
		path, _ := os.Readlink(process)
		for _, name := range names {
			if filepath.Base(strings.TrimSuffix(path, " (deleted)")) == name {
				found = append(found, process+" "+path)
			}
		}
	}
	links, err := exec.Command("ip", "-brief", "link").Output()
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(links)) {
		if strings.HasPrefix(line, "pod") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, "/state/pods/") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	if len(found) > 0 {
		return fmt.Errorf("left: %s", strings.Join(found, "; "))
	}
	return nil
}
