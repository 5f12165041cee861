package box

import (
	"io"
	"net"
	"os"
	"strings"
	"testing"
)

func TestAMessageBringsItsFiles(t *testing.T) {
	here, there := pair(t)
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := send(here, request{ID: 7, Argv: []string{"a", "b c"}, TTY: true}, to, to, to); err != nil {
		t.Fatal(err)
	}
	to.Close()
	var r request
	files, err := receive(there, &r)
	if err != nil || r.ID != 7 || len(r.Argv) != 2 || !r.TTY || len(files) != 3 {
		t.Fatalf("%+v with %d files, %v", r, len(files), err)
	}
	files[2].WriteString("through the third")
	for _, file := range files {
		file.Close()
	}
	if text, err := io.ReadAll(from); string(text) != "through the third" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}

func TestAMessageHasALimit(t *testing.T) {
	here, there := pair(t)
	// All of a request that is not its one argument.
	frame := len(`{"ID":0,"Argv":[""],"TTY":false,"Kill":false}`)
	longest := request{Argv: []string{strings.Repeat("x", messageBytesMax-frame)}}
	if err := send(here, longest); err != nil {
		t.Fatal(err)
	}
	var r request
	if _, err := receive(there, &r); err != nil || len(r.Argv[0]) != messageBytesMax-frame {
		t.Errorf("%d bytes arrived, %v", len(r.Argv), err)
	}
	longest.Argv[0] += "x"
	if err := send(here, longest); err == nil {
		t.Error("a message one byte too long was sent")
	}
}

func TestTheEndOfTheOtherSideIsNoticed(t *testing.T) {
	here, there := pair(t)
	send(here, reply{ID: 1})
	here.Close()
	var r reply
	if _, err := receive(there, &r); err != nil || r.ID != 1 {
		t.Errorf("what was said before the end is lost: %+v, %v", r, err)
	}
	if _, err := receive(there, &r); err == nil {
		t.Error("a message from nobody")
	}
}

func pair(t *testing.T) (*net.UnixConn, *net.UnixConn) {
	here, file, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	there, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		here.Close()
		there.Close()
	})
	return here, there.(*net.UnixConn)
}
