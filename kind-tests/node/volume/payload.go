// Package volume makes the folders that pods mount, and keeps those filled from API objects up to
// date.
package volume

import (
	"fmt"
	"path"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"diolkos.dev/kind-tests/node/recipe"
)

// payload is what a folder holds: files by their path in it.
type payload map[string]file

type file struct {
	content string
	mode    uint32
}

// collector gathers payloads for one pod.
type collector struct {
	pod     *v1.Pod
	sources Sources
	node    v1.ResourceList
	now     time.Time
	tokens  map[string]token
}

// Sources are the objects volumes are filled from.
type Sources interface {
	recipe.Sources
	// Token makes a token of the pod's service account, bound to the pod.
	Token(pod *v1.Pod, audience string, seconds int64) (token string, expires time.Time, err error)
}

type token struct {
	text string
	// renew is when the next one should be asked for: after four fifths of its life.
	renew time.Time
}

const usualMode = 0o644

// collect returns nothing for a volume that is no folder of files.
func (c *collector) collect(v *v1.Volume) (payload, error) {
	out := payload{}
	var err error
	switch {
	case v.ConfigMap != nil:
		err = c.configMap(out, v.ConfigMap.LocalObjectReference, v.ConfigMap.Items, v.ConfigMap.Optional, or(v.ConfigMap.DefaultMode, usualMode))
	case v.Secret != nil:
		name := v1.LocalObjectReference{Name: v.Secret.SecretName}
		err = c.secret(out, name, v.Secret.Items, v.Secret.Optional, or(v.Secret.DefaultMode, usualMode))
	case v.DownwardAPI != nil:
		err = c.downward(out, v.DownwardAPI.Items, or(v.DownwardAPI.DefaultMode, usualMode))
	case v.Projected != nil:
		err = c.projected(out, v.Name, v.Projected)
	default:
		return nil, nil
	}
	return out, err
}

func (c *collector) projected(out payload, volume string, v *v1.ProjectedVolumeSource) error {
	mode := or(v.DefaultMode, usualMode)
	for _, source := range v.Sources {
		var err error
		switch {
		case source.ConfigMap != nil:
			err = c.configMap(out, source.ConfigMap.LocalObjectReference, source.ConfigMap.Items, source.ConfigMap.Optional, mode)
		case source.Secret != nil:
			err = c.secret(out, source.Secret.LocalObjectReference, source.Secret.Items, source.Secret.Optional, mode)
		case source.DownwardAPI != nil:
			err = c.downward(out, source.DownwardAPI.Items, mode)
		case source.ServiceAccountToken != nil:
			err = c.token(out, volume, source.ServiceAccountToken, mode)
		default:
			err = fmt.Errorf("a projected source of this kind is not known here")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) configMap(out payload, ref v1.LocalObjectReference, items []v1.KeyToPath, optional *bool, mode int32) error {
	found, err := c.sources.ConfigMap(c.pod.Namespace, ref.Name)
	if apierrors.IsNotFound(err) && or(optional, false) {
		return nil
	} else if err != nil {
		return err
	}
	values := map[string]string{}
	for key, bytes := range found.BinaryData {
		values[key] = string(bytes)
	}
	for key, text := range found.Data {
		values[key] = text
	}
	return place(out, "ConfigMap "+ref.Name, values, items, optional, mode)
}

func (c *collector) secret(out payload, ref v1.LocalObjectReference, items []v1.KeyToPath, optional *bool, mode int32) error {
	found, err := c.sources.Secret(c.pod.Namespace, ref.Name)
	if apierrors.IsNotFound(err) && or(optional, false) {
		return nil
	} else if err != nil {
		return err
	}
	values := map[string]string{}
	for key, bytes := range found.Data {
		values[key] = string(bytes)
	}
	return place(out, "Secret "+ref.Name, values, items, optional, mode)
}

// place puts all values under their keys, or those that items name under items' paths.
func place(out payload, object string, values map[string]string, items []v1.KeyToPath, optional *bool, mode int32) error {
	if len(items) == 0 {
		for key, value := range values {
			out[key] = file{value, uint32(mode)}
		}
		return nil
	}
	for _, item := range items {
		value, ok := values[item.Key]
		if !ok && or(optional, false) {
			continue
		} else if !ok {
			return fmt.Errorf("key %s is not in %s", item.Key, object)
		}
		if err := out.put(item.Path, value, or(item.Mode, mode)); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) downward(out payload, items []v1.DownwardAPIVolumeFile, mode int32) error {
	for _, item := range items {
		var value string
		var err error
		if item.FieldRef != nil {
			value, err = recipe.Field(c.pod, item.FieldRef.FieldPath)
		} else if item.ResourceFieldRef != nil {
			value, err = recipe.Resource(c.pod, "", item.ResourceFieldRef, c.node)
		}
		if err != nil {
			return err
		}
		if err := out.put(item.Path, value, or(item.Mode, mode)); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) token(out payload, volume string, source *v1.ServiceAccountTokenProjection, mode int32) error {
	key := volume + "/" + source.Path
	has := c.tokens[key]
	if !c.now.Before(has.renew) {
		text, expires, err := c.sources.Token(c.pod, source.Audience, or(source.ExpirationSeconds, 3600))
		if err != nil {
			return err
		}
		has = token{text, c.now.Add(expires.Sub(c.now) * 4 / 5)}
		c.tokens[key] = has
	}
	return out.put(source.Path, has.text, mode)
}

func (p payload) put(at, content string, mode int32) error {
	clean := path.Clean(at)
	// A path may not leave the volume, nor touch what keeps it up to date.
	if path.IsAbs(clean) || strings.HasPrefix(clean, "..") {
		return fmt.Errorf("path %q leads out of its volume", at)
	}
	p[clean] = file{content, uint32(mode)}
	return nil
}

func or[T any](said *T, otherwise T) T {
	if said == nil {
		return otherwise
	}
	return *said
}
