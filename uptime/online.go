package uptime

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

const (
	// maxAnswer bounds an online list and a stored submission: tens of thousands of nodes, and a SNARK work many times over.
	maxAnswer = 16 << 20
	// onlineTimeout is how long one List may take unless the caller says otherwise.
	onlineTimeout = 30 * time.Second
	// connectTimeout is how long connecting may take, and the TLS handshake once more.
	connectTimeout = 10 * time.Second
)

// OnlineList asks an uptime service which nodes are online, and lets a service that marks its lists with ETags leave out a list that
// has not changed. Create it with [NewOnlineList]. Safe for concurrent use.
type OnlineList struct {
	address string
	name    string // the address as it may be shown
	client  *http.Client
	timeout time.Duration

	mu   sync.Mutex
	last taggedList
}

// taggedList is a list and the ETag that the service gave it, empty if none.
type taggedList struct {
	etag  string
	nodes []Node
}

// NewOnlineList returns the source for the online list at address, an http or https URL. A nil transport stands for one of its own
// that connects anew for each List, since lists are minutes apart. The timeout is for one List as a whole, wall time; 0 means 30 s.
func NewOnlineList(address string, transport http.RoundTripper, timeout time.Duration) (*OnlineList, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		// Neither the address nor the parser's error is quoted: a password may be in them.
		return nil, errors.New("the address of the online list is not an http or https URL: give one such as http://HOST:8080/v1/online")
	}
	name := (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	if timeout < 0 {
		return nil, fmt.Errorf("online list at %s: a timeout of %s is below 0", name, timeout)
	}
	if timeout == 0 {
		timeout = onlineTimeout
	}
	if transport == nil {
		transport = &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: connectTimeout}).DialContext,
			TLSHandshakeTimeout: connectTimeout,
			ForceAttemptHTTP2:   true,
			DisableKeepAlives:   true,
		}
	}
	return &OnlineList{address: address, name: name, client: &http.Client{Transport: transport}, timeout: timeout}, nil
}

// List returns the nodes that are online, each once, sorted by address, port and submitter; none is an empty list. An error is a
// [*ListError], or wraps the cause of ctx's end. The content type does not matter: existing services say text/plain.
func (l *OnlineList) List(ctx context.Context) ([]Node, error) {
	return listWithin(ctx, l.timeout, l.name, l.get)
}

func (l *OnlineList) get(ctx context.Context) ([]Node, *ListError) {
	failed := func(status int, temporary bool, err error) *ListError {
		return &ListError{Source: l.name, StatusCode: status, Temporary: temporary, Err: err}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, l.address, nil)
	if err != nil {
		return nil, failed(0, false, errors.New("no request can be made for this address"))
	}
	request.Header.Set("Accept", "application/json")
	l.mu.Lock()
	last := l.last
	l.mu.Unlock()
	if last.etag != "" {
		request.Header.Set("If-None-Match", last.etag)
	}
	response, err := l.client.Do(request)
	if err != nil {
		// The client's error quotes the address with its query, which may be a token; what it wraps does not.
		if sent := (*url.Error)(nil); errors.As(err, &sent) {
			err = sent.Err
		}
		return nil, failed(0, temporaryFailure(err), fmt.Errorf("no answer: %w", err))
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	if response.StatusCode == http.StatusNotModified && last.etag != "" {
		return slices.Clone(last.nodes), nil
	}
	if response.StatusCode != http.StatusOK {
		return nil, failed(response.StatusCode, temporaryStatus(response.StatusCode),
			fmt.Errorf("answered %d %s", response.StatusCode, http.StatusText(response.StatusCode)))
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, failed(response.StatusCode, true, fmt.Errorf("the answer broke off after %d bytes: %w", len(body), err))
	}
	if len(body) > maxAnswer {
		return nil, failed(response.StatusCode, false, fmt.Errorf("the answer is longer than %d bytes", maxAnswer))
	}
	nodes, err := decodeNodes(body)
	if err != nil {
		return nil, failed(response.StatusCode, false,
			fmt.Errorf("the answer, of type %q, is no online list: %w", response.Header.Get("Content-Type"), err))
	}
	l.mu.Lock()
	l.last = taggedList{response.Header.Get("ETag"), slices.Clone(nodes)}
	l.mu.Unlock()
	return nodes, nil
}

// temporaryFailure tells whether a request that got no answer may get one later: unless the name does not exist, or there is no trust
// or no TLS at the other end.
func temporaryFailure(err error) bool {
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		return false
	case errors.As(err, &certificate), errors.Is(err, http.ErrSchemeMismatch):
		return false
	}
	return true
}
