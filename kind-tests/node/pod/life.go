package pod

import (
	"context"
	"fmt"
	"log"
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"diolkos.dev/kind-tests/node/netns"
)

const (
	// How long to wait before trying again what failed.
	retryEvery = time.Second
	// For what is told to the API server while it may be gone.
	farewellMax = 5 * time.Second
)

func (p *Pod) live(ctx context.Context) {
	telling, stopTelling := context.WithCancel(ctx)
	var teller sync.WaitGroup
	teller.Go(func() { p.tell(telling) })
	if p.open() && p.initialise() {
		p.runMain()
	}
	p.halt()
	p.shut()
	farewell, stop := context.WithTimeout(ctx, farewellMax)
	p.await(farewell, func() bool { return p.told == p.version })
	stop()
	stopTelling()
	teller.Wait()
	p.waitForDeletion(ctx)
}

// waitForDeletion is the end of every life. The API server deletes a pod when its node says that
// nothing of it is left.
func (p *Pod) waitForDeletion(ctx context.Context) {
	defer close(p.Done)
	deleted := func() bool { return p.object.DeletionTimestamp != nil }
	for p.await(ctx, deleted) {
		err := p.world.API.Delete(ctx, p.Object())
		if err == nil {
			break
		}
		p.trouble("deleting", err)
		pause(ctx, retryEvery)
	}
	if p.record != nil {
		if err := p.record.Remove(); err != nil {
			p.trouble("removing its folder", err)
		}
	}
}

// Forget ends a pod that the API server no longer knows.
func (p *Pod) Forget() {
	p.mu.Lock()
	if p.object.DeletionTimestamp == nil {
		now := metav1.Now()
		p.object = p.object.DeepCopy()
		p.object.DeletionTimestamp = &now
	}
	p.changed()
	p.mu.Unlock()
	p.Stop(0)
}

// open makes network and volumes, and tries until it can or the pod shall stop.
func (p *Pod) open() bool {
	for {
		err := p.openNetwork()
		if err == nil {
			break
		}
		p.event(v1.EventTypeWarning, "FailedCreatePodSandBox", err.Error())
		if !pause(p.work, retryEvery) {
			return false
		}
	}
	var said string
	for {
		err := p.volumes.Refresh(p.Object(), time.Now())
		if err == nil {
			go p.keepVolumes()
			return true
		}
		if err.Error() != said {
			said = err.Error()
			p.event(v1.EventTypeWarning, "FailedMount", said)
		}
		if !pause(p.work, retryEvery) {
			return false
		}
	}
}

func (p *Pod) openNetwork() error {
	object := p.Object()
	space := &netns.Space{Addresses: p.host}
	if !object.Spec.HostNetwork {
		sysctls := map[string]string{}
		if said := object.Spec.SecurityContext; said != nil {
			for _, sysctl := range said.Sysctls {
				sysctls[sysctl.Name] = sysctl.Value
			}
		}
		var err error
		if space, err = p.world.Network.Open(p.host, sysctls); err != nil {
			return err
		}
	}
	if err := p.record.SetNetwork(space); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.space = space
	p.moment.network, p.moment.pod = true, space.Addresses
	p.object = p.object.DeepCopy()
	addresses := p.moment.status(p.object, &v1.PodStatus{}, metav1.Now())
	p.object.Status.PodIP, p.object.Status.PodIPs = addresses.PodIP, addresses.PodIPs
	p.object.Status.HostIP, p.object.Status.HostIPs = addresses.HostIP, addresses.HostIPs
	p.changed()
	return nil
}

func (p *Pod) keepVolumes() {
	for {
		var renew <-chan time.Time
		if at := p.volumes.RenewAt(); !at.IsZero() {
			renew = time.After(time.Until(at))
		}
		select {
		case <-p.hurry.Done():
			return
		case <-p.Done:
			return
		case <-p.stale:
		case <-renew:
		}
		if err := p.volumes.Refresh(p.Object(), time.Now()); err != nil {
			p.trouble("keeping its volumes", err)
			pause(p.hurry, retryEvery)
			p.Refresh()
		}
	}
}

