// Package netns gives pods network namespaces of their own and wires them to their node.
//
// The namespaces have no name. This program's descriptor and the pod's processes keep one alive,
// so that all of it, both ends of its wire included, goes when they do, also after a crash.
package netns

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// inside runs `do` in a namespace, on a thread that ends with it: a thread that has been elsewhere
// is never used for anything else. Nil is the namespace of this program.
func inside(namespace *os.File, do func() error) error {
	if namespace == nil {
		return do()
	}
	return onLostThread(func() error {
		if err := enter(namespace); err != nil {
			return err
		}
		return do()
	})
}

// create makes a namespace and prepares it by `do`.
func create(do func() error) (*os.File, error) {
	var made *os.File
	err := onLostThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("creating a network namespace: %w", err)
		}
		var err error
		if made, err = current(); err != nil {
			return err
		}
		return do()
	})
	if err != nil && made != nil {
		made.Close()
	}
	return made, err
}

func onLostThread(do func() error) error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		done <- do()
	}()
	return <-done
}

// Parent is the one thread that starts processes which must die with this program. The kernel
// counts a parent as dead when the thread that forked ends, so this one never does.
type Parent struct {
	jobs chan func()
	home *os.File
}

// NewParent starts the thread.
func NewParent() (*Parent, error) {
	p := &Parent{jobs: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread()
		var err error
		p.home, err = current()
		ready <- err
		for job := range p.jobs {
			job()
		}
	}()
	return p, <-ready
}

// Start starts a process inside a namespace; nil is this program's.
func (p *Parent) Start(namespace *os.File, command *exec.Cmd) error {
	done := make(chan error)
	p.jobs <- func() {
		if namespace == nil {
			done <- command.Start()
			return
		}
		if err := enter(namespace); err != nil {
			done <- err
			return
		}
		err := command.Start()
		if lost := enter(p.home); lost != nil {
			// Whatever came next would land in another pod.
			panic(lost)
		}
		done <- err
	}
	return <-done
}

func enter(namespace *os.File) error {
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering a network namespace: %w", err)
	}
	return nil
}

func current() (*os.File, error) {
	return os.Open("/proc/thread-self/ns/net")
}
