// Package box runs one container: a process tree in namespaces of its own, on a root that shows the
// machine's files with the container's mounts over them.
//
// The node program starts itself anew as the box's first process (First), which builds the root,
// starts the container's program and whatever is executed in it later, and ends with the program.
// When the first process ends, the kernel ends all others. It ends when the node program does: the
// kernel kills it then, and it also watches its control socket.
package box

// Spec is all that the first process needs to know. It travels as a file.
type Spec struct {
	Hostname string
	Argv     []string
	Env      []string
	Dir      string
	User     User
	// Capabilities is the most that any process in the box can have.
	Capabilities []string
	NoNewPrivs   bool
	ReadOnlyRoot bool
	Mounts       []Mount
	Files        []File
	// Scratch is an empty folder of the machine: the root is built there.
	Scratch string
}

// User is whom the program runs as.
type User struct {
	UID    uint32
	GID    uint32
	Groups []uint32
}

// Mount shows a file or folder of the machine at a path of the box.
type Mount struct {
	Source   string
	Target   string
	ReadOnly bool
}

// File is written into the box before its program starts.
type File struct {
	Path    string
	Content string
}
