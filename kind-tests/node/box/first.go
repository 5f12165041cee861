package box

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	controlFD = 3
	// As a runtime has it when a container's program cannot be started.
	codeNotStarted = 128
)

// first is the box's first process.
type first struct {
	spec    *Spec
	control *net.UnixConn
	// mu is held while a process is started, so that none ends before it is in the table.
	mu        sync.Mutex
	processes map[int]int // number of a process to the id of its request
}

// First is the first process's whole life; it returns what to exit with.
func First(specPath string) int {
	// Processes are started on this thread, and what it gave up is what they cannot have.
	runtime.LockOSThread()
	conn, err := net.FileConn(os.NewFile(controlFD, "control"))
	if err != nil {
		fmt.Fprintf(os.Stderr, "box: no control socket: %v\n", err)
		return codeNotStarted
	}
	unix.CloseOnExec(controlFD)
	f := &first{control: conn.(*net.UnixConn), processes: map[int]int{}}
	main, err := f.begin(specPath)
	if err != nil {
		send(f.control, reply{Error: err.Error()})
		return codeNotStarted
	}
	send(f.control, reply{})
	go f.passSignals(main)
	requests := make(chan func())
	go f.readRequests(requests)
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for {
		// Once before waiting too: a child may have ended before anyone listened.
		if code, ended := f.reap(main); ended {
			return code
		}
		select {
		case <-children:
		case do, open := <-requests:
			if !open {
				return codeNotStarted // The node program is gone.
			}
			do()
		}
	}
}

func (f *first) begin(specPath string) (int, error) {
	text, err := os.ReadFile(specPath)
	if err != nil {
		return 0, err
	}
	f.spec = &Spec{}
	if err := json.Unmarshal(text, f.spec); err != nil {
		return 0, err
	}
	if err := unix.Sethostname([]byte(f.spec.Hostname)); err != nil {
		return 0, fmt.Errorf("setting the host name: %w", err)
	}
	if err := enterRoot(f.spec); err != nil {
		return 0, err
	}
	if err := giveUp(f.spec); err != nil {
		return 0, err
	}
	return f.start(f.spec.Argv, 0, []*os.File{os.Stdin, os.Stdout, os.Stderr}, false)
}

func (f *first) start(argv []string, id int, files []*os.File, tty bool) (int, error) {
	if len(argv) == 0 {
		return 0, errors.New("no command")
	}
	path, err := f.find(argv[0])
	if err != nil {
		return 0, err
	}
	user := f.spec.User
	f.mu.Lock()
	defer f.mu.Unlock()
	process, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Dir: f.spec.Dir, Env: f.spec.Env,
		Files: []uintptr{files[0].Fd(), files[1].Fd(), files[2].Fd()},
		Sys: &syscall.SysProcAttr{
			Setsid: true, Setctty: tty, Ctty: 0,
			Credential: &syscall.Credential{Uid: user.UID, Gid: user.GID, Groups: user.Groups},
		},
	})
	if err != nil {
		return 0, fmt.Errorf("starting %s in %s: %w", argv[0], f.spec.Dir, err)
	}
	f.processes[process] = id
	return process, nil
}

// find looks where the program itself would look, not where the node program's PATH leads.
func (f *first) find(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, variable := range f.spec.Env {
		if list, ok := strings.CutPrefix(variable, "PATH="); ok {
			os.Setenv("PATH", list)
		}
	}
	return exec.LookPath(name)
}

// reap collects every child that ended, also those whose parents went before them, and tells of
// those that were asked for. The end of the box's program is the box's.
func (f *first) reap(main int) (int, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		var status syscall.WaitStatus
		process, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || process <= 0 {
			return 0, false
		}
		code := status.ExitStatus()
		if status.Signaled() {
			code = 128 + int(status.Signal())
		}
		if process == main {
			return code, true
		}
		if id, asked := f.processes[process]; asked {
			delete(f.processes, process)
			send(f.control, reply{ID: id, Code: code})
		}
	}
}

// readRequests hands requests to the thread that starts processes.
func (f *first) readRequests(to chan<- func()) {
	defer close(to)
	for {
		var r request
		files, err := receive(f.control, &r)
		if err != nil {
			return
		}
		to <- func() {
			if r.Kill {
				f.kill(r.ID)
				return
			}
			if len(files) != filesPerMessage {
				send(f.control, reply{ID: r.ID, Code: 126, Error: "three files must come along"})
			} else if _, err := f.start(r.Argv, r.ID, files, r.TTY); err != nil {
				send(f.control, reply{ID: r.ID, Code: 126, Error: err.Error()})
			}
			for _, file := range files {
				file.Close()
			}
		}
	}
}

func (f *first) kill(id int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for process, asked := range f.processes {
		if asked == id {
			// Each is the leader of a session: those it started go along.
			syscall.Kill(-process, syscall.SIGKILL)
		}
	}
}

// passSignals gives the program what was sent to the box. Children and Go's own are not passed.
func (f *first) passSignals(main int) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals)
	for received := range signals {
		number := received.(syscall.Signal)
		if number != syscall.SIGCHLD && number != syscall.SIGURG && number != syscall.SIGPIPE {
			syscall.Kill(main, number)
		}
	}
}
