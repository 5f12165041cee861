package volume

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"

	"diolkos.dev/kind-tests/node/box"
	"diolkos.dev/kind-tests/node/recipe"
)

// Volumes are those of one pod.
type Volumes struct {
	folder  string
	sources Sources
	node    v1.ResourceList

	mu      sync.Mutex
	paths   map[string]string // volume to what of the machine is mounted
	written map[string]payload
	tokens  map[string]token
}

// New makes the volumes of a pod below a folder of the pod's own. `node` is what the node has.
func New(folder string, sources Sources, node v1.ResourceList) *Volumes {
	return &Volumes{
		folder: folder, sources: sources, node: node,
		paths: map[string]string{}, written: map[string]payload{}, tokens: map[string]token{},
	}
}

// Refresh makes all volumes what they should be now; what has not changed is not touched. It is
// how they are made at first, too.
func (v *Volumes) Refresh(pod *v1.Pod, now time.Time) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := &collector{pod: pod, sources: v.sources, node: v.node, now: now, tokens: v.tokens}
	var all error
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		if err := v.refresh(c, volume); err != nil {
			all = errors.Join(all, fmt.Errorf("volume %s: %w", volume.Name, err))
		}
	}
	return all
}

// RenewAt is when a token should be renewed next; the zero time if there is none.
func (v *Volumes) RenewAt() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	var first time.Time
	for _, has := range v.tokens {
		if first.IsZero() || has.renew.Before(first) {
			first = has.renew
		}
	}
	return first
}

func (v *Volumes) refresh(c *collector, volume *v1.Volume) error {
	if volume.HostPath != nil {
		path, err := hostPath(volume.HostPath)
		v.paths[volume.Name] = path
		return err
	}
	files, err := c.collect(volume)
	if err != nil {
		return err
	}
	if files == nil && volume.EmptyDir == nil {
		return errors.New("volumes of this kind are not known here")
	}
	folder := filepath.Join(v.folder, volume.Name)
	if _, ok := v.paths[volume.Name]; !ok {
		mode := os.FileMode(0o755)
		if volume.EmptyDir != nil {
			mode = 0o777
		}
		if err := errors.Join(os.MkdirAll(folder, mode), os.Chmod(folder, mode)); err != nil {
			return err
		}
		v.paths[volume.Name] = folder
	}
	if files == nil {
		return nil
	}
	earlier, ok := v.written[volume.Name]
	if ok && maps.Equal(earlier, files) {
		return nil
	}
	if err := write(folder, files, group(c.pod)); err != nil {
		return err
	}
	v.written[volume.Name] = files
	return nil
}

// Mounts are what a container sees of the volumes.
func (v *Volumes) Mounts(c *v1.Container, env *recipe.Environment) ([]box.Mount, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var mounts []box.Mount
	for _, said := range c.VolumeMounts {
		source, ok := v.paths[said.Name]
		if !ok {
			return nil, fmt.Errorf("volume %s is not there", said.Name)
		}
		below := said.SubPath
		if said.SubPathExpr != "" {
			below = recipe.Expand(said.SubPathExpr, env.Get)
		}
		if below != "" {
			var err error
			if source, err = within(source, below); err != nil {
				return nil, fmt.Errorf("volume %s: %w", said.Name, err)
			}
		}
		// Files of objects change only through this program.
		_, filled := v.written[said.Name]
		mounts = append(mounts, box.Mount{Source: source, Target: said.MountPath, ReadOnly: said.ReadOnly || filled})
	}
	return mounts, nil
}

// within finds a path in a volume, a folder if it is not there yet.
func within(volume, below string) (string, error) {
	if !filepath.IsLocal(below) {
		return "", fmt.Errorf("subPath %q leads out of it", below)
	}
	path := filepath.Join(volume, below)
	if _, err := os.Stat(path); os.IsNotExist(err) {
		if err := os.MkdirAll(path, 0o777); err != nil {
			return "", err
		}
	}
	return filepath.EvalSymlinks(path)
}

func hostPath(said *v1.HostPathVolumeSource) (string, error) {
	path := said.Path
	var err error
	switch or(said.Type, v1.HostPathUnset) {
	case v1.HostPathDirectoryOrCreate:
		err = os.MkdirAll(path, 0o755)
	case v1.HostPathFileOrCreate:
		var file *os.File
		if file, err = os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o644); err == nil {
			err = file.Close()
		}
	}
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}

func group(pod *v1.Pod) int {
	if said := pod.Spec.SecurityContext; said != nil && said.FSGroup != nil {
		return int(*said.FSGroup)
	}
	return -1
}
