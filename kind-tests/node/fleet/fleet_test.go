package fleet

import (
	"encoding/json"
	"net/netip"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"diolkos.dev/kind-tests/node/config"
)

func TestAStatusReplacesTheAddressesOfBefore(t *testing.T) {
	before := &v1.Pod{Status: v1.PodStatus{
		Reason: "Lost", PodIP: "10.1.0.9", PodIPs: []v1.PodIP{{IP: "10.1.0.9"}}, QOSClass: v1.PodQOSBestEffort,
		Conditions: []v1.PodCondition{{Type: v1.PodScheduled, Status: v1.ConditionTrue}},
	}}
	for name, test := range map[string]struct {
		status   v1.PodStatus
		expected []v1.PodIP
	}{
		"none yet": {v1.PodStatus{}, nil},
		"others":   {v1.PodStatus{PodIP: "10.1.0.2", PodIPs: []v1.PodIP{{IP: "10.1.0.2"}}}, []v1.PodIP{{IP: "10.1.0.2"}}},
	} {
		after := patched(t, before, &test.status)
		if len(after.PodIPs) != len(test.expected) || after.PodIP != test.status.PodIP || after.Reason != "" {
			t.Errorf("%s: %+v", name, after)
		}
		if after.QOSClass != v1.PodQOSBestEffort || len(after.Conditions) != 1 {
			t.Errorf("%s: what others say is gone: %+v", name, after)
		}
	}
}

// patched is what the API server makes of a status.
func patched(t *testing.T, pod *v1.Pod, status *v1.PodStatus) v1.PodStatus {
	before, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := json.Marshal(map[string]any{"status": explicit(status)})
	if err != nil {
		t.Fatal(err)
	}
	text, err := strategicpatch.StrategicMergePatch(before, patch, v1.Pod{})
	if err != nil {
		t.Fatal(err)
	}
	var after v1.Pod
	if err := json.Unmarshal(text, &after); err != nil {
		t.Fatal(err)
	}
	return after.Status
}

func TestANodeSaysWhereItIsAndHowItIsReached(t *testing.T) {
	node := &config.Node{
		Name: "one", Zone: "a", Port: 10251, Labels: map[string]string{"x": "y"},
		Addresses: []netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd00:9::1")},
	}
	object := nodeObject(node, metav1.Now())
	if object.Labels[v1.LabelTopologyZone] != "a" || object.Labels["x"] != "y" || object.Labels[v1.LabelHostname] != "one" {
		t.Errorf("%v", object.Labels)
	}
	if _, ok := object.Labels[v1.LabelTopologyRegion]; ok {
		t.Error("a region although none was said")
	}
	if len(object.Status.Addresses) != 3 || object.Status.DaemonEndpoints.KubeletEndpoint.Port != 10251 {
		t.Errorf("%+v", object.Status)
	}
}

func TestVolumesTellWhichObjectsTheyAreFilledFrom(t *testing.T) {
	pod := &v1.Pod{Spec: v1.PodSpec{Volumes: []v1.Volume{
		{VolumeSource: v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "s"}}},
		{VolumeSource: v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{Sources: []v1.VolumeProjection{
			{ConfigMap: &v1.ConfigMapProjection{LocalObjectReference: v1.LocalObjectReference{Name: "m"}}},
		}}}},
	}}}
	if !usesSecret(pod, "s") || usesSecret(pod, "m") || !usesConfigMap(pod, "m") || usesConfigMap(pod, "s") {
		t.Error("it uses the Secret s and the ConfigMap m")
	}
}
