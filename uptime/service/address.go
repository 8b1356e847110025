package service

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// proxies are the addresses whose X-Forwarded-For is believed.
type proxies []netip.Prefix

func (p proxies) trust(address netip.Addr) bool {
	return slices.ContainsFunc(p, func(prefix netip.Prefix) bool { return prefix.Contains(address) })
}

// errForwarded means that a trusted proxy wrote what cannot be understood.
var errForwarded = errors.New("X-Forwarded-For of a trusted proxy is malformed")

// client returns where a request comes from: the connection's other end, or, if that is a trusted proxy, the right-most address of X-Forwarded-For that is none.
// Whatever is left of that was written by strangers, and is not looked at. Where all are trusted proxies, it is the left-most of them; named is
// false where a trusted proxy names none, and then it is the proxy's own.
func (p proxies) client(r *http.Request) (address netip.Addr, named bool, err error) {
	peer, err := connectionAddress(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false, err
	}
	if !p.trust(peer) {
		return peer, true, nil
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	address = peer
	for _, hop := range slices.Backward(hops) {
		hop = strings.TrimSpace(hop)
		if hop == "" {
			continue // lists may have empty elements (RFC 9110, section 5.6.1)
		}
		if address, err = forwardedAddress(hop); err != nil {
			return netip.Addr{}, false, err
		}
		named = true
		if !p.trust(address) {
			break
		}
	}
	return address, named, nil
}

// connectionAddress reads the address of a connection's other end as net/http writes it.
func connectionAddress(text string) (netip.Addr, error) {
	parsed, err := netip.ParseAddrPort(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("address of the connection: %w", err)
	}
	return parsed.Addr().Unmap().WithZone(""), nil
}

// forwardedAddress reads one element of X-Forwarded-For. Some proxies write the client's port, too.
func forwardedAddress(hop string) (netip.Addr, error) {
	address, err := netip.ParseAddr(hop)
	if err != nil {
		var withPort netip.AddrPort
		if withPort, err = netip.ParseAddrPort(hop); err != nil {
			return netip.Addr{}, errForwarded
		}
		address = withPort.Addr()
	}
	address = address.Unmap()
	if address.Zone() != "" || address.IsUnspecified() || address.IsMulticast() {
		return netip.Addr{}, errForwarded
	}
	return address, nil
}

// origin is whom a limit per address is for: an IPv4 address, or the IPv6 network of 64 bits in which whoever has one address has all.
type origin netip.Prefix

func originOf(address netip.Addr) origin {
	bits := 64
	if address.Is4() {
		bits = 32
	}
	return origin(netip.PrefixFrom(address, bits).Masked()) // zero for an address that is none: all of these share one account
}
