package service

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestClient(t *testing.T) {
	t.Parallel()
	trusted := proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, test := range []struct {
		name      string
		peer      string
		forwarded []string // header lines
		want      string   // empty: refused
		unnamed   bool
	}{
		{name: "no proxy", peer: "192.0.2.1:1234", want: "192.0.2.1"},
		{name: "a stranger's header", peer: "192.0.2.1:1234", forwarded: []string{"198.51.100.1"}, want: "192.0.2.1"},
		{name: "a stranger's garbage", peer: "192.0.2.1:1234", forwarded: []string{"nonsense"}, want: "192.0.2.1"},
		{name: "IPv6", peer: "[2001:db8::1]:1234", want: "2001:db8::1"},
		{name: "IPv4 as IPv6", peer: "[::ffff:192.0.2.1]:1234", want: "192.0.2.1"},
		{name: "proxy as IPv6", peer: "[::ffff:10.0.0.1]:1234", forwarded: []string{"192.0.2.9"}, want: "192.0.2.9"},
		{name: "zone of the link", peer: "[fe80::1%eth0]:1234", want: "fe80::1"},
		{name: "one hop", peer: "10.0.0.1:1", forwarded: []string{"192.0.2.9"}, want: "192.0.2.9"},
		{name: "forged before the truth", peer: "10.0.0.1:1", forwarded: []string{"198.51.100.1, 192.0.2.9"}, want: "192.0.2.9"},
		{name: "garbage before the truth", peer: "10.0.0.1:1", forwarded: []string{"<script>, 192.0.2.9"}, want: "192.0.2.9"},
		{name: "two proxies", peer: "10.0.0.1:1", forwarded: []string{"192.0.2.9, 10.0.0.2"}, want: "192.0.2.9"},
		{name: "two lines", peer: "10.0.0.1:1", forwarded: []string{"198.51.100.1", "192.0.2.9", "10.0.0.2"}, want: "192.0.2.9"},
		{name: "within the network", peer: "10.0.0.1:1", forwarded: []string{"10.0.0.9, 10.0.0.2"}, want: "10.0.0.9"},
		{name: "IPv6 proxy and client", peer: "[fd00::1]:1", forwarded: []string{"2001:DB8:0::9"}, want: "2001:db8::9"},
		{name: "mapped", peer: "10.0.0.1:1", forwarded: []string{"::ffff:192.0.2.9"}, want: "192.0.2.9"},
		{name: "with its port", peer: "10.0.0.1:1", forwarded: []string{"192.0.2.9:4711"}, want: "192.0.2.9"},
		{name: "IPv6 with its port", peer: "10.0.0.1:1", forwarded: []string{"[2001:db8::9]:4711"}, want: "2001:db8::9"},
		{name: "empty elements", peer: "10.0.0.1:1", forwarded: []string{"192.0.2.9, ,"}, want: "192.0.2.9"},
		{name: "no header", peer: "10.0.0.1:1", want: "10.0.0.1", unnamed: true},
		{name: "empty header", peer: "10.0.0.1:1", forwarded: []string{" "}, want: "10.0.0.1", unnamed: true},
		{name: "garbage", peer: "10.0.0.1:1", forwarded: []string{"unknown"}},
		{name: "garbage after the truth", peer: "10.0.0.1:1", forwarded: []string{"192.0.2.9, unknown"}},
		{name: "zone", peer: "10.0.0.1:1", forwarded: []string{"fe80::1%eth0"}},
		{name: "unspecified", peer: "10.0.0.1:1", forwarded: []string{"0.0.0.0"}},
		{name: "multicast", peer: "10.0.0.1:1", forwarded: []string{"224.0.0.1"}},
		{name: "leading zeros", peer: "10.0.0.1:1", forwarded: []string{"192.0.2.09"}},
		{name: "no address at all", peer: "pipe"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, named, err := trusted.client(&http.Request{RemoteAddr: test.peer, Header: http.Header{"X-Forwarded-For": test.forwarded}})
			if test.want == "" {
				if err == nil {
					t.Fatalf("got %s, want an error", got)
				}
				return
			}
			if err != nil || got.String() != test.want || named == test.unnamed {
				t.Errorf("got %s (named: %t), %v; want %s", got, named, err, test.want)
			}
		})
	}
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	of := func(text string) string { return netip.Prefix(originOf(netip.MustParseAddr(text))).String() }
	got := []string{of("192.0.2.1"), of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::"), of("2001:db8:1:3::")}
	want := []string{"192.0.2.1/32", "2001:db8:1:2::/64", "2001:db8:1:2::/64", "2001:db8:1:3::/64"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if originOf(netip.Addr{}) != (origin{}) {
		t.Error("an invalid address has an origin")
	}
}

// Over HTTP: the list tells the client, not the proxy, and a malformed header is nobody's account.
func TestProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} })
	url := w.listen(t)
	submit := func(forwarded string, body []byte) reply {
		request := newRequest(t, "POST", url+submitPath, body)
		if forwarded != "" {
			request.Header.Set("X-Forwarded-For", forwarded)
		}
		return send(t, clientFrom(t, "127.0.0.1"), request)
	}
	if got := submit("nonsense", sign(t, w.key, report(noon()))); got.status != 400 || got.body != `{"error":"X-Forwarded-For is malformed"}` {
		t.Errorf("got %v", got)
	}
	if w.service.failures.size() != 0 {
		t.Error("somebody was charged for what the proxy wrote")
	}
	if got := submit("198.51.100.1, 192.0.2.9", sign(t, w.key, report(noon()))); got.status != 200 {
		t.Errorf("got %v", got)
	}
	list := send(t, clientFrom(t, "127.0.0.1"), newRequest(t, "GET", url+onlinePath, nil))
	if want := `[{"graphql_control_port":3086,"remote_addr":"192.0.2.9","submitter":"` + w.key.PublicKey().String() + `"}]`; list.body != want {
		t.Errorf("got %s", list.body)
	}
	if got := submit("", []byte("{")); got.status != 400 {
		t.Errorf("got %v", got)
	}
	if w.metric(t, "uptime_forwarded_missing_total") != 1 {
		t.Error("the missing header was not counted")
	}
}
