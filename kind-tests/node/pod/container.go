package pod

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"diolkos.dev/kind-tests/node/box"
	"diolkos.dev/kind-tests/node/logs"
)

// container is one of a pod's, over all its starts. What is in its view, and box, is guarded by the
// pod's mu.
type container struct {
	view
	pod  *Pod
	said *v1.Container
	box  *box.Box
	// log is that of the current or last start, starts how many there were.
	log    string
	before string
	starts int32
	begun  bool
	// attempted is closed when the first start, its hook included, is behind it, however it went.
	attempted     chan struct{}
	attemptedOnce sync.Once
	// over is closed when it will not start again.
	over chan struct{}
}

// Exit codes and reasons are those of a kubelet with containerd.
const (
	codeNotStarted = 128
	reasonWaitInit = "PodInitializing"
	reasonCreating = "ContainerCreating"
	reasonCrash    = "CrashLoopBackOff"
)

func newContainers(p *Pod) []*container {
	var all []*container
	add := func(said *v1.Container, k kind, statuses []v1.ContainerStatus) {
		c := &container{
			view: view{name: said.Name, image: said.Image, kind: k},
			pod:  p, said: said, attempted: make(chan struct{}), over: make(chan struct{}),
		}
		c.state.Waiting = &v1.ContainerStateWaiting{Reason: reasonCreating}
		if len(p.object.Spec.InitContainers) > 0 {
			c.state.Waiting.Reason = reasonWaitInit
		}
		for _, earlier := range statuses {
			// This program was started anew: what ran before has ended with it.
			if earlier.Name == said.Name && earlier.ContainerID != "" {
				c.restarts, c.starts = earlier.RestartCount+1, earlier.RestartCount+1
			}
		}
		all = append(all, c)
	}
	spec := &p.object.Spec
	for i := range spec.InitContainers {
		said, k := &spec.InitContainers[i], initial
		if or(said.RestartPolicy, "") == v1.ContainerRestartPolicyAlways {
			k = sidecar
		}
		add(said, k, p.object.Status.InitContainerStatuses)
	}
	for i := range spec.Containers {
		add(&spec.Containers[i], main, p.object.Status.ContainerStatuses)
	}
	return all
}

// run starts the container again and again, until it is done or the pod shall stop.
func (c *container) run() {
	p := c.pod
	p.mu.Lock()
	c.begun = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		c.view.over = true
		p.changed()
		p.mu.Unlock()
		close(c.over)
		c.attempt()
	}()
	first, most := time.Duration(p.world.Config.Backoff.First), time.Duration(p.world.Config.Backoff.Max)
	var wait time.Duration
	for {
		started := time.Now()
		code, ran := c.once()
		c.attempt()
		if !ran || p.work.Err() != nil || !c.again(code) {
			return
		}
		// One that ran for long may fail anew at once.
		if time.Since(started) > 2*most {
			wait = 0
		}
		if wait > 0 {
			message := fmt.Sprintf("back-off %s restarting failed container", wait)
			p.event(v1.EventTypeWarning, "BackOff", message+" "+c.name)
			c.waits(reasonCrash, message)
			if !pause(p.work, wait) {
				return
			}
		}
		wait = min(max(first, 2*wait), most)
		p.mu.Lock()
		c.restarts++
		p.mu.Unlock()
	}
}

// again says whether a container that ended with `code` is to be started again.
func (c *container) again(code int) bool {
	policy := c.pod.Object().Spec.RestartPolicy
	switch {
	case c.kind == sidecar:
		return true
	case c.kind == initial || policy == v1.RestartPolicyOnFailure:
		return code != 0 && policy != v1.RestartPolicyNever
	}
	return policy != v1.RestartPolicyNever
}

