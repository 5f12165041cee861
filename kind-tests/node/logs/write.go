// Package logs keeps what containers print, line by line with its time, and gives it back.
package logs

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

const (
	// A longer line is kept in parts.
	lineBytesMax = 16 << 10
	// What a container prints beyond this replaces what it printed first.
	fileBytesMax = 64 << 20

	stampFormat = "2006-01-02T15:04:05.000000000Z07:00"
)

// Writer is the log of one start of a container.
type Writer struct {
	mu       sync.Mutex
	file     *os.File
	written  int64
	bytesMax int64
	streams  sync.WaitGroup
}

// Create begins a log.
func Create(path string) (*Writer, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o644)
	return &Writer{file: file, bytesMax: fileBytesMax}, err
}

// Pipe returns where a process shall write; the caller closes its copy once the process has its own.
func (w *Writer) Pipe(stream string) (*os.File, error) {
	from, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	w.streams.Add(1)
	go func() {
		defer w.streams.Done()
		defer from.Close()
		w.copy(stream, from)
	}()
	return to, nil
}

// Close returns when all that was printed is in the log: when no process holds a pipe of it.
func (w *Writer) Close() error {
	w.streams.Wait()
	return w.file.Close()
}

func (w *Writer) copy(stream string, from io.Reader) {
	lines := bufio.NewReaderSize(from, lineBytesMax)
	for {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 {
			w.add(stream, line)
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

// add writes a line in the way of container runtimes: P marks a part, F a line's end.
func (w *Writer) add(stream string, line []byte) {
	tag := "F"
	if line[len(line)-1] != '\n' {
		tag = "P"
	} else {
		line = line[:len(line)-1]
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.written > w.bytesMax && w.file.Truncate(0) == nil {
		w.written = 0
	}
	n, _ := fmt.Fprintf(w.file, "%s %s %s %s\n", time.Now().UTC().Format(stampFormat), stream, tag, line)
	w.written += int64(n)
}
