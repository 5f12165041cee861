package logs

import (
	"bufio"
	"context"
	"io"
	"os"
	"strings"
	"time"
)

// Wish is which part of a log is asked for, and how.
type Wish struct {
	// Tail is how many of the last lines; negative for all.
	Tail       int
	Since      time.Time
	BytesMax   int64
	Timestamps bool
	// Follow waits for more until Ended is closed.
	Follow bool
	Ended  <-chan struct{}
}

// How often a log that is followed is looked at.
const followEvery = 100 * time.Millisecond

// Copy writes the wished part of the log at `path`. It returns without error when `ctx` ends.
func Copy(ctx context.Context, to io.Writer, path string, wish Wish) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if wish.Tail >= 0 {
		start, err := tail(file, wish.Tail)
		if err != nil {
			return err
		}
		if _, err := file.Seek(start, io.SeekStart); err != nil {
			return err
		}
	}
	if wish.BytesMax > 0 {
		to = &limited{to, wish.BytesMax}
	}
	lines := bufio.NewReaderSize(file, 2*lineBytesMax)
	var partial string
	for {
		// Before reading: what was printed until then must still be read.
		over := !wish.Follow || closed(wish.Ended)
		text, err := lines.ReadString('\n')
		if err == nil {
			if err := show(to, partial+text, wish); err == errFull {
				return nil
			} else if err != nil {
				return err
			}
			partial = ""
			continue
		}
		if err != io.EOF {
			return err
		}
		partial += text
		if over {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followEvery):
		}
		// Someone may be waiting for what was printed so far.
		if flusher, ok := to.(interface{ Flush() }); ok {
			flusher.Flush()
		}
	}
}

// tail is where the last `count` lines begin.
func tail(file *os.File, count int) (int64, error) {
	starts := make([]int64, 0, count+1)
	lines := bufio.NewReaderSize(file, lineBytesMax)
	var at int64
	begins := true
	for {
		part, err := lines.ReadSlice('\n')
		if len(part) > 0 && begins {
			if len(starts) == count+1 {
				copy(starts, starts[1:])
				starts = starts[:count]
			}
			starts = append(starts, at)
		}
		at += int64(len(part))
		begins = err == nil
		if err != nil && err != bufio.ErrBufferFull {
			break
		}
	}
	switch {
	case count == 0:
		return at, nil
	case len(starts) <= count:
		return 0, nil
	default:
		return starts[len(starts)-count], nil
	}
}

func show(to io.Writer, stored string, wish Wish) error {
	stamp, rest, _ := strings.Cut(stored, " ")
	_, rest, _ = strings.Cut(rest, " ")
	tag, line, _ := strings.Cut(rest, " ")
	if !wish.Since.IsZero() {
		if at, err := time.Parse(stampFormat, stamp); err == nil && at.Before(wish.Since) {
			return nil
		}
	}
	if tag == "P" {
		line = strings.TrimSuffix(line, "\n")
	}
	if wish.Timestamps {
		line = stamp + " " + line
	}
	_, err := io.WriteString(to, line)
	return err
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// errFull ends a copy that has reached its limit.
var errFull = io.ErrShortWrite

type limited struct {
	to   io.Writer
	left int64
}

func (l *limited) Write(p []byte) (int, error) {
	if int64(len(p)) <= l.left {
		n, err := l.to.Write(p)
		l.left -= int64(n)
		return n, err
	}
	n, err := l.to.Write(p[:l.left])
	l.left -= int64(n)
	if err == nil {
		err = errFull
	}
	return n, err
}
