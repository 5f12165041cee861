// Package pod lives a pod's life: network and volumes, containers in their order, probes, and the
// end. What comes in is the pod as the API server has it; what goes out is its status, and at the
// end its deletion.
package pod

import (
	"context"
	"net/netip"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"diolkos.dev/kind-tests/node/config"
	"diolkos.dev/kind-tests/node/netns"
	"diolkos.dev/kind-tests/node/recipe"
	"diolkos.dev/kind-tests/node/record"
	"diolkos.dev/kind-tests/node/volume"
)

// API is what a pod asks of the API server.
type API interface {
	volume.Sources
	// PatchStatus and Delete are about this very pod: if there is another one of its name by now,
	// or none, nothing is done.
	PatchStatus(ctx context.Context, pod *v1.Pod, status *v1.PodStatus) error
	Delete(ctx context.Context, pod *v1.Pod) error
	Event(pod *v1.Pod, kind, reason, message string)
	// Server is the address of the API server's own service.
	Server() (host, port string, err error)
}

// World is what all pods of this program share.
type World struct {
	Config   *config.Config
	API      API
	Network  *netns.Network
	Parent   *netns.Parent
	State    *record.State
	Capacity v1.ResourceList
	DNS      recipe.DNS
}

// Pod is one pod.
type Pod struct {
	world *World
	// work ends when the pod shall stop, hurry when its time to do so is over.
	work     context.Context
	endWork  context.CancelFunc
	hurry    context.Context
	endHurry context.CancelFunc
	// Done is closed when nothing of the pod is left here.
	Done chan struct{}

	host    []netip.Addr
	record  *record.Pod
	volumes *volume.Volumes
	// stale asks for the volumes to be looked at.
	stale chan struct{}

	mu sync.Mutex
	// object is the newest known, its addresses ours.
	object     *v1.Pod
	moment     moment
	containers []*container
	space      *netns.Space
	// news is closed, and replaced, at each change.
	news chan struct{}
	// version counts changes, told how many of them the API server knows.
	version, told int
}

// New begins a pod's life on a node. `ctx` is the program's: when it ends the pod's processes do,
// and the API server is told nothing.
func New(ctx context.Context, world *World, node *config.Node, object *v1.Pod) (*Pod, error) {
	p := &Pod{
		world: world, host: node.Addresses, object: object,
		Done: make(chan struct{}), stale: make(chan struct{}, 1), news: make(chan struct{}),
	}
	p.work, p.endWork = context.WithCancel(ctx)
	p.hurry, p.endHurry = context.WithCancel(ctx)
	p.moment = moment{host: node.Addresses, started: metav1.Now()}
	if ended(object) || object.DeletionTimestamp != nil {
		// It ran before this program was started; only its deletion is left to wait for.
		go p.waitForDeletion(ctx)
		return p, nil
	}
	var err error
	if p.record, err = world.State.Pod(object.Namespace, object.Name, string(object.UID)); err != nil {
		return nil, err
	}
	folder, err := p.record.Folder("volumes")
	if err != nil {
		return nil, err
	}
	p.volumes = volume.New(folder, world.API, world.Capacity)
	p.containers = newContainers(p)
	go p.live(ctx)
	return p, nil
}

// Update tells the pod what the API server says of it now.
func (p *Pod) Update(object *v1.Pod) {
	p.mu.Lock()
	changed := object.DeepCopy()
	changed.Status.PodIP, changed.Status.PodIPs = p.object.Status.PodIP, p.object.Status.PodIPs
	changed.Status.HostIP, changed.Status.HostIPs = p.object.Status.HostIP, p.object.Status.HostIPs
	p.object = changed
	p.changed()
	p.mu.Unlock()
	p.Refresh()
	if object.DeletionTimestamp != nil {
		p.Stop(time.Duration(or(object.DeletionGracePeriodSeconds, 0)) * time.Second)
	}
}

// Stop ends the pod within a time; the shortest one said counts.
func (p *Pod) Stop(grace time.Duration) {
	p.endWork()
	time.AfterFunc(grace, p.endHurry)
}

// Refresh looks for changes of what the pod's volumes are filled from.
func (p *Pod) Refresh() {
	select {
	case p.stale <- struct{}{}:
	default:
	}
}

// Object is the pod as last known.
func (p *Pod) Object() *v1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.object
}

// changed tells whoever waits. The caller holds mu.
func (p *Pod) changed() {
	p.version++
	close(p.news)
	p.news = make(chan struct{})
}

// await waits until `condition` holds, which is called with mu held; false if `ctx` ended first.
func (p *Pod) await(ctx context.Context, condition func() bool) bool {
	for {
		p.mu.Lock()
		holds, news := condition(), p.news
		p.mu.Unlock()
		if holds {
			return true
		}
		select {
		case <-news:
		case <-ctx.Done():
			return false
		}
	}
}

func ended(object *v1.Pod) bool {
	return object.Status.Phase == v1.PodSucceeded || object.Status.Phase == v1.PodFailed
}

func or[T any](said *T, otherwise T) T {
	if said == nil {
		return otherwise
	}
	return *said
}
