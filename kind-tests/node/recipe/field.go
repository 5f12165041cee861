package recipe

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Field is the value of a field reference of the downward API. The pod's status must hold the
// addresses already.
func Field(pod *v1.Pod, path string) (string, error) {
	if kind, key, ok := subscript(path); ok {
		switch kind {
		case "metadata.labels":
			return pod.Labels[key], nil
		case "metadata.annotations":
			return pod.Annotations[key], nil
		}
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return lines(pod.Labels), nil
	case "metadata.annotations":
		return lines(pod.Annotations), nil
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return pod.Status.HostIP, nil
	case "status.podIP":
		return pod.Status.PodIP, nil
	case "status.hostIPs":
		var all []string
		for _, address := range pod.Status.HostIPs {
			all = append(all, address.IP)
		}
		return strings.Join(all, ","), nil
	case "status.podIPs":
		var all []string
		for _, address := range pod.Status.PodIPs {
			all = append(all, address.IP)
		}
		return strings.Join(all, ","), nil
	}
	return "", fmt.Errorf("field %s is not known here", path)
}

func subscript(path string) (kind, key string, ok bool) {
	kind, rest, ok := strings.Cut(path, "['")
	key, end := strings.CutSuffix(rest, "']")
	return kind, key, ok && end
}

// lines is how the downward API writes labels and annotations into a file.
func lines(of map[string]string) string {
	var out strings.Builder
	for i, key := range slices.Sorted(maps.Keys(of)) {
		if i > 0 {
			out.WriteByte('\n')
		}
		fmt.Fprintf(&out, "%s=%s", key, strconv.Quote(of[key]))
	}
	return out.String()
}

// Resource is the value of a resource reference; `container` is the one it stands in unless it
// names another. A limit that is not set is what the node has.
func Resource(pod *v1.Pod, container string, ref *v1.ResourceFieldSelector, node v1.ResourceList) (string, error) {
	if ref.ContainerName != "" {
		container = ref.ContainerName
	}
	var found *v1.Container
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == container {
				found = &list[i]
			}
		}
	}
	if found == nil {
		return "", fmt.Errorf("resource %s: container %q is not in the pod", ref.Resource, container)
	}
	kind, name, _ := strings.Cut(ref.Resource, ".")
	list := found.Resources.Limits
	if kind == "requests" {
		list = found.Resources.Requests
	}
	quantity, ok := list[v1.ResourceName(name)]
	if !ok && kind == "limits" {
		quantity = node[v1.ResourceName(name)]
	}
	divisor := ref.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	// Rounded up, as half a core must not become none; thousandths are fine enough for cores.
	if name == "cpu" {
		return ceiling(quantity.MilliValue(), divisor.MilliValue()), nil
	}
	return ceiling(quantity.Value(), divisor.Value()), nil
}

func ceiling(value, divisor int64) string {
	return strconv.FormatInt(int64(math.Ceil(float64(value)/float64(divisor))), 10)
}
