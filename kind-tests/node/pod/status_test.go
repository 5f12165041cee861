package pod

import (
	"net/netip"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestThePhaseFollowsItsContainers(t *testing.T) {
	waiting := view{kind: main, state: v1.ContainerState{Waiting: &v1.ContainerStateWaiting{}}}
	runs := view{kind: main, state: v1.ContainerState{Running: &v1.ContainerStateRunning{}}}
	crashed := view{kind: main, state: waiting.state, last: terminated(1)}
	for name, test := range map[string]struct {
		moment   moment
		expected v1.PodPhase
	}{
		"nothing yet":              {moment{containers: []view{waiting}}, v1.PodPending},
		"one of two not yet":       {moment{initialised: true, containers: []view{runs, waiting}}, v1.PodPending},
		"all begun":                {moment{initialised: true, containers: []view{runs, crashed}}, v1.PodRunning},
		"done, sidecar still runs": {moment{initialised: true, containers: []view{over(main, 0), {kind: sidecar}}}, v1.PodRunning},
		"done":                     {moment{initialised: true, finished: true, containers: []view{over(sidecar, 143), over(main, 0)}}, v1.PodSucceeded},
		"one failed":               {moment{initialised: true, finished: true, containers: []view{over(main, 0), over(main, 2)}}, v1.PodFailed},
		"failed before main":       {moment{finished: true, containers: []view{over(initial, 1), waiting}}, v1.PodFailed},
		"made to end":              {moment{reason: "DeadlineExceeded", initialised: true, containers: []view{runs}}, v1.PodFailed},
	} {
		if found := test.moment.phase(); found != test.expected {
			t.Errorf("%s: %s, expected %s", name, found, test.expected)
		}
	}
}

func TestAConditionKeepsTheTimeOfItsLastChange(t *testing.T) {
	object := &v1.Pod{Spec: v1.PodSpec{ReadinessGates: []v1.PodReadinessGate{{ConditionType: "mesh"}}}}
	object.Generation = 7
	m := moment{
		network: true, initialised: true, host: []netip.Addr{netip.MustParseAddr("10.9.0.1")},
		pod:        []netip.Addr{netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("fd00::2")},
		containers: []view{{name: "side", kind: sidecar, ready: true}, {name: "app", kind: main}},
	}
	early, late := metav1.NewTime(time.Unix(100, 0)), metav1.NewTime(time.Unix(200, 0))
	first := m.status(object, &v1.PodStatus{}, early)
	if found := condition(first, v1.ContainersReady); found.Message != "containers with unready status: [app]" {
		t.Errorf("%+v", found)
	}
	m.containers[1].ready = true
	second := m.status(object, first, late)
	for kind, expected := range map[v1.PodConditionType]v1.PodCondition{
		v1.PodInitialized:  {Status: v1.ConditionTrue, LastTransitionTime: early},
		v1.ContainersReady: {Status: v1.ConditionTrue, LastTransitionTime: late},
		v1.PodReady:        {Status: v1.ConditionFalse, LastTransitionTime: early},
	} {
		found := condition(second, kind)
		if found.Status != expected.Status || found.LastTransitionTime != expected.LastTransitionTime || found.ObservedGeneration != 7 {
			t.Errorf("%s: %+v", kind, found)
		}
	}
	object.Status.Conditions = []v1.PodCondition{{Type: "mesh", Status: v1.ConditionTrue}}
	if found := condition(m.status(object, second, late), v1.PodReady); found.Status != v1.ConditionTrue {
		t.Errorf("its gate is open, but it is %+v", found)
	}
	if second.PodIP != "10.1.0.2" || len(second.PodIPs) != 2 || second.HostIP != "10.9.0.1" {
		t.Errorf("%+v", second)
	}
	if len(second.InitContainerStatuses) != 1 || len(second.ContainerStatuses) != 1 {
		t.Errorf("%+v", second)
	}
}

func over(k kind, code int32) view { return view{kind: k, over: true, state: terminated(code)} }

func terminated(code int32) v1.ContainerState {
	return v1.ContainerState{Terminated: &v1.ContainerStateTerminated{ExitCode: code}}
}

func condition(s *v1.PodStatus, kind v1.PodConditionType) v1.PodCondition {
	for _, c := range s.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return v1.PodCondition{}
}
