package uptime

import (
	"encoding/json"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeNodes(t *testing.T) {
	tests := []struct {
		name, body string
		want       []Node
	}{
		{"empty", ` [] `, []Node{}},
		{
			"the documented entry",
			`[{"graphql_control_port":3086,"remote_addr":"10.0.0.7","submitter":"B62a"}]`,
			[]Node{{Submitter: "B62a", RemoteAddr: "10.0.0.7", ControlPort: 3086}},
		},
		{
			"an entry without a port beside one with",
			`[{"remote_addr":"10.0.0.8","submitter":"B62b"},{"graphql_control_port":3086,"remote_addr":"10.0.0.7","submitter":"B62a"}]`,
			[]Node{{Submitter: "B62a", RemoteAddr: "10.0.0.7", ControlPort: 3086}, {Submitter: "B62b", RemoteAddr: "10.0.0.8"}},
		},
		{
			"unknown keys and what newer services add",
			`[{"remote_addr":"10.0.0.7","submitter":"B62a","graphql_control_port":1,"peer_id":"12D3Koo","built_with_commit_sha":"36e0198c",` +
				`"last_seen":"2024-05-01T12:00:00+02:00","created_at":7,"more":{"x":[null]}}]`,
			[]Node{{
				Submitter: "B62a", RemoteAddr: "10.0.0.7", ControlPort: 1, PeerID: "12D3Koo", BuiltWithCommitSHA: "36e0198c",
				LastSeen: time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC),
			}},
		},
		{
			"spellings of one node collapse",
			`[{"remote_addr":"10.0.0.7:51234","submitter":"B62a","graphql_control_port":3086},` +
				`{"remote_addr":"::ffff:10.0.0.7","submitter":"B62a","graphql_control_port":3086},` +
				`{"remote_addr":"[::ffff:10.0.0.7]:9","submitter":"B62a","graphql_control_port":3086},` +
				`{"remote_addr":"10.0.0.7","submitter":"B62a","graphql_control_port":3086}]`,
			[]Node{{Submitter: "B62a", RemoteAddr: "10.0.0.7", ControlPort: 3086}},
		},
		{
			"nodes that share an address, a port or a submitter do not",
			`[{"remote_addr":"10.0.0.7","submitter":"B62b","graphql_control_port":3086},` +
				`{"remote_addr":"10.0.0.7","submitter":"B62a","graphql_control_port":3086},` +
				`{"remote_addr":"10.0.0.7","submitter":"B62a","graphql_control_port":3085},` +
				`{"remote_addr":"10.0.0.6","submitter":"B62a","graphql_control_port":3086}]`,
			[]Node{
				{Submitter: "B62a", RemoteAddr: "10.0.0.6", ControlPort: 3086},
				{Submitter: "B62a", RemoteAddr: "10.0.0.7", ControlPort: 3085},
				{Submitter: "B62a", RemoteAddr: "10.0.0.7", ControlPort: 3086},
				{Submitter: "B62b", RemoteAddr: "10.0.0.7", ControlPort: 3086},
			},
		},
		{
			"of one node the entry seen last counts",
			`[{"remote_addr":"10.0.0.7","submitter":"B62a","peer_id":"old","last_seen":"2024-05-01T10:00:00Z"},` +
				`{"remote_addr":"10.0.0.7","submitter":"B62a","peer_id":"new","last_seen":"2024-05-01T10:05:00Z"},` +
				`{"remote_addr":"10.0.0.7","submitter":"B62a","peer_id":"unknown"}]`,
			[]Node{{Submitter: "B62a", RemoteAddr: "10.0.0.7", PeerID: "new", LastSeen: time.Date(2024, 5, 1, 10, 5, 0, 0, time.UTC)}},
		},
		{
			"an address that is none is kept as it came",
			`[{"remote_addr":"10.0.0.7, 192.168.0.1","submitter":"B62a","graphql_control_port":10001},{}]`,
			[]Node{{}, {Submitter: "B62a", RemoteAddr: "10.0.0.7, 192.168.0.1", ControlPort: 10001}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := decodeNodes([]byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("nodes (-want +got):\n%s", diff)
			}
			for _, node := range got {
				if node.LastSeen.Location() != time.UTC {
					t.Errorf("last seen at %s; want UTC", node.LastSeen)
				}
			}
		})
	}
}

