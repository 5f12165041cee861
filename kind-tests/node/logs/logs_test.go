package logs

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWhatWasPrintedComesBackAsWished(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	long := strings.Repeat("x", lineBytesMax+5)
	written(t, path, "one\n", "two\n", long+"\n", "four\n", "no end")
	for name, test := range map[string]struct {
		wish     Wish
		expected string
	}{
		"all":          {Wish{Tail: -1}, "one\ntwo\n" + long + "\nfour\nno end"},
		"tail":         {Wish{Tail: 2}, "four\nno end"},
		"tail of none": {Wish{Tail: 0}, ""},
		"tail of more": {Wish{Tail: 99, BytesMax: 6}, "one\ntw"},
		"too late":     {Wish{Tail: -1, Since: time.Now().Add(time.Hour)}, ""},
		"since":        {Wish{Tail: 1, Since: time.Now().Add(-time.Hour)}, "no end"},
	} {
		var out bytes.Buffer
		if err := Copy(context.Background(), &out, path, test.wish); err != nil || out.String() != test.expected {
			t.Errorf("%s: %q, %v", name, out.String(), err)
		}
	}
	var out bytes.Buffer
	Copy(context.Background(), &out, path, Wish{Tail: 2, Timestamps: true})
	if stamp, rest, _ := strings.Cut(out.String(), " "); !strings.HasPrefix(rest, "four\n") {
		t.Errorf("%s", out.String())
	} else if _, err := time.Parse(time.RFC3339Nano, stamp); err != nil {
		t.Error(err)
	}
}

func TestAFollowedLogEndsWithItsContainer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	log, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := log.Pipe("stdout")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	out, in := io.Pipe()
	go func() {
		in.CloseWithError(Copy(context.Background(), in, path, Wish{Tail: -1, Follow: true, Ended: ended}))
	}()
	seen := bufio.NewReader(out)
	for i := range 3 {
		fmt.Fprintf(pipe, "line %d\n", i)
		if line, err := seen.ReadString('\n'); line != fmt.Sprintf("line %d\n", i) {
			t.Errorf("%q, %v", line, err)
		}
	}
	fmt.Fprint(pipe, "last")
	pipe.Close()
	log.Close()
	close(ended)
	if rest, err := io.ReadAll(seen); string(rest) != "last" || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestALineAndALogHaveLimits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for length, parts := range map[int]int{lineBytesMax - 1: 1, lineBytesMax: 2} {
		written(t, path, strings.Repeat("x", length)+"\n")
		stored, err := os.ReadFile(path)
		if err != nil || strings.Count(string(stored), "\n") != parts {
			t.Errorf("a line of %d bytes is kept in %d parts, %v", length, strings.Count(string(stored), "\n"), err)
		}
	}
	log, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	log.add("stdout", []byte("first\n"))
	log.bytesMax = log.written
	log.add("stdout", []byte("at the limit\n"))
	if stored, _ := os.ReadFile(path); strings.Count(string(stored), "\n") != 2 {
		t.Errorf("%q", stored)
	}
	log.add("stdout", []byte("past it\n"))
	if stored, _ := os.ReadFile(path); !strings.HasSuffix(string(stored), "past it\n") || strings.Contains(string(stored), "first") {
		t.Errorf("%q", stored)
	}
}

func written(t *testing.T, path string, texts ...string) {
	log, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := log.Pipe("stdout")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		fmt.Fprint(pipe, text)
	}
	pipe.Close()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}
