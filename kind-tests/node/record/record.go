// Package record keeps in a folder what this program has made outside it, so that whatever a crash
// leaves can be removed, and nothing else.
package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"diolkos.dev/kind-tests/node/netns"
)

// State is the folder, locked for as long as the program runs.
type State struct {
	folder string
	lock   *os.File
}

// Open locks the folder and removes what an earlier run left.
func Open(folder string) (*State, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(folder, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("%s belongs to a node program that runs; end it first", folder)
	}
	s := &State{folder: folder, lock: lock}
	return s, s.clean()
}

// Cleanup removes what an earlier run left, and the folder's content. It is to run in the network
// namespace that run was in.
func Cleanup(folder string) error {
	if _, err := os.Stat(folder); os.IsNotExist(err) {
		return nil
	}
	s, err := Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(s.path("logs")), s.Close(), os.Remove(filepath.Join(folder, "lock")))
}

// Close lets go of the folder. Logs stay, for whoever wants to know what happened.
func (s *State) Close() error { return s.lock.Close() }

func (s *State) path(elements ...string) string {
	return filepath.Join(append([]string{s.folder}, elements...)...)
}

// network is the namespace an earlier run was in, and what it had there.
type network struct {
	Namespace uint64 `json:"namespace"`
	Nft       string `json:"nft"`
}

// SetNetwork records that this program makes links and rules in the namespace it is in.
func (s *State) SetNetwork(nft string) error {
	namespace, err := netns.Identity()
	if err != nil {
		return err
	}
	text, err := json.Marshal(network{namespace, nft})
	if err != nil {
		return err
	}
	return os.WriteFile(s.path("network.json"), text, 0o644)
}

// clean undoes all records. Links and rules are removed only in the very namespace they were made
// in: others have such names too.
func (s *State) clean() error {
	var was network
	if text, err := os.ReadFile(s.path("network.json")); err == nil {
		if err := json.Unmarshal(text, &was); err != nil {
			return fmt.Errorf("%s: %w", s.path("network.json"), err)
		}
	}
	here, err := netns.Identity()
	if err != nil {
		return err
	}
	if here == was.Namespace {
		err = netns.RemoveRules(was.Nft)
	}
	return errors.Join(err, s.cleanPods(here == was.Namespace), os.RemoveAll(s.path("network.json")))
}

func (s *State) cleanPods(links bool) error {
	entries, err := os.ReadDir(s.path("pods"))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	var all error
	for _, entry := range entries {
		path := s.path("pods", entry.Name(), "record.json")
		if text, err := os.ReadFile(path); err == nil {
			var pod Pod
			if err := json.Unmarshal(text, &pod); err != nil {
				all = errors.Join(all, fmt.Errorf("%s: %w", path, err))
			} else {
				all = errors.Join(all, pod.undo(links))
			}
		}
	}
	return errors.Join(all, os.RemoveAll(s.path("pods")))
}

// Pod is what a pod has outside its folder. It can be read by whoever wants to look into a pod:
// `nsenter --net --target` one of its processes.
type Pod struct {
	Namespace string             `json:"namespace"`
	Name      string             `json:"name"`
	Addresses []string           `json:"addresses"`
	Link      string             `json:"link,omitempty"`
	Boxes     map[string]Process `json:"boxes"`

	mu     sync.Mutex
	folder string
	logs   string
}

// Process is the first process of a container. Numbers are used again; with the time it started,
// in the kernel's ticks, it is told from others.
type Process struct {
	PID     int    `json:"pid"`
	Started string `json:"started"`
}

// Pod begins the record of a pod.
func (s *State) Pod(namespace, name, uid string) (*Pod, error) {
	p := &Pod{
		Namespace: namespace, Name: name, Boxes: map[string]Process{},
		folder: s.path("pods", uid),
		logs:   s.path("logs", namespace+"_"+name+"_"+uid),
	}
	// What is in it belongs to users of several pods; whoever mounts it must get there.
	return p, errors.Join(os.MkdirAll(p.folder, 0o755), os.MkdirAll(p.logs, 0o755))
}

// Folder is a folder of the pod's own, made if need be.
func (p *Pod) Folder(elements ...string) (string, error) {
	path := filepath.Join(append([]string{p.folder}, elements...)...)
	return path, os.MkdirAll(path, 0o755)
}

// Log is where the n-th start of a container prints to.
func (p *Pod) Log(container string, start int32) string {
	return filepath.Join(p.logs, fmt.Sprintf("%s.%d.log", container, start))
}

// SetNetwork records a pod's network.
func (p *Pod) SetNetwork(space *netns.Space) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Link = space.Link
	for _, address := range space.Addresses {
		p.Addresses = append(p.Addresses, address.String())
	}
	return p.save()
}

// SetBox records a container's first process; 0 is none.
func (p *Pod) SetBox(container string, pid int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.Boxes, container)
	if pid != 0 {
		started, err := startTime(pid)
		if err != nil {
			return nil // It ended already.
		}
		p.Boxes[container] = Process{PID: pid, Started: started}
	}
	return p.save()
}

// Remove forgets the pod; its logs stay.
func (p *Pod) Remove() error { return os.RemoveAll(p.folder) }

func (p *Pod) save() error {
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(p.folder, "record.json")
	return errors.Join(os.WriteFile(path+".next", text, 0o644), os.Rename(path+".next", path))
}

func (p *Pod) undo(link bool) error {
	for _, process := range p.Boxes {
		if started, err := startTime(process.PID); err == nil && started == process.Started {
			syscall.Kill(process.PID, syscall.SIGKILL)
		}
	}
	if !link || p.Link == "" {
		return nil
	}
	return netns.RemoveLink(p.Link)
}

// startTime is the 22nd field of a process's stat; its name, in brackets, may hold anything.
func startTime(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat is not as expected", pid)
	}
	return fields[19], nil
}