// initialise runs what comes before the main containers; false if they shall not start.
func (p *Pod) initialise() bool {
	for _, c := range p.containers {
		switch c.kind {
		case initial:
			go c.run()
			select {
			case <-c.over:
			case <-p.work.Done():
				return false
			}
			if !c.succeeded() {
				return false
			}
		case sidecar:
			go c.run()
			if !p.await(p.work, func() bool { return c.started }) {
				return false
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moment.initialised = true
	p.changed()
	return true
}

// runMain starts the main containers, each after the hook of the one before, and waits until all
// are over or the pod shall stop.
func (p *Pod) runMain() {
	if seconds := p.Object().Spec.ActiveDeadlineSeconds; seconds != nil {
		deadline := time.AfterFunc(time.Duration(*seconds)*time.Second, func() {
			p.fail("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
		})
		defer deadline.Stop()
	}
	for _, c := range p.containers {
		if c.kind == main {
			go c.run()
			select {
			case <-c.attempted:
			case <-p.work.Done():
				return
			}
		}
	}
	for _, c := range p.containers {
		if c.kind == main {
			select {
			case <-c.over:
			case <-p.work.Done():
				return
			}
		}
	}
}

func (p *Pod) fail(reason, message string) {
	p.mu.Lock()
	p.moment.reason, p.moment.message = reason, message
	p.changed()
	p.mu.Unlock()
	p.Stop(time.Duration(or(p.Object().Spec.TerminationGracePeriodSeconds, 30)) * time.Second)
}

// halt ends all containers: first the main ones together, then the sidecars, the last first.
func (p *Pod) halt() {
	p.endWork()
	var mains sync.WaitGroup
	for _, c := range p.containers {
		if c.kind != sidecar {
			mains.Go(func() { c.end(p.hurry) })
		}
	}
	mains.Wait()
	for _, c := range slices.Backward(p.containers) {
		if c.kind == sidecar {
			c.end(p.hurry)
		}
	}
}

// shut takes the network back; what the pod was stays in its status.
func (p *Pod) shut() {
	p.mu.Lock()
	space := p.space
	p.space = nil
	p.moment.network, p.moment.finished = false, true
	p.changed()
	p.mu.Unlock()
	if space != nil {
		if err := p.world.Network.Shut(space); err != nil {
			p.trouble("removing its network", err)
		}
	}
	// Nothing waits any more for a pod that ended by itself.
	p.endHurry()
}

// tell keeps the API server's idea of the pod up to date.
func (p *Pod) tell(ctx context.Context) {
	last := p.Object().Status.DeepCopy()
	for {
		p.mu.Lock()
		version, object := p.version, p.object
		p.moment.containers = nil
		for _, c := range p.containers {
			p.moment.containers = append(p.moment.containers, c.view)
		}
		status := p.moment.status(object, last, metav1.Now())
		p.mu.Unlock()
		if !equality.Semantic.DeepEqual(status, last) {
			if err := p.world.API.PatchStatus(ctx, object, status); err != nil {
				p.trouble("telling its status", err)
				if !pause(ctx, retryEvery) {
					return
				}
				continue
			}
			last = status
		}
		p.mu.Lock()
		p.told = version
		if p.version == version {
			// Whoever waits for this to be told; nothing else has changed.
			close(p.news)
			p.news = make(chan struct{})
		}
		p.mu.Unlock()
		if !p.await(ctx, func() bool { return p.version != version }) {
			return
		}
	}
}

func (p *Pod) event(kind, reason, message string) {
	p.world.API.Event(p.Object(), kind, reason, message)
	log.Printf("%s: %s: %s", p.name(), reason, message)
}

func (p *Pod) trouble(doing string, err error) {
	log.Printf("%s: %s: %v", p.name(), doing, err)
}

func (p *Pod) name() string {
	object := p.Object()
	return fmt.Sprintf("%s/%s", object.Namespace, object.Name)
}

// pause returns false if `ctx` ended first.
func pause(ctx context.Context, length time.Duration) bool {
	select {
	case <-time.After(length):
		return true
	case <-ctx.Done():
		return false
	}
}