func TestDecodeNodesRefuses(t *testing.T) {
	const good = `{"remote_addr":"10.0.0.7","submitter":"B62a"}`
	for name, body := range map[string]string{
		"nothing":                ``,
		"null":                   `null`,
		"an object":              `{"error":"not found"}`,
		"one node":               good,
		"HTML":                   `<!DOCTYPE html><title>502</title>`,
		"cut off":                `[` + good + `,{"remote_addr":`,
		"two lists":              `[][]`,
		"text after it":          `[]!`,
		"a list of texts":        `["10.0.0.7:3086"]`,
		"a list of lists":        `[[]]`,
		"null among nodes":       `[` + good + `,null]`,
		"a text as port":         `[` + good + `,{"graphql_control_port":"3086"}]`,
		"a port above 65535":     `[` + good + `,{"graphql_control_port":65536}]`,
		"a negative port":        `[` + good + `,{"graphql_control_port":-1}]`,
		"a fraction as port":     `[` + good + `,{"graphql_control_port":3086.5}]`,
		"a number as address":    `[` + good + `,{"remote_addr":7}]`,
		"an object as submitter": `[` + good + `,{"submitter":{}}]`,
		"a time that is none":    `[` + good + `,{"last_seen":"yesterday"}]`,
	} {
		t.Run(name, func(t *testing.T) {
			nodes, err := decodeNodes([]byte(body))
			if err == nil || nodes != nil {
				t.Fatalf("got %v, %v; want an error alone", nodes, err)
			}
			if strings.HasPrefix(body, `[`+good) && name != "cut off" && !strings.Contains(err.Error(), "entry 1") {
				t.Errorf("%v; want it to name entry 1", err)
			}
		})
	}
}

// FuzzDecodeNodes holds that a list is read into nodes that are sorted and distinct and mean the same when written and read again.
func FuzzDecodeNodes(f *testing.F) {
	for _, seed := range []string{
		`[]`, `null`, `[{}]`, `[null]`, `{}`, `<html>`, `[{"remote_addr":`,
		`[{"graphql_control_port":3086,"remote_addr":"10.0.0.7","submitter":"B62a"}]`,
		`[{"remote_addr":"[2001:DB8::1]:443","submitter":"B"},{"remote_addr":"2001:db8::1","submitter":"B","last_seen":"2024-05-01T10:00:00+02:00"}]`,
		`[{"remote_addr":"fe80::1%eth0"},{"remote_addr":"Node-1.Example.org:80"},{"remote_addr":"1.2.3"}]`,
		`[{"last_seen":"0000-01-01T00:00:00+23:59"},{"last_seen":"9999-12-31T23:59:59-23:59"}]`,
		strings.Repeat("[", 20000),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		nodes, err := decodeNodes(body)
		if err != nil {
			if nodes != nil {
				t.Fatalf("nodes and the error %v", err)
			}
			return
		}
		for i := 1; i < len(nodes); i++ {
			if compareIdentity(nodes[i-1], nodes[i]) >= 0 {
				t.Fatalf("nodes %d and %d of %v are not in order", i-1, i, nodes)
			}
		}
		for _, node := range nodes {
			address, err := Overrides(nil).Address(node.RemoteAddr, node.ControlPort)
			if err != nil {
				continue
			}
			if host, _, err := net.SplitHostPort(address); err != nil || host != node.RemoteAddr {
				t.Fatalf("the address of %+v is %q, its host %q: %v", node, address, host, err)
			}
		}
		// Years that a change to UTC carried out of range cannot be written.
		nodes = slices.DeleteFunc(nodes, func(n Node) bool { return n.LastSeen.Year() < 0 || n.LastSeen.Year() > 9999 })
		written, err := json.Marshal(nodes)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeNodes(written)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(nodes, again); diff != "" {
			t.Fatalf("read again (-first +again):\n%s", diff)
		}
	})
}

