package recipe

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"

	"diolkos.dev/kind-tests/node/box"
	"diolkos.dev/kind-tests/node/config"
)

// Command joins what the image starts by itself and what the pod says, as images do: a command
// replaces all of the image's, args only its arguments.
func Command(image *config.Image, c *v1.Container, env *Environment) ([]string, error) {
	var argv []string
	switch {
	case len(c.Command) > 0:
		argv = append(slices.Clone(c.Command), c.Args...)
	case image.Binary == "":
		return nil, fmt.Errorf("image %s starts nothing by itself and the pod says no command", image.Name)
	case len(c.Args) > 0:
		argv = append([]string{image.At}, c.Args...)
	default:
		return append([]string{image.At}, image.Args...), nil
	}
	for i := range argv {
		argv[i] = Expand(argv[i], env.Get)
	}
	return argv, nil
}

// ImageEnvironment is what a container has before the pod says anything.
func ImageEnvironment(pod *v1.Pod, image *config.Image, user box.User) *Environment {
	home := "/"
	if user.UID == 0 {
		home = "/root"
	}
	env := &Environment{}
	env.Set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	env.Set("HOME", home)
	env.Set("HOSTNAME", Hostname(pod))
	for _, name := range slices.Sorted(maps.Keys(image.Env)) {
		env.Set(name, image.Env[name])
	}
	return env
}

// User is whom a container runs as.
func User(pod *v1.Pod, c *v1.Container, image *config.Image) (box.User, error) {
	uid, gid := image.User, image.Group
	var mustNotBeRoot bool
	var groups []int64
	if said := pod.Spec.SecurityContext; said != nil {
		uid, gid = or(said.RunAsUser, uid), or(said.RunAsGroup, gid)
		mustNotBeRoot = or(said.RunAsNonRoot, false)
		groups = slices.Clone(said.SupplementalGroups)
		if said.FSGroup != nil {
			groups = append(groups, *said.FSGroup)
		}
	}
	if said := c.SecurityContext; said != nil {
		uid, gid = or(said.RunAsUser, uid), or(said.RunAsGroup, gid)
		mustNotBeRoot = or(said.RunAsNonRoot, mustNotBeRoot)
	}
	if mustNotBeRoot && uid == 0 {
		return box.User{}, fmt.Errorf("runAsNonRoot is set and image %s runs as root; set runAsUser", image.Name)
	}
	user := box.User{UID: uint32(uid), GID: uint32(gid)}
	for _, group := range groups {
		user.Groups = append(user.Groups, uint32(group))
	}
	return user, nil
}

// Power fills in what a container may do.
func Power(c *v1.Container, spec *box.Spec) {
	spec.Capabilities = slices.Clone(box.Usual)
	said := c.SecurityContext
	if said == nil {
		return
	}
	if or(said.Privileged, false) {
		spec.Capabilities = box.All()
	}
	if changes := said.Capabilities; changes != nil {
		for _, drop := range changes.Drop {
			spec.Capabilities = slices.DeleteFunc(spec.Capabilities, func(has string) bool {
				return drop == "ALL" || capability(drop) == has
			})
		}
		for _, add := range changes.Add {
			if add == "ALL" {
				spec.Capabilities = box.All()
			} else {
				spec.Capabilities = append(spec.Capabilities, capability(add))
			}
		}
	}
	spec.NoNewPrivs = !or(said.AllowPrivilegeEscalation, true)
	spec.ReadOnlyRoot = or(said.ReadOnlyRootFilesystem, false)
}

func capability(said v1.Capability) string {
	return strings.TrimPrefix(strings.ToUpper(string(said)), "CAP_")
}

func or[T any](said *T, otherwise T) T {
	if said == nil {
		return otherwise
	}
	return *said
}
