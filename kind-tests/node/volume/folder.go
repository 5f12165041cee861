package volume

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
)

// current is the link all files are reached through. It changes in one step, so that a reader finds
// the old files or the new ones and never some of each; programs know to watch it.
const current = "..data"

// write makes a folder hold exactly `files`. Group, unless negative, may read them.
func write(folder string, files payload, group int) error {
	fresh, err := os.MkdirTemp(folder, "..")
	if err != nil {
		return err
	}
	if err := os.Chmod(fresh, 0o755); err != nil {
		return err
	}
	tops := map[string]bool{}
	for at, f := range files {
		path := filepath.Join(fresh, at)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := writeFile(path, f, group); err != nil {
			return err
		}
		top, _, _ := strings.Cut(at, "/")
		tops[top] = true
	}
	earlier, _ := os.Readlink(filepath.Join(folder, current))
	next := filepath.Join(folder, "..next")
	os.Remove(next)
	err = errors.Join(
		os.Symlink(filepath.Base(fresh), next),
		os.Rename(next, filepath.Join(folder, current)),
		link(folder, tops))
	if err == nil && earlier != "" {
		err = os.RemoveAll(filepath.Join(folder, earlier))
	}
	return err
}

// link makes the names by which files are known, and removes those of files that are no more.
func link(folder string, tops map[string]bool) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	missing := maps.Clone(tops)
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, "..") {
			continue
		}
		delete(missing, name)
		if !tops[name] {
			if err := os.Remove(filepath.Join(folder, name)); err != nil {
				return err
			}
		}
	}
	for name := range missing {
		if err := os.Symlink(filepath.Join(current, name), filepath.Join(folder, name)); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(path string, f file, group int) error {
	mode := os.FileMode(f.mode)
	if group >= 0 {
		mode |= 0o440
	}
	err := errors.Join(os.WriteFile(path, []byte(f.content), 0o600), os.Chmod(path, mode))
	if err == nil && group >= 0 {
		err = os.Chown(path, -1, group)
	}
	return err
}
