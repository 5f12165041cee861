package fleet

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"diolkos.dev/kind-tests/node/config"
	"diolkos.dev/kind-tests/node/netns"
	"diolkos.dev/kind-tests/node/pod"
	"diolkos.dev/kind-tests/node/recipe"
	"diolkos.dev/kind-tests/node/record"
	"diolkos.dev/kind-tests/node/serve"
)

// How long the end of all pods may take when the program ends. They are killed, not asked.
const farewellMax = 20 * time.Second

// fleet is all nodes of a cluster and the pods on them.
type fleet struct {
	world *pod.World
	api   *api
	// ctx is what pods live in.
	ctx context.Context

	mu   sync.Mutex
	pods map[types.UID]*pod.Pod
}

// Run is the node program's life. When `ctx` ends it ends all pods and returns.
func Run(ctx context.Context, c *config.Config) (err error) {
	state, err := record.Open(c.State)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	if err := state.SetNetwork(c.Nft); err != nil {
		return err
	}
	network, err := netns.NewNetwork(c.PodCIDRs, c.Nft)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, network.Close()) }()
	parent, err := netns.NewParent()
	if err != nil {
		return err
	}
	api, err := newAPI(c.Kubeconfig)
	if err != nil {
		return err
	}
	defer api.close()
	// Only for pods that want the machine's own name servers; there may be none.
	machine, _ := os.ReadFile("/etc/resolv.conf")
	f := &fleet{
		api: api, ctx: ctx, pods: map[types.UID]*pod.Pod{},
		world: &pod.World{
			Config: c, API: api, Network: network, Parent: parent, State: state, Capacity: capacity(),
			DNS: recipe.DNS{Servers: c.ClusterDNS, Domain: c.ClusterDomain, Machine: string(machine)},
		},
	}
	if err := f.serve(ctx); err != nil {
		return err
	}
	defer f.end()
	if err := f.watch(ctx); err != nil {
		return err
	}
	for i := range c.Nodes {
		if err := f.join(ctx, &c.Nodes[i]); err != nil {
			return err
		}
	}
	log.Printf("cluster %s: %d nodes are ready", c.Cluster, len(c.Nodes))
	<-ctx.Done()
	return nil
}

// join registers a node, and tries until the API server takes it.
func (f *fleet) join(ctx context.Context, node *config.Node) error {
	for {
		err := f.api.register(ctx, node)
		if err == nil {
			go f.api.keepLease(ctx, node)
			return nil
		}
		log.Printf("node %s: registering: %v", node.Name, err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func (f *fleet) serve(ctx context.Context) error {
	server, err := serve.New(f.find, f.world.Config.ClientCA)
	if err != nil {
		return err
	}
	for _, node := range f.world.Config.Nodes {
		if err := server.Listen(ctx, node.Addresses[0], node.Port); err != nil {
			return fmt.Errorf("node %s: %w", node.Name, err)
		}
	}
	return nil
}

// watch follows pods, and the objects that their volumes are filled from.
func (f *fleet) watch(ctx context.Context) error {
	factory := informers.NewSharedInformerFactory(f.api.client, 0)
	core := factory.Core().V1()
	_, pods := core.Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { f.seen(object.(*v1.Pod)) },
		UpdateFunc: func(_, object any) { f.seen(object.(*v1.Pod)) },
		DeleteFunc: func(object any) {
			if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = unknown.Obj
			}
			f.gone(object.(*v1.Pod))
		},
	})
	filled := func(object any) {
		switch found := object.(type) {
		case *v1.ConfigMap:
			f.refresh(found.Namespace, func(o *v1.Pod) bool { return usesConfigMap(o, found.Name) })
		case *v1.Secret:
			f.refresh(found.Namespace, func(o *v1.Pod) bool { return usesSecret(o, found.Name) })
		}
	}
	changes := cache.ResourceEventHandlerFuncs{
		AddFunc: filled, UpdateFunc: func(_, object any) { filled(object) },
	}
	_, maps := core.ConfigMaps().Informer().AddEventHandler(changes)
	_, secrets := core.Secrets().Informer().AddEventHandler(changes)
	factory.Start(ctx.Done())
	return errors.Join(pods, maps, secrets)
}

func (f *fleet) seen(object *v1.Pod) {
	node := f.node(object.Spec.NodeName)
	if node == nil {
		return
	}
	f.mu.Lock()
	known, ok := f.pods[object.UID]
	f.mu.Unlock()
	if ok {
		known.Update(object)
		return
	}
	begun, err := pod.New(f.ctx, f.world, node, object)
	if err != nil {
		log.Printf("%s/%s: %v", object.Namespace, object.Name, err)
		f.api.Event(object, v1.EventTypeWarning, "FailedCreatePodSandBox", err.Error())
		return
	}
	f.mu.Lock()
	f.pods[object.UID] = begun
	f.mu.Unlock()
	// It may have been told to go before this program saw it.
	begun.Update(object)
}

// gone forgets a pod, and not before: news of it may still come in after it has ended here, and must
// not begin it anew.
func (f *fleet) gone(object *v1.Pod) {
	f.mu.Lock()
	known := f.pods[object.UID]
	f.mu.Unlock()
	if known == nil {
		return
	}
	known.Forget()
	go func() {
		<-known.Done
		f.mu.Lock()
		delete(f.pods, object.UID)
		f.mu.Unlock()
	}()
}

func (f *fleet) refresh(namespace string, uses func(*v1.Pod) bool) {
	for _, p := range f.all() {
		if object := p.Object(); object.Namespace == namespace && uses(object) {
			p.Refresh()
		}
	}
}

func (f *fleet) all() []*pod.Pod {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []*pod.Pod
	for _, p := range f.pods {
		all = append(all, p)
	}
	return all
}

// find is the pod of a name; of several, which have it one after the other, the one that stays.
func (f *fleet) find(namespace, name string) serve.Pod {
	var found *pod.Pod
	for _, p := range f.all() {
		object := p.Object()
		if object.Namespace == namespace && object.Name == name && (found == nil || object.DeletionTimestamp == nil) {
			found = p
		}
	}
	if found == nil {
		return nil
	}
	return found
}

func (f *fleet) node(name string) *config.Node {
	nodes := f.world.Config.Nodes
	for i := range nodes {
		if nodes[i].Name == name {
			return &nodes[i]
		}
	}
	return nil
}

// end returns when nothing of any pod is left, or it takes too long.
func (f *fleet) end() {
	limit := time.After(farewellMax)
	for _, p := range f.all() {
		select {
		case <-p.Done:
		case <-limit:
			log.Printf("pods are left after %s", farewellMax)
			return
		}
	}
}
