package serve

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/utils/exec"
)

const (
	// A session that nobody types into may stay open for long.
	idleMax   = 4 * time.Hour
	createMax = 30 * time.Second
	dialMax   = 5 * time.Second
)

func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	pod := s.pod(w, r)
	if pod == nil {
		return
	}
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, executor{pod}, "", "", r.PathValue("container"), r.URL.Query()["command"],
		options, idleMax, createMax, remotecommand.SupportedStreamingProtocols)
}

func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	pod := s.pod(w, r)
	if pod == nil {
		return
	}
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, forwarder{pod}, "", "", options, idleMax, createMax, portforward.SupportedProtocols)
}

type executor struct{ pod Pod }

// ExecInContainer is how cri-streaming calls it.
func (e executor) ExecInContainer(
	ctx context.Context, _, _, container string, argv []string,
	in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration,
) error {
	var code int
	var err error
	if tty {
		code, err = e.onTerminal(ctx, container, argv, in, out, resize)
	} else {
		code, err = e.onPipes(ctx, container, argv, in, out, errs)
	}
	if err == nil && code != 0 {
		err = exec.CodeExitError{Err: fmt.Errorf("exit code %d", code), Code: code}
	}
	return err
}

func (e executor) onPipes(ctx context.Context, container string, argv []string, in io.Reader, out, errs io.Writer) (int, error) {
	var files [3]*os.File
	var copies sync.WaitGroup
	for i, to := range []io.Writer{out, errs} {
		from, end, err := os.Pipe()
		if err != nil {
			return 0, err
		}
		defer from.Close()
		files[i+1] = end
		if to == nil {
			to = io.Discard
		}
		copies.Go(func() { io.Copy(to, from) })
	}
	stdin, feed, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	files[0] = stdin
	go func() {
		defer feed.Close()
		if in != nil {
			io.Copy(feed, in)
		}
	}()
	code, err := e.pod.Exec(ctx, container, argv, false, files)
	for _, file := range files {
		file.Close()
	}
	// What it printed last is still on its way; a child it left behind may print for ever.
	drained := make(chan struct{})
	go func() {
		copies.Wait()
		close(drained)
	}()
	select {
	case <-drained:
	case <-time.After(dialMax):
	}
	return code, err
}

func (e executor) onTerminal(
	ctx context.Context, container string, argv []string,
	in io.Reader, out io.Writer, resize <-chan remotecommand.TerminalSize,
) (int, error) {
	terminal, theirs, err := openTerminal()
	if err != nil {
		return 0, err
	}
	defer terminal.Close()
	go func() {
		for size := range resize {
			unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Height, Col: size.Width})
		}
	}()
	if in != nil {
		go io.Copy(terminal, in)
	}
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		io.Copy(out, terminal)
	}()
	code, err := e.pod.Exec(ctx, container, argv, true, [3]*os.File{theirs, theirs, theirs})
	theirs.Close()
	select {
	case <-shown:
	case <-time.After(dialMax):
	}
	return code, err
}

// openTerminal makes a pair of which the second end is a terminal.
func openTerminal() (*os.File, *os.File, error) {
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	number, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		ours.Close()
		return nil, nil, err
	}
	theirs, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		ours.Close()
	}
	return ours, theirs, err
}

type forwarder struct{ pod Pod }

// PortForward is how cri-streaming calls it.
func (f forwarder) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	conn, err := f.pod.Dial(uint16(port), dialMax)
	if err != nil {
		return err
	}
	defer conn.Close()
	back := make(chan error, 1)
	go func() {
		_, err := io.Copy(stream, conn)
		back <- err
	}()
	if _, err := io.Copy(conn, stream); err != nil && !strings.Contains(err.Error(), net.ErrClosed.Error()) {
		return err
	}
	// The client is done; the pod may still have to say something.
	if half, ok := conn.(*net.TCPConn); ok {
		half.CloseWrite()
	}
	return <-back
}
