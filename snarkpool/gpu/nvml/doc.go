// Package nvml reads GPUs through NVIDIA's management library, which comes with the driver.
//
// It is built with the tag nvml and cgo on Linux (go build -tags nvml); otherwise [Open] gives a reader that answers "no NVML support built
// in", so that programs need no tags of their own. With it, and without a driver, the answer is "no driver"; a driver that is loaded later
// is found by the next question.
//
// A driver can hang, and a call that hangs in it cannot be ended. So one question is asked at a time, on a goroutine of its own: the caller
// gives up when its context ends, and until the driver has answered the earlier question the next ones wait, each as long as its context
// allows. At most one thread is ever lost to reading, and one to events. Symbols that an older driver lacks are looked up before they are
// called, because calling one that is missing ends the process.
//
// The methods of the library that this package may call are the interfaces library and device, and a test over the whole module holds
// to it: they read, wait and let go, and none changes a setting.
//
// It is tested against NVIDIA's own mock servers (make test-nvml), and against a library that is not there. It has not been run on a GPU yet:
// none was at hand. On a machine that has one, compare its inventory with what nvidia-smi -q -x says.
package nvml
