package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"

	"diolkos.dev/kind-tests/node/probe"
)

// hook runs what is to run right after the start; false if the container ends over it.
func (c *container) hook(alive context.Context) bool {
	if c.said.Lifecycle == nil || c.said.Lifecycle.PostStart == nil {
		return alive.Err() == nil
	}
	err := c.act(alive, c.said.Lifecycle.PostStart)
	if err != nil && alive.Err() == nil {
		c.pod.event(v1.EventTypeWarning, "FailedPostStartHook", fmt.Sprintf("container %s: %v", c.name, err))
		c.stop(c.grace(nil))
		return false
	}
	return alive.Err() == nil
}

// watch starts the container's probes. Until it has started, only the startup probe counts.
func (c *container) watch(alive context.Context) {
	if c.said.StartupProbe == nil {
		c.hasStarted(alive)
		return
	}
	go probe.Watch(alive, c.said.StartupProbe, false, c.target(), func(good bool, reason error) bool {
		if good {
			c.hasStarted(alive)
		} else {
			c.unwell("Startup", reason)
			c.stop(c.grace(c.said.StartupProbe))
		}
		return false
	})
}

func (c *container) hasStarted(alive context.Context) {
	p := c.pod
	p.mu.Lock()
	c.started = true
	c.ready = c.said.ReadinessProbe == nil
	p.changed()
	p.mu.Unlock()
	if c.said.ReadinessProbe != nil {
		go probe.Watch(alive, c.said.ReadinessProbe, false, c.target(), func(good bool, reason error) bool {
			if !good {
				c.unwell("Readiness", reason)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			// The container may have ended meanwhile.
			if good = good && alive.Err() == nil; good != c.ready {
				c.ready = good
				p.changed()
			}
			return true
		})
	}
	if c.said.LivenessProbe != nil {
		go probe.Watch(alive, c.said.LivenessProbe, true, c.target(), func(good bool, reason error) bool {
			if !good {
				c.unwell("Liveness", reason)
				c.stop(c.grace(c.said.LivenessProbe))
			}
			return good
		})
	}
}

func (c *container) unwell(which string, reason error) {
	c.pod.event(v1.EventTypeWarning, "Unhealthy", fmt.Sprintf("%s probe of %s failed: %v", which, c.name, reason))
}

func (c *container) target() probe.Target {
	return probe.Target{PodIP: c.pod.Object().Status.PodIP, Ports: c.said.Ports, Exec: c.quietly}
}

// quietly runs a command in the container; what it prints is nobody's.
func (c *container) quietly(ctx context.Context, argv []string) (int, error) {
	running := c.running()
	if running == nil {
		return 0, errNotRunning
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	return running.Exec(ctx, argv, false, [3]*os.File{null, null, null})
}

// act does what a hook says.
func (c *container) act(ctx context.Context, said *v1.LifecycleHandler) error {
	switch {
	case said.Sleep != nil:
		pause(ctx, time.Duration(said.Sleep.Seconds)*time.Second)
		return nil
	case said.HTTPGet != nil:
		return probe.Get(ctx, said.HTTPGet, c.target())
	case said.Exec != nil:
		return probe.Check(ctx, &v1.ProbeHandler{Exec: said.Exec}, c.target())
	}
	return errors.New("a hook that does nothing")
}

func (c *container) grace(said *v1.Probe) time.Duration {
	seconds := or(c.pod.Object().Spec.TerminationGracePeriodSeconds, 30)
	if said != nil {
		seconds = or(said.TerminationGracePeriodSeconds, seconds)
	}
	return time.Duration(seconds) * time.Second
}

// stop ends the current start within a time.
func (c *container) stop(grace time.Duration) {
	hurry, end := context.WithTimeout(c.pod.hurry, grace)
	defer end()
	c.quit(hurry)
}

// quit asks the container to end and returns when it has; when `hurry` ends it is made to.
func (c *container) quit(hurry context.Context) {
	running := c.running()
	if running == nil {
		return
	}
	c.pod.event(v1.EventTypeNormal, "Killing", "Stopping container "+c.name)
	if c.said.Lifecycle != nil && c.said.Lifecycle.PreStop != nil {
		if err := c.act(hurry, c.said.Lifecycle.PreStop); err != nil && hurry.Err() == nil {
			c.pod.event(v1.EventTypeWarning, "FailedPreStopHook", fmt.Sprintf("container %s: %v", c.name, err))
		}
	}
	running.Signal(c.signal())
	select {
	case <-running.Done:
	case <-hurry.Done():
		running.Kill()
		<-running.Done
	}
}

// end ends the container for good; the pod is to stop already, so that it does not start again.
func (c *container) end(hurry context.Context) {
	c.pod.mu.Lock()
	begun := c.begun
	c.pod.mu.Unlock()
	if !begun {
		return
	}
	c.quit(hurry)
	<-c.over
}

func (c *container) signal() syscall.Signal {
	if c.said.Lifecycle != nil && c.said.Lifecycle.StopSignal != nil {
		if number := unix.SignalNum(string(*c.said.Lifecycle.StopSignal)); number != 0 {
			return number
		}
	}
	return syscall.SIGTERM
}
