//go:build linux

package worker

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// The descriptors that a fed worker inherits, by their numbers in the worker.
const (
	JobsDescriptor   = 3
	ProofsDescriptor = 4
)

// Inherited opens the two descriptors that the agent hands to a fed worker: jobs to read, proofs to write. The caller closes them. Their reads
// end when they are closed. The error says that the program was not started by an agent.
func Inherited() (jobs, proofs *os.File, err error) {
	for _, fd := range []int{JobsDescriptor, ProofsDescriptor} {
		// Only a non-blocking descriptor goes through the poller, where Close ends a blocked Read.
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, nil, fmt.Errorf("descriptor %d, from the agent: %w: a fed worker is started by snarkpool agent", fd, err)
		}
		unix.CloseOnExec(fd)
	}
	return os.NewFile(JobsDescriptor, "jobs"), os.NewFile(ProofsDescriptor, "proofs"), nil
}
