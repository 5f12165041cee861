package recipe

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// Sources are the objects that environments and volumes take values from. A missing object is an
// error that apierrors.IsNotFound knows, unless `optional`.
type Sources interface {
	ConfigMap(namespace, name string) (*v1.ConfigMap, error)
	Secret(namespace, name string) (*v1.Secret, error)
}

// Environment is what a container's program finds, in the order it was said, so that later entries
// may use earlier ones.
type Environment struct {
	names  []string
	values map[string]string
}

// Set gives a variable its value; the last one counts.
func (e *Environment) Set(name, value string) {
	if _, ok := e.values[name]; !ok {
		e.names = append(e.names, name)
	}
	if e.values == nil {
		e.values = map[string]string{}
	}
	e.values[name] = value
}

// Get is made for Expand.
func (e *Environment) Get(name string) (string, bool) {
	value, ok := e.values[name]
	return value, ok
}

// List is what a process is started with.
func (e *Environment) List() []string {
	var list []string
	for _, name := range e.names {
		list = append(list, name+"="+e.values[name])
	}
	return list
}

// Fill adds what a container says of its environment.
func (e *Environment) Fill(pod *v1.Pod, c *v1.Container, from Sources, node v1.ResourceList) error {
	for _, source := range c.EnvFrom {
		if err := e.fillFrom(pod.Namespace, source, from); err != nil {
			return err
		}
	}
	for _, variable := range c.Env {
		if variable.ValueFrom == nil {
			e.Set(variable.Name, Expand(variable.Value, e.Get))
			continue
		}
		value, given, err := valueOf(pod, c, variable.ValueFrom, from, node)
		if err != nil {
			return fmt.Errorf("environment variable %s: %w", variable.Name, err)
		}
		if given {
			e.Set(variable.Name, value)
		}
	}
	return nil
}

func (e *Environment) fillFrom(namespace string, source v1.EnvFromSource, from Sources) error {
	values := map[string]string{}
	switch {
	case source.ConfigMapRef != nil:
		found, err := from.ConfigMap(namespace, source.ConfigMapRef.Name)
		if absent(err, source.ConfigMapRef.Optional) {
			return nil
		} else if err != nil {
			return err
		}
		maps.Copy(values, found.Data)
	case source.SecretRef != nil:
		found, err := from.Secret(namespace, source.SecretRef.Name)
		if absent(err, source.SecretRef.Optional) {
			return nil
		} else if err != nil {
			return err
		}
		for key, value := range found.Data {
			values[key] = string(value)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		// A name with = would be read as another name.
		if name := source.Prefix + key; !strings.Contains(name, "=") {
			e.Set(name, values[key])
		}
	}
	return nil
}

func valueOf(
	pod *v1.Pod, c *v1.Container, of *v1.EnvVarSource, from Sources, node v1.ResourceList,
) (value string, given bool, err error) {
	switch {
	case of.FieldRef != nil:
		value, err = Field(pod, of.FieldRef.FieldPath)
		return value, true, err
	case of.ResourceFieldRef != nil:
		value, err = Resource(pod, c.Name, of.ResourceFieldRef, node)
		return value, true, err
	case of.ConfigMapKeyRef != nil:
		ref := of.ConfigMapKeyRef
		found, err := from.ConfigMap(pod.Namespace, ref.Name)
		if absent(err, ref.Optional) {
			return "", false, nil
		} else if err != nil {
			return "", false, err
		}
		value, given = found.Data[ref.Key]
		return value, given, missing(given, ref.Optional, "ConfigMap", ref.Name, ref.Key)
	case of.SecretKeyRef != nil:
		ref := of.SecretKeyRef
		found, err := from.Secret(pod.Namespace, ref.Name)
		if absent(err, ref.Optional) {
			return "", false, nil
		} else if err != nil {
			return "", false, err
		}
		bytes, given := found.Data[ref.Key]
		return string(bytes), given, missing(given, ref.Optional, "Secret", ref.Name, ref.Key)
	}
	return "", false, fmt.Errorf("its kind of source is not known here")
}
