package fetcher

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"provingground/internal/clock"
	"provingground/uptime"
)

// Discoverer lists the nodes of a network. *uptime.OnlineList and *uptime.Submissions are ones.
type Discoverer interface {
	List(ctx context.Context) ([]uptime.Node, error)
}

// Fixed is a Discoverer that always finds the same nodes: those of the sub-command node-address-port, say.
type Fixed []uptime.Node

// List returns the nodes.
func (f Fixed) List(context.Context) ([]uptime.Node, error) { return f, nil }

// NodeName returns the name by which a node is known downstream: the last 8 characters of its submitter, its host and its port,
// with dashes between them (log-fetcher, section 5). A shorter submitter is taken whole, and without one the name begins with a dash.
// What no database can hold is replaced.
func NodeName(submitter, host string, port uint16) string {
	characters := []rune(submitter)
	return mendText(string(characters[max(0, len(characters)-8):]) + "-" + host + "-" + strconv.Itoa(int(port)))
}

// State is what a node's reader does.
type State string

// The states. A node is stopped when it is not in the list any more, or while the collector is frozen or not running.
const (
	Connecting State = "connecting"
	Running    State = "running"
	Backoff    State = "backoff"
	Stopped    State = "stopped"
)

// NodeStatus is what is known of a node: the fields of GET /nodes (log-fetcher, section 6) and more.
type NodeStatus struct {
	IP                string `json:"ip"` // or host name
	GraphQLPort       uint16 `json:"graphql_port"`
	SubmitterPK       string `json:"submitter_pk"`
	InternalTracePort uint16 `json:"internal_trace_port"` // a number from 11000 on, nothing listens there; 0 when the numbers are used up
	IsBlockProducer   *bool  `json:"is_block_producer"`   // nil before the node said so
	Name              string `json:"name,omitempty"`      // for people, from Options.Names

	NodeName string `json:"node_name"`
	Active   bool   `json:"active"` // in the latest list; GET /nodes shows these
	State    State  `json:"state"`
	// Frozen tells that the node is listed and is not read because of Freeze; its State is Stopped once its reader has ended.
	Frozen bool `json:"frozen,omitempty"`
	// LastLogID is the ID of the last stored entry of the present run of the daemon, 0 before the first one.
	LastLogID int `json:"last_log_id"`
	// ServerUUID is that run; empty before the node was reached.
	ServerUUID string `json:"server_uuid,omitempty"`
	// LastSuccess is up to when the node's log was last read and stored: when the request began whose answer ended the reading, wall time.
	// Zero before the first time.
	LastSuccess time.Time `json:"last_success,omitzero"`
	// LostEntries is how many entries are known to be missing since this process began; the store knows of all.
	LostEntries int `json:"lost_entries"`
	// LostUnknown is how often an unknown number was lost, perhaps none, as at a restart of the daemon.
	LostUnknown int `json:"lost_unknown"`
	// LastError is what keeps the node from being read, or the store from storing; empty while all is well.
	LastError string `json:"last_error,omitempty"`
}

// identity is what makes two entries of a list the same node (log-fetcher, section 2).
type identity struct {
	host      string
	port      uint16
	submitter string
}

// node is a node that was discovered. What is not in status never changes, unless it says so.
type node struct {
	identity
	address string
	status  NodeStatus // with the collector's lock
	listed  time.Time  // when it was last in a list; the manager's own

	// stop ends the node's reader, and ended happens when it has ended; nil when there is none. With the collector's lock.
	stop  context.CancelCauseFunc
	ended *clock.Event
}

// locate says what node a list's entry is, and where.
func locate(entry uptime.Node, overrides uptime.Overrides) (id identity, address string, err error) {
	address, err = overrides.Address(entry.RemoteAddr, entry.ControlPort)
	if err != nil {
		return identity{}, "", err
	}
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return identity{}, "", fmt.Errorf("address %q: %w", address, err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return identity{}, "", fmt.Errorf("address %q: %w", address, err)
	}
	return identity{host, uint16(port), entry.Submitter}, address, nil
}
