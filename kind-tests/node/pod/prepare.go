package pod

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "k8s.io/api/core/v1"

	"diolkos.dev/kind-tests/node/box"
	"diolkos.dev/kind-tests/node/config"
	"diolkos.dev/kind-tests/node/recipe"
)

// prepare works out what to start, and tries until it can; false if the pod shall stop.
func (c *container) prepare() (*box.Spec, bool) {
	p := c.pod
	for {
		if p.work.Err() != nil {
			return nil, false
		}
		reason := "ErrImagePull"
		image, err := config.FindImage(p.world.Config.Images, c.said.Image)
		if err == nil {
			var spec *box.Spec
			reason = "CreateContainerConfigError"
			if spec, err = c.spec(image); err == nil {
				return spec, true
			}
		}
		c.waits(reason, err.Error())
		c.attempt()
		if !pause(p.work, retryEvery) {
			return nil, false
		}
	}
}

func (c *container) spec(image *config.Image) (*box.Spec, error) {
	p := c.pod
	object := p.Object()
	user, err := recipe.User(object, c.said, image)
	if err != nil {
		return nil, err
	}
	env := recipe.ImageEnvironment(object, image, user)
	if err := c.addServer(env); err != nil {
		return nil, err
	}
	if err := env.Fill(object, c.said, p.world.API, p.world.Capacity); err != nil {
		return nil, err
	}
	argv, err := recipe.Command(image, c.said, env)
	if err != nil {
		return nil, err
	}
	spec := &box.Spec{
		Hostname: recipe.Hostname(object), Argv: argv, Env: env.List(), Dir: "/", User: user,
		Files: []box.File{
			{Path: "/etc/resolv.conf", Content: recipe.ResolvConf(object, p.world.DNS)},
			{Path: "/etc/hosts", Content: recipe.Hosts(object, p.world.DNS.Domain)},
			{Path: "/etc/hostname", Content: recipe.Hostname(object) + "\n"},
		},
	}
	for _, dir := range []string{image.WorkingDir, c.said.WorkingDir} {
		if dir != "" {
			spec.Dir = dir
		}
	}
	recipe.Power(c.said, spec)
	if spec.Mounts, err = p.volumes.Mounts(c.said, env); err != nil {
		return nil, err
	}
	return spec, c.addOwn(spec, image)
}

// addServer tells where the API server is, as a kubelet does: clients inside a cluster look there.
func (c *container) addServer(env *recipe.Environment) error {
	host, port, err := c.pod.world.API.Server()
	if err != nil {
		return fmt.Errorf("looking up the API server's service: %w", err)
	}
	env.Set("KUBERNETES_SERVICE_HOST", host)
	env.Set("KUBERNETES_SERVICE_PORT", port)
	env.Set("KUBERNETES_SERVICE_PORT_HTTPS", port)
	return nil
}

// addOwn adds what the image brings, the file for last words, and where the root is built.
func (c *container) addOwn(spec *box.Spec, image *config.Image) error {
	own := map[string]string{}
	for target, source := range image.Mounts {
		own[target] = source
	}
	if image.Binary != "" {
		own[image.At] = image.Binary
	}
	for target, source := range own {
		real, err := filepath.EvalSymlinks(source)
		if err != nil {
			return fmt.Errorf("image %s: %w", image.Name, err)
		}
		spec.Mounts = append(spec.Mounts, box.Mount{Source: real, Target: target, ReadOnly: true})
	}
	var err error
	if spec.Scratch, err = c.pod.record.Folder("containers", c.name, "root"); err != nil {
		return err
	}
	words, err := c.wordsPath()
	if err != nil {
		return err
	}
	if err := os.WriteFile(words, nil, 0o666); err != nil {
		return err
	}
	if err := os.Chmod(words, 0o666); err != nil {
		return err
	}
	target := c.said.TerminationMessagePath
	if target == "" {
		target = v1.TerminationMessagePathDefault
	}
	spec.Mounts = append(spec.Mounts, box.Mount{Source: words, Target: target})
	return nil
}

func (c *container) wordsPath() (string, error) {
	folder, err := c.pod.record.Folder("containers", c.name)
	return filepath.Join(folder, "words"), err
}

// What of a container's last words is told.
const (
	wordsBytesMax = 4096
	wordsLogLines = 80
)

// lastWords are what the container left in its file for them, or the end of its log.
func (c *container) lastWords(code int) string {
	path, err := c.wordsPath()
	if err != nil {
		return ""
	}
	text, _ := os.ReadFile(path)
	words := string(text)
	if words == "" && code != 0 && c.said.TerminationMessagePolicy == v1.TerminationMessageFallbackToLogsOnError {
		words = c.pod.tail(c, wordsLogLines)
	}
	if len(words) > wordsBytesMax {
		words = words[len(words)-wordsBytesMax:]
	}
	return strings.ToValidUTF8(words, "?")
}
