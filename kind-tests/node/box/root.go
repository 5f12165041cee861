package box

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Where the machine's own root stays until all mounts are made.
const oldRoot = "/.machine"

// A container does not expect these to hold anything of the machine's.
var emptied = []struct {
	path string
	mode os.FileMode
}{{"tmp", 0o777 | os.ModeSticky}, {"run", 0o755}}

// enterRoot builds the root and moves into it. All of it lives in memory and in this mount
// namespace: nothing of it can be left behind.
func enterRoot(spec *Spec) error {
	// What is mounted here must not appear on the machine.
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := mount("tmpfs", spec.Scratch, "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	root, err := overlay(spec.Scratch)
	if err != nil {
		return err
	}
	if err := kernelFolders(root); err != nil {
		return err
	}
	if err := os.Mkdir(root+oldRoot, 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(root, root+oldRoot); err != nil {
		return fmt.Errorf("pivot_root to %s: %w", root, err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	for _, file := range spec.Files {
		// A link may lead to a path that the box does not have.
		os.Remove(file.Path)
		if err := writeFile(file.Path, file.Content); err != nil {
			return err
		}
	}
	if err := bindAll(spec.Mounts); err != nil {
		return err
	}
	if err := unix.Unmount(oldRoot, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("letting go of the machine's root: %w", err)
	}
	if err := os.Remove(oldRoot); err != nil {
		return err
	}
	if spec.ReadOnlyRoot {
		return mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	}
	return nil
}

// overlay shows the machine's root below changes that are kept in memory.
func overlay(scratch string) (string, error) {
	upper, work, root := scratch+"/upper", scratch+"/work", scratch+"/root"
	for _, folder := range []string{upper, work, root} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			return "", err
		}
	}
	for _, empty := range emptied {
		path := filepath.Join(upper, empty.path)
		if err := errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, empty.mode)); err != nil {
			return "", err
		}
		if err := unix.Setxattr(path, "trusted.overlay.opaque", []byte("y"), 0); err != nil {
			return "", fmt.Errorf("hiding /%s: %w", empty.path, err)
		}
	}
	layers := fmt.Sprintf("lowerdir=/,upperdir=%s,workdir=%s", upper, work)
	return root, mount("overlay", root, "overlay", 0, layers)
}

// kernelFolders mounts what the kernel shows; /sys shows the pod's network, not the machine's.
func kernelFolders(root string) error {
	err := errors.Join(
		mount("proc", root+"/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""),
		mount("sysfs", root+"/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RDONLY, ""),
		mount("tmpfs", root+"/dev", "tmpfs", unix.MS_NOSUID, "mode=755"),
		os.Mkdir(root+"/dev/pts", 0o755),
		os.Mkdir(root+"/dev/shm", 0o755),
		mount("devpts", root+"/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620"),
		mount("tmpfs", root+"/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"))
	if err != nil {
		return err
	}
	for name, minor := range map[string]uint32{"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9} {
		path := root + "/dev/" + name
		if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		// The mode above went through the umask.
		if err := os.Chmod(path, 0o666); err != nil {
			return err
		}
	}
	links := map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
		"stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
	}
	for name, target := range links {
		if err := os.Symlink(target, root+"/dev/"+name); err != nil {
			return err
		}
	}
	return nil
}

// bindAll mounts outer paths before inner ones. It runs inside the new root, so that links on the
// way to a target, as /var/run is, stay in it.
func bindAll(mounts []Mount) error {
	mounts = slices.Clone(mounts)
	slices.SortStableFunc(mounts, func(a, b Mount) int {
		return strings.Compare(filepath.Clean(a.Target), filepath.Clean(b.Target))
	})
	for _, m := range mounts {
		source := oldRoot + m.Source
		found, err := os.Stat(source)
		if err != nil {
			return fmt.Errorf("mounting at %s: %w", m.Target, err)
		}
		if found.IsDir() {
			err = os.MkdirAll(m.Target, 0o755)
		} else if _, absent := os.Stat(m.Target); absent != nil {
			err = writeFile(m.Target, "")
		}
		if err != nil {
			return err
		}
		if err := mount(source, m.Target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
		if m.ReadOnly {
			err := mount("", m.Target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func writeFile(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o644)
}

func mount(source, target, kind string, flags uintptr, options string) error {
	if err := unix.Mount(source, target, kind, flags, options); err != nil {
		return fmt.Errorf("mounting %s at %s: %w", kind, target, err)
	}
	return nil
}
