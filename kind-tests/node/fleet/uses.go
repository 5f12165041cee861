package fleet

import v1 "k8s.io/api/core/v1"

func usesConfigMap(pod *v1.Pod, name string) bool {
	for _, volume := range pod.Spec.Volumes {
		if source := volume.ConfigMap; source != nil && source.Name == name {
			return true
		}
		if volume.Projected == nil {
			continue
		}
		for _, source := range volume.Projected.Sources {
			if source.ConfigMap != nil && source.ConfigMap.Name == name {
				return true
			}
		}
	}
	return false
}

func usesSecret(pod *v1.Pod, name string) bool {
	for _, volume := range pod.Spec.Volumes {
		if source := volume.Secret; source != nil && source.SecretName == name {
			return true
		}
		if volume.Projected == nil {
			continue
		}
		for _, source := range volume.Projected.Sources {
			if source.Secret != nil && source.Secret.Name == name {
				return true
			}
		}
	}
	return false
}
