package simnet

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.uber.org/zap"

	"provingground/internal/mina"
	"provingground/uptime"
)

// The rhythm of uptime reports (uptime, sections 1 and 5).
const (
	reportSlots   = 5
	listedFor     = 20 * time.Minute // wall time
	reporters     = 8                // reports under way at once
	reportTimeout = 30 * time.Second // wall time
)

// report is one node's news that it is up.
type report struct {
	node *node
	made time.Time // wall time
	tip  *block
}

// beginReports lets every running node report, every five slots.
func (n *Network) beginReports(slot int) {
	if slot%reportSlots == 0 {
		n.reportAll()
	}
}

// reportAll lets every running node report now: to the network's own online list, or to the service that the options name.
func (n *Network) reportAll() {
	now, lost := n.clock.Wall(), 0
	for _, node := range n.nodes {
		if node.daemon == nil || node.tip == nil { // a report needs a best tip
			continue
		}
		node.reported = now
		if n.reports == nil {
			continue
		}
		select {
		case n.reports <- report{node: node, made: now, tip: node.tip}:
		default:
			lost++
		}
	}
	if lost > 0 {
		n.log.Warn("the uptime service does not keep up: reports were left out", zap.Int("reports", lost))
	}
}

// startReporting begins the goroutines that send reports, where they go to a service.
func (n *Network) startReporting(ctx context.Context) {
	if n.reports == nil {
		return
	}
	for range reporters {
		n.driver.Go(func() error {
			for {
				var next report
				n.clock.Idle(func() {
					select {
					case next = <-n.reports:
					case <-ctx.Done():
					}
				})
				if ctx.Err() != nil {
					return nil //nolint:nilerr // the end of the network, which is no failure
				}
				n.sendReport(ctx, next)
			}
		})
	}
}

// sendReport submits one report and journals what came of it.
func (n *Network) sendReport(ctx context.Context, r report) {
	ctx, cancel := context.WithTimeoutCause(ctx, reportTimeout, fmt.Errorf("no answer within %v", reportTimeout))
	defer cancel()
	var fact UptimeReported
	n.clock.Idle(func() {
		status, err := n.submit(ctx, r)
		if fact.Status = status; err != nil {
			fact.Error = err.Error()
		}
	})
	if fact.Error != "" || fact.Status != http.StatusOK {
		n.log.Warn("an uptime report was not taken", zap.String("node", r.node.address), zap.Int("status", fact.Status), zap.String("error", fact.Error))
	}
	n.do(func() { n.record(r.node, fact) })
}

// submit posts a signed report from the node's own address, so that the service sees where the node is.
func (n *Network) submit(ctx context.Context, r report) (status int, err error) {
	body, err := r.signed(n.opts.Port)
	if err != nil {
		return 0, err
	}
	service, err := url.Parse(n.opts.UptimeURL)
	if err != nil {
		return 0, err
	}
	var dialer net.Dialer
	if isLoopback(service) {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(r.node.host)}
	}
	// A connection of its own for each report: a kept one would have another node's address.
	transport := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}
	status, _, err = uptime.Submit(ctx, transport, n.opts.UptimeURL, body)
	return status, err
}

// isLoopback reports whether a URL's host is this machine by a loopback address, which is all that loopback addresses can reach.
func isLoopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return ip.IsLoopback() || u.Hostname() == "localhost"
}

// signed spells and signs the report. Newer nodes use version 1, older ones version 0 (uptime, section 2).
func (r report) signed(port uint16) ([]byte, error) {
	said := uptime.Report{
		Block:     fmt.Appendf(nil, "simulated block %s %d %d", r.tip.hash, r.tip.height, r.tip.slot),
		CreatedAt: r.made, PeerID: r.node.peerID, ControlPort: port,
	}
	if !r.node.older {
		said.Version, said.BuiltWithCommitSHA = 1, commitID
	}
	return said.Sign(mina.Testnet, r.node.key)
}

// onlineList is the list of nodes that reported lately, as an uptime service serves it (uptime, section 5).
type onlineList struct{ net *Network }

// onlineEntry is one node in the list.
type onlineEntry struct {
	Port      uint16 `json:"graphql_control_port,omitempty"`
	Remote    string `json:"remote_addr"`
	Submitter string `json:"submitter"`
}

// ServeHTTP answers with the list on /v1/online. Any other path gets a short text, as the real service does it.
func (l onlineList) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := l.net
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if r.URL.Path != "/v1/online" {
		_, _ = io.WriteString(w, "simulated uptime service")
		return
	}
	entries := []onlineEntry{}
	var slow, status, malformed, empty, noPort Fault
	n.do(func() {
		strike := func(kind FaultKind) Fault {
			fault, _ := n.faults.strike(kind, "", "", n.slotOf(n.now))
			return fault
		}
		slow, status, malformed = strike(FaultListSlow), strike(FaultListStatus), strike(FaultListMalformed)
		empty, noPort = strike(FaultListEmpty), strike(FaultListNoPort)
		since := n.clock.Wall().Add(-listedFor)
		for _, node := range n.nodes {
			if node.reported.After(since) {
				entries = append(entries, onlineEntry{Port: n.opts.Port, Remote: node.host, Submitter: n.accounts.text(node.account)})
			}
		}
		if noPort.Kind != "" {
			entries = append(entries, onlineEntry{Remote: host(len(n.nodes)), Submitter: n.accounts.text(n.nodes[0].account)})
		}
	})
	if slow.Kind != "" && n.waitWall(r.Context(), slow.Delay) != nil {
		panic(http.ErrAbortHandler)
	}
	switch {
	case status.Kind != "":
		http.Error(w, "simulated failure", status.Status)
		return
	case malformed.Kind != "":
		_, _ = io.WriteString(w, `[{"remote_addr":"127.`)
		return
	case empty.Kind != "":
		entries = entries[:0]
	}
	_ = json.NewEncoder(w).Encode(entries) // a client that went away is its own concern
}

// OnlineURL returns where the online list is: the network's own, which Transport reaches too, or, when reports go to a service, that
// service's list.
func (n *Network) OnlineURL() string {
	if n.opts.UptimeURL != "" {
		u, _ := url.Parse(n.opts.UptimeURL) // checked by New
		return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/v1/online"}).String()
	}
	return "http://" + n.listAddress() + "/v1/online"
}

func (n *Network) listAddress() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(n.opts.ListPort)))
}
