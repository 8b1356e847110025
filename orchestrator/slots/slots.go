// Package slots is the arithmetic of won slots: which share of a range of global slots somebody won, and how to split the winners
// into groups that won about as many slots each.
//
// A block producer knows the slots that it will win, epoch by epoch (itn-graphql, section 4.7). [Cover] and [CoverWindow] count them
// for slots-covered-check and for the coverage function of scripts; [Allocate] makes the groups of allocate-slots, by which an
// experiment can take away a known share of the blocks (orchestrator-scripts, section 3.9). Nothing here asks a node, waits, or
// chooses at random: the same answers give the same result, in whichever order they came.
package slots

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// ErrNoSlots says that nobody won a slot where at least one is needed.
var ErrNoSlots = errors.New("no slot won")

// maxSlot is the greatest global slot taken for one. The daemon counts in 32 bits; a quarter of that is thousands of years.
const maxSlot = 1 << 30

// Won is the answer of one node to slotsWon, and the JSON shape of the output slotsWon.
type Won struct {
	// Address is the node's HOST:PORT.
	Address string `json:"address"`
	// Slots are the global slots that the node's producers win, in any order; repetitions do not count.
	Slots []int `json:"slots"`
}

// Coverage tells how many of the global slots First to Last, both included, somebody won.
type Coverage struct {
	Won, First, Last int
}

// Range returns the number of slots from First to Last.
func (c Coverage) Range() int { return c.Last - c.First + 1 }

// Ratio returns the share of won slots, from 0 to 1.
func (c Coverage) Ratio() float64 { return float64(c.Won) / float64(c.Range()) }

// Cover counts the distinct slots won between the least and the greatest of them. It returns [ErrNoSlots] when there are none:
// there is no range then, so neither is there a share of it.
func Cover(won []Won) (Coverage, error) {
	all, err := distinct(won)
	if err != nil {
		return Coverage{}, err
	}
	if len(all) == 0 {
		return Coverage{}, fmt.Errorf("coverage of %d nodes: %w: ask block producers whose VRF evaluation has completed",
			len(won), ErrNoSlots)
	}
	return Coverage{Won: len(all), First: all[0], Last: all[len(all)-1]}, nil
}

// CoverWindow counts the distinct slots won from first to last, both included. A window in which nobody won anything has coverage 0.
func CoverWindow(won []Won, first, last int) (Coverage, error) {
	if first < 0 || last < first || last > maxSlot {
		return Coverage{}, fmt.Errorf("coverage from slot %d to slot %d: give a window of slots, 0 or later, that does not end before it begins",
			first, last)
	}
	all, err := distinct(won)
	if err != nil {
		return Coverage{}, err
	}
	return Coverage{Won: upTo(all, last) - upTo(all, first-1), First: first, Last: last}, nil
}

// distinct returns the slots that somebody won, each once, in ascending order.
func distinct(won []Won) ([]int, error) {
	var all []int
	for _, node := range won {
		for _, slot := range node.Slots {
			if slot < 0 || slot > maxSlot {
				return nil, fmt.Errorf("slots won by %s: %d is not a global slot (0 to %d)", node.Address, slot, maxSlot)
			}
		}
		all = append(all, node.Slots...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// upTo returns how many of the ascending slots are not after last.
func upTo(ascending []int, last int) int {
	n, _ := slices.BinarySearch(ascending, last+1)
	return n
}

// host is everything that runs on one machine.
type host struct {
	addresses []string
	slots     []int
}

// byHost merges the answers of nodes that share a host, which live and die together. The hosts come in the order of their names, so
// that nothing after this depends on the order of the answers.
func byHost(won []Won) ([]host, error) {
	merged := make(map[string]host)
	for _, node := range won {
		name, err := hostOf(node.Address)
		if err != nil {
			return nil, err
		}
		h := merged[name]
		h.addresses = append(h.addresses, node.Address)
		h.slots = append(h.slots, node.Slots...)
		merged[name] = h
	}
	hosts := make([]host, 0, len(merged))
	for _, name := range slices.Sorted(maps.Keys(merged)) {
		h := merged[name]
		slices.Sort(h.addresses)
		h.addresses = slices.Compact(h.addresses)
		hosts = append(hosts, h)
	}
	return hosts, nil
}

// hostOf returns the host of HOST:PORT, spelled the same way for every spelling of one IP address or name.
func hostOf(address string) (string, error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil || name == "" || port == "" {
		return "", fmt.Errorf("node address %q: want HOST:PORT, an IPv6 host in brackets", address)
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.Unmap().String(), nil
	}
	return strings.ToLower(name), nil
}