func TestAddress(t *testing.T) {
	overrides := Overrides{"plain-{}.example.org", "another-{}.example.org", "{}-{}.x", "fixed.example.org"}
	tests := []struct {
		remote string
		port   uint16
		want   string
	}{
		{"10.0.0.7", 3086, "10.0.0.7:3086"},
		{"10.0.0.7:51234", 3086, "10.0.0.7:3086"},
		{"2001:db8::1", 3086, "[2001:db8::1]:3086"},
		{"[2001:db8::1]", 3086, "[2001:db8::1]:3086"},
		{"[2001:DB8:0:0::1]:51234", 3086, "[2001:db8::1]:3086"},
		{"::ffff:10.0.0.7", 3086, "10.0.0.7:3086"},
		{"[::ffff:10.0.0.7]:51234", 1, "10.0.0.7:1"},
		{"Node-1.Example.org", 3086, "node-1.example.org:3086"},
		{"node_1:51234", 3086, "node_1:3086"},
		{"localhost", 9999, "localhost:9999"},
		{"10.0.0.7", 10000, "plain-0.example.org:80"},
		{"10.0.0.7", 10001, "plain-1.example.org:80"},
		{"10.0.0.7", 19999, "plain-9999.example.org:80"},
		{"10.0.0.7", 20002, "another-2.example.org:80"},
		{"10.0.0.7", 30042, "42-42.x:80"},
		{"10.0.0.7", 40001, "fixed.example.org:80"},
		{"10.0.0.7", 50001, "10.0.0.7:50001"},
		{"2001:db8::1", 65535, "[2001:db8::1]:65535"},
		{"", 10001, "plain-1.example.org:80"},
		{"10.0.0.7, 192.168.0.1", 20001, "another-1.example.org:80"},
	}
	for _, test := range tests {
		if got, err := overrides.Address(test.remote, test.port); err != nil || got != test.want {
			t.Errorf("Address(%q, %d) = %q, %v; want %q", test.remote, test.port, got, err, test.want)
		}
	}
	if got, err := (Overrides{"a-{}"}).Address("10.0.0.7", 40001); err != nil || got != "10.0.0.7:40001" {
		t.Errorf("without a fourth template: %q, %v; want the address itself", got, err)
	}
	if got, err := Overrides(nil).Address("10.0.0.7", 10001); err != nil || got != "10.0.0.7:10001" {
		t.Errorf("without templates: %q, %v; want the address itself", got, err)
	}
}

func TestAddressRefuses(t *testing.T) {
	for _, remote := range []string{
		"", ":51234", "10.0.0", "2001", "10.0.0.256", "1.2.3.4.5", "10.0.0.7, 192.168.0.1", "10.0.0.7:70000", "10.0.0.7:", "a b", "-a.example.org", "a-",
		"a..b", "a.", "fe80::1%eth0", "[fe80::1%eth0]:80", "[10.0.0.7", "2001:db8::1]:80", "http://10.0.0.7", "node/1", "nöde", "a:b",
		strings.Repeat("a", 64), strings.Repeat("a.", 127) + "a",
	} {
		if got, err := Overrides(nil).Address(remote, 3086); err == nil {
			t.Errorf("Address(%q) = %q; want an error", remote, got)
		} else if errors.Is(err, ErrNoControlPort) {
			t.Errorf("Address(%q): %v; the port is not what is wrong", remote, err)
		}
	}
	if got, err := (Overrides{"a-{}"}).Address("10.0.0.7", 0); !errors.Is(err, ErrNoControlPort) {
		t.Errorf("Address with port 0 = %q, %v; want ErrNoControlPort", got, err)
	}
}

func BenchmarkDecodeNodes(b *testing.B) {
	nodes := make([]Node, 1000)
	for i := range nodes {
		nodes[i] = Node{
			Submitter:  "B62qrztYfPinaKqpXaYGY6QJ3SSW2NNKs7SajBLF1iFNXW9BoALN2Aq",
			RemoteAddr: net.IPv4(10, 0, byte(i>>8), byte(i)).String(), ControlPort: 3086,
		}
	}
	body, err := json.Marshal(nodes)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeNodes(body); err != nil {
			b.Fatal(err)
		}
	}
}
