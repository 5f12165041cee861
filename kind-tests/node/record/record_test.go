package record

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestOnlyTheRecordedProcessIsEnded(t *testing.T) {
	folder := t.TempDir()
	state, err := Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(folder); err == nil {
		t.Fatal("two programs have one folder")
	}
	pod, err := state.Pod("shop", "cart", "u1")
	if err != nil {
		t.Fatal(err)
	}
	recorded, other := sleeper(t), sleeper(t)
	if err := pod.SetBox("app", recorded.Process.Pid); err != nil {
		t.Fatal(err)
	}
	// As if the number had been used again.
	pod.Boxes["gone"] = Process{PID: other.Process.Pid, Started: "1"}
	if err := pod.save(); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(pod.Log("app", 0), []byte("said"), 0o644)
	state.Close()

	if state, err = Open(folder); err != nil {
		t.Fatal(err)
	}
	if recorded.Wait() == nil {
		t.Error("the recorded process ended by itself")
	}
	if started, err := startTime(other.Process.Pid); err != nil || started == "" {
		t.Errorf("another process was ended: %v", err)
	}
	if _, err := os.Stat(pod.folder); !os.IsNotExist(err) {
		t.Errorf("the pod's folder is still there: %v", err)
	}
	if _, err := os.Stat(pod.Log("app", 0)); err != nil {
		t.Errorf("its log is gone: %v", err)
	}
	state.Close()
	if err := Cleanup(folder); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(folder + "/*"); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

func sleeper(t *testing.T) *exec.Cmd {
	command := exec.Command("sleep", "60")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { command.Process.Kill() })
	return command
}
