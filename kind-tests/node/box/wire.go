package box

import (
	"encoding/json"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// What travels on the control socket, one message a packet.

// request asks for a process beside the box's program, or for an earlier one's end.
type request struct {
	ID   int
	Argv []string
	// TTY makes the process's input its terminal.
	TTY  bool
	Kill bool
}

// reply says how a process ended or why it could not start. ID 0 is the box's program itself: the
// one reply about it says that it was started, or why not.
type reply struct {
	ID    int
	Code  int
	Error string
}

const (
	// A command line in a packet. The kernel takes a packet of 200 KiB at most.
	messageBytesMax = 128 << 10
	filesPerMessage = 3
)

func socketPair() (*net.UnixConn, *os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	theirs := os.NewFile(uintptr(pair[1]), "box")
	ours := os.NewFile(uintptr(pair[0]), "node")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}

func send(conn *net.UnixConn, message any, files ...*os.File) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if len(text) > messageBytesMax {
		return fmt.Errorf("a message of %d bytes, at most %d", len(text), messageBytesMax)
	}
	var rights []byte
	if len(files) > 0 {
		var numbers []int
		for _, file := range files {
			numbers = append(numbers, int(file.Fd()))
		}
		rights = unix.UnixRights(numbers...)
	}
	_, _, err = conn.WriteMsgUnix(text, rights, nil)
	return err
}

// receive fills in one message; it ends with io.EOF when the other side is gone.
func receive(conn *net.UnixConn, message any) ([]*os.File, error) {
	text := make([]byte, messageBytesMax)
	rights := make([]byte, unix.CmsgSpace(4*filesPerMessage))
	n, m, _, _, err := conn.ReadMsgUnix(text, rights)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, net.ErrClosed
	}
	var files []*os.File
	controls, err := unix.ParseSocketControlMessage(rights[:m])
	if err != nil {
		return nil, err
	}
	for _, control := range controls {
		numbers, err := unix.ParseUnixRights(&control)
		if err != nil {
			return nil, err
		}
		for _, number := range numbers {
			unix.CloseOnExec(number)
			files = append(files, os.NewFile(uintptr(number), "passed"))
		}
	}
	return files, json.Unmarshal(text[:n], message)
}