// once is one start, and the life that follows. It returns false if the pod is to stop before.
func (c *container) once() (int, bool) {
	p := c.pod
	spec, ok := c.prepare()
	if !ok {
		return 0, false
	}
	journal, err := c.begin(spec)
	if err != nil {
		p.event(v1.EventTypeWarning, "Failed", fmt.Sprintf("container %s: %v", c.name, err))
		c.ended(codeNotStarted, "StartError", err.Error())
		return codeNotStarted, true
	}
	running := c.running()
	if p.work.Err() != nil {
		running.Kill()
	}
	p.event(v1.EventTypeNormal, "Started", "Started container "+c.name)
	alive, die := context.WithCancel(context.Background())
	go func() {
		<-running.Done
		die()
	}()
	if c.hook(alive) {
		c.watch(alive)
	}
	c.attempt()
	<-running.Done
	if err := journal.Close(); err != nil {
		p.trouble("closing the log of "+c.name, err)
	}
	code, reason := running.ExitCode(), "Completed"
	if code != 0 {
		reason = "Error"
	}
	c.ended(code, reason, c.lastWords(code))
	return code, true
}

// begin starts the box.
func (c *container) begin(spec *box.Spec) (*logs.Writer, error) {
	p := c.pod
	p.mu.Lock()
	c.before, c.log = c.log, p.record.Log(c.name, c.starts)
	c.starts++
	p.mu.Unlock()
	journal, err := logs.Create(c.log)
	if err != nil {
		return nil, err
	}
	started, err := startBox(p, spec, journal)
	if err == nil {
		if err = p.record.SetBox(c.name, started.Process()); err != nil {
			started.Kill()
		}
	}
	if err != nil {
		return nil, errors.Join(err, journal.Close())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c.box = started
	c.id = fmt.Sprintf("diolkos://%s/%s/%d", p.object.UID, c.name, c.starts-1)
	if c.state.Terminated != nil {
		c.last = c.state
	}
	c.state = v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: metav1.Now()}}
	p.changed()
	return journal, nil
}

// startBox gives the box pipes into the log, and keeps none of their ends.
func startBox(p *Pod, spec *box.Spec, journal *logs.Writer) (*box.Box, error) {
	stdout, err := journal.Pipe("stdout")
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	stderr, err := journal.Pipe("stderr")
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	return box.Start(p.world.Parent, p.space.File, spec, stdout, stderr)
}

func (c *container) ended(code int, reason, message string) {
	p := c.pod
	p.mu.Lock()
	defer p.mu.Unlock()
	term := &v1.ContainerStateTerminated{
		ExitCode: int32(code), Reason: reason, Message: message,
		FinishedAt: metav1.Now(), ContainerID: c.id,
	}
	if running := c.state.Running; running != nil {
		term.StartedAt = running.StartedAt
	}
	c.state = v1.ContainerState{Terminated: term}
	c.started, c.ready = false, c.kind == initial && code == 0
	c.box = nil
	if err := p.record.SetBox(c.name, 0); err != nil {
		p.world.API.Event(p.object, v1.EventTypeWarning, "Failed", err.Error())
	}
	p.changed()
}

// waits says why the container is not running.
func (c *container) waits(reason, message string) {
	p := c.pod
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.state.Terminated != nil {
		c.last = c.state
	}
	waiting := &v1.ContainerStateWaiting{Reason: reason, Message: message}
	if c.state.Waiting != nil && *c.state.Waiting == *waiting {
		return
	}
	c.state = v1.ContainerState{Waiting: waiting}
	p.changed()
}

// running is the container's box, nil if there is none.
func (c *container) running() *box.Box {
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	return c.box
}

func (c *container) succeeded() bool {
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	return c.state.Terminated != nil && c.state.Terminated.ExitCode == 0
}

func (c *container) attempt() { c.attemptedOnce.Do(func() { close(c.attempted) }) }

// find returns a container of the pod by its name; with no name the first main one.
func (p *Pod) find(name string) (*container, error) {
	for _, c := range p.containers {
		if c.name == name || name == "" && c.kind == main {
			return c, nil
		}
	}
	return nil, fmt.Errorf("pod %s has no container %q", p.name(), name)
}

var errNotRunning = errors.New("the container is not running")
