package uptime

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Node is one entry of the online list: a node that reported lately. Its JSON form is that of GET /v1/online (uptime, section 5) and,
// but for LastSeen, part of a stored submission (uptime, section 6.1).
//
// A node is identified by its first three fields together, so one that moved or changed its port appears twice for a while.
type Node struct {
	// Submitter is the public key that signed the report.
	Submitter string `json:"submitter"`
	// RemoteAddr is where the report came from: an IP address in canonical form, or a host name in lower case, without port. What is
	// neither is kept as it came; [Overrides.Address] refuses it unless the control port leads elsewhere.
	RemoteAddr string `json:"remote_addr"`
	// ControlPort is the ITN port that the node claims to have, 0 when it named none.
	ControlPort uint16 `json:"graphql_control_port,omitempty"`
	// PeerID is the node's libp2p peer ID, empty when the source does not tell.
	PeerID string `json:"peer_id,omitempty"`
	// BuiltWithCommitSHA is the commit that the node was built from, empty when the source does not tell.
	BuiltWithCommitSHA string `json:"built_with_commit_sha,omitempty"`
	// LastSeen is when the service received the latest report, by the service's clock and in UTC; zero when the source does not tell.
	LastSeen time.Time `json:"last_seen,omitzero"`
}

// decodeNodes reads an online list: a JSON array of objects and nothing else, or an error. Unknown keys are ignored, and no key is
// required; a field of a wrong type spoils the list, for then it is something else.
func decodeNodes(body []byte) ([]Node, error) {
	var entries []json.RawMessage
	if err := json.Unmarshal(body, &entries); err != nil {
		return nil, fmt.Errorf("not a JSON array of nodes: %w", err)
	}
	if entries == nil {
		return nil, errors.New("not a JSON array of nodes: null")
	}
	nodes := make([]Node, 0, len(entries))
	for i, entry := range entries {
		node, err := decodeNode(entry)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		node.LastSeen = node.LastSeen.UTC()
		nodes = append(nodes, node)
	}
	return newest(nodes), nil
}

// decodeNode reads one JSON object.
func decodeNode(object []byte) (Node, error) {
	var node *Node
	if err := json.Unmarshal(object, &node); err != nil {
		return Node{}, fmt.Errorf("not a node: %w", err)
	}
	if node == nil {
		return Node{}, errors.New("not a node: null")
	}
	if host, err := canonicalHost(node.RemoteAddr); err == nil {
		node.RemoteAddr = host
	}
	return *node, nil
}

// newest sorts nodes by address, port and submitter, and keeps of each the one seen last. It changes its argument.
func newest(nodes []Node) []Node {
	slices.SortStableFunc(nodes, func(a, b Node) int { return cmp.Or(compareIdentity(a, b), b.LastSeen.Compare(a.LastSeen)) })
	return slices.CompactFunc(nodes, func(a, b Node) bool { return compareIdentity(a, b) == 0 })
}

func compareIdentity(a, b Node) int {
	return cmp.Or(
		cmp.Compare(a.RemoteAddr, b.RemoteAddr),
		cmp.Compare(a.ControlPort, b.ControlPort),
		cmp.Compare(a.Submitter, b.Submitter),
	)
}
