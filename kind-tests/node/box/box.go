package box

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"

	"diolkos.dev/kind-tests/node/netns"
)

// FirstCommand is the argument by which the node program is told to be a box's first process.
const FirstCommand = "box"

// Box is a running container, seen from the node program.
type Box struct {
	command *exec.Cmd
	control *net.UnixConn
	// Done is closed when no process of the box is left.
	Done chan struct{}
	// heard is closed when all that the box had to say was read; a box may say much in its last
	// moment.
	heard chan struct{}

	mu      sync.Mutex
	next    int
	waiting map[int]chan reply
}

// ErrNotStarted says that a box's program could not be started, the box is gone again.
var ErrNotStarted = errors.New("cannot start")

// Start makes a box in a network namespace, writing to `stdout` and `stderr`. It returns when the
// container's program runs.
func Start(parent *netns.Parent, namespace *os.File, spec *Spec, stdout, stderr *os.File) (*Box, error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	specPath := filepath.Join(filepath.Dir(spec.Scratch), "spec.json")
	// It holds the environment, secrets included.
	if err := os.WriteFile(specPath, text, 0o600); err != nil {
		return nil, err
	}
	control, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	command := exec.Command("/proc/self/exe", FirstCommand, specPath)
	command.Stdout, command.Stderr = stdout, stderr
	command.ExtraFiles = []*os.File{theirs}
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Setsid:     true,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := parent.Start(namespace, command); err != nil {
		control.Close()
		return nil, err
	}
	b := &Box{
		command: command, control: control,
		Done: make(chan struct{}), heard: make(chan struct{}), waiting: map[int]chan reply{},
	}
	// Else the other side's end would go unnoticed.
	theirs.Close()
	started := b.expect(0)
	go b.readReplies()
	go func() {
		command.Wait()
		close(b.Done)
	}()
	said, ok := b.await(started)
	if ok && said.Error == "" {
		return b, nil
	}
	<-b.Done
	if !ok {
		return nil, fmt.Errorf("%w: the box ended with %s", ErrNotStarted, command.ProcessState)
	}
	return nil, fmt.Errorf("%w: %s", ErrNotStarted, said.Error)
}

// Process is the number of the box's first process.
func (b *Box) Process() int { return b.command.Process.Pid }

// ExitCode is what the box ended with, once Done.
func (b *Box) ExitCode() int {
	status, ok := b.command.ProcessState.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return b.command.ProcessState.ExitCode()
}

// Signal reaches the container's program.
func (b *Box) Signal(number syscall.Signal) { b.command.Process.Signal(number) }

// Kill ends all processes of the box.
func (b *Box) Kill() { b.command.Process.Kill() }

// Exec runs a command in the box with the given files as its input, output and errors, and returns
// what it ended with. Ending `ctx` kills it.
func (b *Box) Exec(ctx context.Context, argv []string, tty bool, files [3]*os.File) (int, error) {
	b.mu.Lock()
	b.next++
	id := b.next
	b.mu.Unlock()
	ended := b.expect(id)
	defer b.forget(id)
	if err := send(b.control, request{ID: id, Argv: argv, TTY: tty}, files[:]...); err != nil {
		return 0, fmt.Errorf("executing in a container: %w", err)
	}
	settled := context.AfterFunc(ctx, func() { send(b.control, request{ID: id, Kill: true}) })
	defer settled()
	said, ok := b.await(ended)
	switch {
	case !ok:
		return 0, errors.New("the container ended")
	case said.Error != "":
		return said.Code, errors.New(said.Error)
	default:
		return said.Code, ctx.Err()
	}
}

// await waits for a reply; there is none when the box ends without a word.
func (b *Box) await(expected <-chan reply) (reply, bool) {
	select {
	case said := <-expected:
		return said, true
	case <-b.heard:
	}
	select {
	case said := <-expected:
		return said, true
	default:
		return reply{}, false
	}
}

func (b *Box) expect(id int) <-chan reply {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting[id] = make(chan reply, 1)
	return b.waiting[id]
}

func (b *Box) forget(id int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.waiting, id)
}

func (b *Box) readReplies() {
	defer close(b.heard)
	defer b.control.Close()
	for {
		var r reply
		if _, err := receive(b.control, &r); err != nil {
			return
		}
		b.mu.Lock()
		if waits, ok := b.waiting[r.ID]; ok {
			waits <- r
			delete(b.waiting, r.ID)
		}
		b.mu.Unlock()
	}
}
