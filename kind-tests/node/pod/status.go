package pod

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// kind is how a container takes part in its pod's life.
type kind int

const (
	// initial runs before the main ones, and ends.
	initial kind = iota
	// sidecar starts among the initial ones and stays until the main ones are done.
	sidecar
	main
)

// view is a container at a moment.
type view struct {
	name     string
	image    string
	id       string
	kind     kind
	state    v1.ContainerState
	last     v1.ContainerState
	restarts int32
	started  bool
	ready    bool
	// over says that it will not start again.
	over bool
}

// moment is all of a pod that its status is made of.
type moment struct {
	containers  []view
	network     bool
	initialised bool
	// finished says that no container runs and none will.
	finished bool
	// reason and message tell why the pod was failed as a whole.
	reason  string
	message string
	started metav1.Time
	host    []netip.Addr
	pod     []netip.Addr
}

// status is what the API server is told. `before` is what it was told last: conditions keep the
// time of their last change.
func (m *moment) status(object *v1.Pod, before *v1.PodStatus, now metav1.Time) *v1.PodStatus {
	s := &v1.PodStatus{
		ObservedGeneration: object.Generation,
		Phase:              m.phase(),
		Reason:             m.reason,
		Message:            m.message,
		StartTime:          &m.started,
	}
	for _, address := range m.host {
		s.HostIPs = append(s.HostIPs, v1.HostIP{IP: address.String()})
	}
	s.HostIP = s.HostIPs[0].IP
	for _, address := range m.pod {
		s.PodIPs = append(s.PodIPs, v1.PodIP{IP: address.String()})
	}
	if len(s.PodIPs) > 0 {
		s.PodIP = s.PodIPs[0].IP
	}
	for i := range m.containers {
		c := &m.containers[i]
		if c.kind == main {
			s.ContainerStatuses = append(s.ContainerStatuses, c.status())
		} else {
			s.InitContainerStatuses = append(s.InitContainerStatuses, c.status())
		}
	}
	for _, condition := range m.conditions(object) {
		condition.ObservedGeneration = object.Generation
		condition.LastTransitionTime = now
		for _, earlier := range before.Conditions {
			if earlier.Type == condition.Type && earlier.Status == condition.Status {
				condition.LastTransitionTime = earlier.LastTransitionTime
			}
		}
		s.Conditions = append(s.Conditions, condition)
	}
	return s
}

func (c *view) status() v1.ContainerStatus {
	started := c.started
	return v1.ContainerStatus{
		Name: c.name, Image: c.image, ImageID: "machine://" + c.image, ContainerID: c.id,
		State: c.state, LastTerminationState: c.last, RestartCount: c.restarts,
		Started: &started, Ready: c.ready,
	}
}

func (m *moment) phase() v1.PodPhase {
	if m.reason != "" {
		return v1.PodFailed
	}
	begun, failed := m.initialised, false
	for _, c := range m.containers {
		ended := c.over && c.state.Terminated != nil
		switch {
		case c.kind == sidecar:
		case ended && c.state.Terminated.ExitCode != 0:
			failed = true
		case c.kind == main && c.state.Waiting != nil && c.last.Terminated == nil:
			begun = false
		}
	}
	switch {
	case m.finished && (failed || !begun):
		return v1.PodFailed
	case m.finished:
		return v1.PodSucceeded
	case !begun:
		return v1.PodPending
	}
	return v1.PodRunning
}

func (m *moment) conditions(object *v1.Pod) []v1.PodCondition {
	var unready []string
	for _, c := range m.containers {
		if c.kind != initial && !c.ready {
			unready = append(unready, c.name)
		}
	}
	phase := m.phase()
	containers := v1.PodCondition{Type: v1.ContainersReady, Status: v1.ConditionTrue}
	switch {
	case phase == v1.PodSucceeded:
		containers.Status, containers.Reason = v1.ConditionFalse, "PodCompleted"
	case phase == v1.PodFailed:
		containers.Status, containers.Reason = v1.ConditionFalse, "PodFailed"
	case len(unready) > 0:
		containers.Status, containers.Reason = v1.ConditionFalse, "ContainersNotReady"
		containers.Message = fmt.Sprintf("containers with unready status: [%s]", strings.Join(unready, " "))
	}
	ready := containers
	ready.Type = v1.PodReady
	if ready.Status == v1.ConditionTrue {
		for _, gate := range object.Spec.ReadinessGates {
			open := slices.ContainsFunc(object.Status.Conditions, func(c v1.PodCondition) bool {
				return c.Type == gate.ConditionType && c.Status == v1.ConditionTrue
			})
			if !open {
				ready.Status, ready.Reason = v1.ConditionFalse, "ReadinessGatesNotReady"
				ready.Message = fmt.Sprintf("the status of pod readiness gate %q is not \"True\"", gate.ConditionType)
			}
		}
	}
	return []v1.PodCondition{
		{Type: v1.PodReadyToStartContainers, Status: is(m.network)},
		{Type: v1.PodInitialized, Status: is(m.initialised)},
		containers,
		ready,
	}
}

func is(so bool) v1.ConditionStatus {
	if so {
		return v1.ConditionTrue
	}
	return v1.ConditionFalse
}
