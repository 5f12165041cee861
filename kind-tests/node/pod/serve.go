package pod

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"diolkos.dev/kind-tests/node/logs"
)

// What people ask of a pod while it lives.

// Exec runs a command in a container with the given files, and returns what it ended with.
func (p *Pod) Exec(ctx context.Context, name string, argv []string, tty bool, files [3]*os.File) (int, error) {
	c, err := p.find(name)
	if err != nil {
		return 0, err
	}
	running := c.running()
	if running == nil {
		return 0, errNotRunning
	}
	return running.Exec(ctx, argv, tty, files)
}

// Logs writes what a container printed in its current start, or in the one before that.
func (p *Pod) Logs(ctx context.Context, to io.Writer, name string, previous bool, wish logs.Wish) error {
	c, err := p.find(name)
	if err != nil {
		return err
	}
	p.mu.Lock()
	path, running := c.log, c.box
	if previous {
		path, running = c.before, nil
	}
	p.mu.Unlock()
	if path == "" {
		return fmt.Errorf("container %s of pod %s has no such log", c.name, p.name())
	}
	wish.Follow = wish.Follow && running != nil
	if running != nil {
		wish.Ended = running.Done
	}
	return logs.Copy(ctx, to, path, wish)
}

// tail is the end of the log of a container's current start.
func (p *Pod) tail(c *container, lines int) string {
	var text bytes.Buffer
	if err := logs.Copy(context.Background(), &text, c.log, logs.Wish{Tail: lines}); err != nil {
		return err.Error()
	}
	return text.String()
}

// Dial connects to a port of the pod, from inside it.
func (p *Pod) Dial(port uint16, timeout time.Duration) (net.Conn, error) {
	p.mu.Lock()
	space := p.space
	p.mu.Unlock()
	if space == nil {
		return nil, errNotRunning
	}
	return space.Dial(port, timeout)
}
