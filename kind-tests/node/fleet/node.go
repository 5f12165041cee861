package fleet

import (
	"context"
	"encoding/json"
	"log"
	"maps"
	"runtime"
	"time"

	coordination "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"diolkos.dev/kind-tests/node/config"
)

const (
	// The controller manager takes a node for lost 50 s after its last lease.
	leaseEvery   = 10 * time.Second
	leaseSeconds = 40
)

// capacity is what every node claims to have. Nothing is measured or limited: the scheduler shall
// never be what a test waits for.
func capacity() v1.ResourceList {
	return v1.ResourceList{
		v1.ResourceCPU:              resource.MustParse("64"),
		v1.ResourceMemory:           resource.MustParse("256Gi"),
		v1.ResourceEphemeralStorage: resource.MustParse("256Gi"),
		v1.ResourcePods:             resource.MustParse("1000"),
	}
}

func nodeObject(node *config.Node, now metav1.Time) *v1.Node {
	labels := map[string]string{
		v1.LabelHostname:   node.Name,
		v1.LabelOSStable:   "linux",
		v1.LabelArchStable: runtime.GOARCH,
	}
	if node.Region != "" {
		labels[v1.LabelTopologyRegion] = node.Region
	}
	if node.Zone != "" {
		labels[v1.LabelTopologyZone] = node.Zone
	}
	maps.Copy(labels, node.Labels)
	object := &v1.Node{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, Labels: labels},
		Status: v1.NodeStatus{
			Capacity:    capacity(),
			Allocatable: capacity(),
			NodeInfo: v1.NodeSystemInfo{
				OperatingSystem: "linux", Architecture: runtime.GOARCH,
				KubeletVersion: "v1.36.3-diolkos-node", ContainerRuntimeVersion: "diolkos://1",
			},
			DaemonEndpoints: v1.NodeDaemonEndpoints{KubeletEndpoint: v1.DaemonEndpoint{Port: int32(node.Port)}},
			Addresses:       []v1.NodeAddress{{Type: v1.NodeHostName, Address: node.Name}},
		},
	}
	for _, address := range node.Addresses {
		object.Status.Addresses = append(object.Status.Addresses,
			v1.NodeAddress{Type: v1.NodeInternalIP, Address: address.String()})
	}
	for kind, status := range map[v1.NodeConditionType]v1.ConditionStatus{
		v1.NodeReady: v1.ConditionTrue, v1.NodeMemoryPressure: v1.ConditionFalse,
		v1.NodeDiskPressure: v1.ConditionFalse, v1.NodePIDPressure: v1.ConditionFalse,
	} {
		object.Status.Conditions = append(object.Status.Conditions, v1.NodeCondition{
			Type: kind, Status: status, Reason: "NodeProgram",
			LastHeartbeatTime: now, LastTransitionTime: now,
		})
	}
	return object
}

// register makes the Node object, or makes one of an earlier run ours, and says that it is ready.
func (a *api) register(ctx context.Context, node *config.Node) error {
	ctx, stop := context.WithTimeout(ctx, requestMax)
	defer stop()
	object := nodeObject(node, metav1.Now())
	nodes := a.client.CoreV1().Nodes()
	_, err := nodes.Create(ctx, object, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	labels, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": object.Labels}})
	if err != nil {
		return err
	}
	if _, err := nodes.Patch(ctx, node.Name, types.StrategicMergePatchType, labels, metav1.PatchOptions{}); err != nil {
		return err
	}
	status, err := json.Marshal(map[string]any{"status": object.Status})
	if err != nil {
		return err
	}
	// A strategic patch would merge addresses by their type, of which two have the same.
	_, err = nodes.Patch(ctx, node.Name, types.MergePatchType, status, metav1.PatchOptions{}, "status")
	return err
}

// keepLease says every few seconds that the node is alive; if the controller manager took it for
// lost meanwhile, it is registered anew.
func (a *api) keepLease(ctx context.Context, node *config.Node) {
	for {
		if err := a.renewLease(ctx, node); err != nil && ctx.Err() == nil {
			log.Printf("node %s: renewing its lease: %v", node.Name, err)
		}
		if err := a.stayReady(ctx, node); err != nil && ctx.Err() == nil {
			log.Printf("node %s: staying ready: %v", node.Name, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(leaseEvery):
		}
	}
}

func (a *api) renewLease(ctx context.Context, node *config.Node) error {
	ctx, stop := context.WithTimeout(ctx, requestMax)
	defer stop()
	seconds, now := int32(leaseSeconds), metav1.NowMicro()
	leases := a.client.CoordinationV1().Leases(v1.NamespaceNodeLease)
	lease := &coordination.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, Namespace: v1.NamespaceNodeLease},
		Spec: coordination.LeaseSpec{
			HolderIdentity: &node.Name, LeaseDurationSeconds: &seconds, RenewTime: &now,
		},
	}
	_, err := leases.Create(ctx, lease, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	patch, err := json.Marshal(map[string]any{"spec": lease.Spec})
	if err != nil {
		return err
	}
	_, err = leases.Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

func (a *api) stayReady(ctx context.Context, node *config.Node) error {
	ctx, stop := context.WithTimeout(ctx, requestMax)
	defer stop()
	object, err := a.client.CoreV1().Nodes().Get(ctx, node.Name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if err == nil {
		for _, condition := range object.Status.Conditions {
			if condition.Type == v1.NodeReady && condition.Status == v1.ConditionTrue {
				return nil
			}
		}
	}
	return a.register(ctx, node)
}
