package uptime

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ErrNoControlPort says that a node named no control port: its ITN port is not enabled.
var ErrNoControlPort = errors.New("no graphql_control_port: the node's ITN port is not enabled")

// Overrides are the templates of urlOverrides, for networks whose nodes are reached through forwarded ports. A control port of 10000
// or more stands for a template and a number: 10007 is the first template with 7, 20007 the second. A nil Overrides has no template.
type Overrides []string

// Address returns where the ITN port of a node is reached, as HOST:PORT with an IPv6 host in brackets (orchestrator-scripts, section
// 4.1). If the control port stands for a template that exists, it is that template with every {} replaced by the number, and port
// 80; the remote address does not matter then. Otherwise it is the remote address, less the port that it may carry, and the control
// port.
//
// It returns [ErrNoControlPort] for port 0, and an error for a remote address that is neither an IP address nor a host name.
func (o Overrides) Address(remote string, port uint16) (string, error) {
	if port == 0 {
		return "", fmt.Errorf("address of the node at %q: %w", remote, ErrNoControlPort)
	}
	if template := int(port)/10000 - 1; template >= 0 && template < len(o) {
		return strings.ReplaceAll(o[template], "{}", strconv.Itoa(int(port)%10000)) + ":80", nil
	}
	host, err := canonicalHost(remote)
	if err != nil {
		return "", fmt.Errorf("address of the node at %q: %w", remote, err)
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port))), nil
}

// canonicalHost returns the host of a remote address in the one spelling we use: an IP address, or a host name in lower case. Services
// store the remote address with or without port, and some as the X-Forwarded-For header said, whatever that was (uptime, section 4.1).
func canonicalHost(remote string) (string, error) {
	if withPort, err := netip.ParseAddrPort(remote); err == nil {
		return canonicalIP(withPort.Addr())
	}
	bare := remote
	if inner, ok := strings.CutPrefix(bare, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); ok {
			bare = inner
		}
	}
	if ip, err := netip.ParseAddr(bare); err == nil {
		return canonicalIP(ip)
	}
	name, port, hasPort := strings.Cut(remote, ":")
	if _, err := strconv.ParseUint(port, 10, 16); hasPort && err != nil || !isHostName(name) {
		return "", errors.New("neither an IP address nor a host name")
	}
	return strings.ToLower(name), nil
}

func canonicalIP(ip netip.Addr) (string, error) {
	if ip.Zone() != "" {
		return "", errors.New("an address with a zone means nothing on another machine")
	}
	return ip.Unmap().String(), nil
}

// isHostName tells whether text has the form of a DNS name. Names that end in a number are not: they are what is left of an IP address
// that somebody cut at a colon or a dot.
func isHostName(text string) bool {
	if len(text) > 253 {
		return false
	}
	labels := strings.Split(text, ".")
	if slices.ContainsFunc(labels, func(label string) bool { return !isHostLabel(label) }) {
		return false
	}
	_, err := strconv.ParseUint(labels[len(labels)-1], 10, 64)
	return err != nil
}

// isHostLabel tells whether text may stand between the dots of a host name. Underscores are not for host names by the book, but some
// networks of containers have them.
func isHostLabel(text string) bool {
	if text == "" || len(text) > 63 || text[0] == '-' || text[len(text)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}
