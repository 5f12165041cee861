package config

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// Image is what stands in for a container image: a program of this machine. Besides it a container
// sees the machine's own files, its changes to them are its own.
type Image struct {
	// Name is a reference with or without its tag; a `*` at the end stands for any rest.
	Name string `json:"name"`
	// Binary is the machine's file; without one a pod must say its command.
	Binary string `json:"binary"`
	// At is where the container sees it, in /usr/local/bin by its own name when left out.
	At string `json:"at"`
	// Args are given to it when the pod says neither command nor args.
	Args       []string          `json:"args"`
	Env        map[string]string `json:"env"`
	WorkingDir string            `json:"workingDir"`
	// User and Group run it when the pod does not say.
	User  int64 `json:"user"`
	Group int64 `json:"group"`
	// Mounts are further files and folders, read only: path in the container to path here.
	Mounts map[string]string `json:"mounts"`
}

// FindImage reads the file of images and returns the first that `reference` matches.
func FindImage(path, reference string) (*Image, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var images []Image
	if err := json.Unmarshal(text, &images); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, image := range images {
		if matches(image.Name, reference) {
			if image.Binary != "" && image.At == "" {
				image.At = "/usr/local/bin/" + image.Binary[strings.LastIndex(image.Binary, "/")+1:]
			}
			return &image, nil
		}
	}
	return nil, fmt.Errorf("image %q is not in %s", reference, path)
}

func matches(pattern, reference string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(reference, prefix)
	}
	return pattern == reference || pattern == withoutTag(reference)
}

// withoutTag leaves a registry's port alone: a tag has no slash behind its colon.
func withoutTag(reference string) string {
	reference, _, _ = strings.Cut(reference, "@")
	colon := strings.LastIndex(reference, ":")
	if colon < 0 || strings.Contains(reference[colon:], "/") {
		return reference
	}
	return reference[:colon]
}
