package standin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"provingground/internal/mina"
)

// order is what the stand-ins ask of the network in the other process; each operation uses some of the fields. It holds a wallet password
// at most, never a private key.
type order struct {
	Host      string        `json:"host,omitempty"`
	Key       string        `json:"key,omitempty"` // public key: fee payer, sender, or the one asked about
	Keys      []string      `json:"keys,omitempty"`
	Receiver  string        `json:"receiver,omitempty"`
	Amount    mina.Nanomina `json:"amount,omitempty"`
	Fee       mina.Nanomina `json:"fee,omitempty"`
	Memo      string        `json:"memo,omitempty"`
	Password  string        `json:"password,omitempty"`
	Clean     bool          `json:"clean,omitempty"`
	operation string
}

// outcome is the answer.
type outcome struct {
	Error   string        `json:"error,omitempty"`
	Balance mina.Nanomina `json:"balance,omitempty"`
}

// maxOrder bounds an order, in bytes: a hundred thousand keys fit.
const maxOrder = 16 << 20

// Server is an open control socket.
type Server struct {
	server   *http.Server
	controls Controls
	done     chan error
	running  sync.RWMutex
}

// Serve opens the control socket of a network: a unix socket that only its owner can use. It ends with Close.
func Serve(ctx context.Context, path string, controls Controls) (*Server, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("opening the control socket (its whole path must be shorter than 108 bytes): %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("closing the control socket to others: %w", err), listener.Close())
	}
	s := &Server{controls: controls, done: make(chan error, 1)}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() { s.done <- s.server.Serve(listener) }()
	return s, nil
}

// Close cuts off what is under way, closes the socket and removes it.
func (s *Server) Close() error {
	err := s.server.Close()
	s.running.Lock()
	defer s.running.Unlock()
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// ServeHTTP carries out one order.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.running.RLock()
	defer s.running.RUnlock()
	var o order
	var out outcome
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrder)).Decode(&o)
	if err == nil {
		o.operation = r.URL.Path
		out.Balance, err = o.carryOut(r.Context(), s.controls)
	}
	if err != nil {
		out.Error = err.Error()
	}
	_ = json.NewEncoder(w).Encode(out) // a caller that went away is its own concern
}

func (o order) carryOut(ctx context.Context, controls Controls) (balance mina.Nanomina, err error) {
	var key, receiver mina.PublicKey
	for _, parsed := range []struct {
		text string
		into *mina.PublicKey
	}{{o.Key, &key}, {o.Receiver, &receiver}} {
		if parsed.text == "" {
			continue
		}
		if *parsed.into, err = mina.ParsePublicKey(parsed.text); err != nil {
			return 0, err
		}
	}
	switch o.operation {
	case "/fund":
		keys := make([]mina.PublicKey, len(o.Keys))
		for i, text := range o.Keys {
			if keys[i], err = mina.ParsePublicKey(text); err != nil {
				return 0, err
			}
		}
		return 0, controls.FundAccounts(ctx, o.Host, key, keys, o.Amount, o.Fee)
	case "/balance":
		return controls.Balance(ctx, o.Host, key)
	case "/unlock":
		return 0, controls.Unlock(ctx, o.Host, key, o.Password)
	case "/send-payment":
		return 0, controls.SendPayment(ctx, o.Host, key, receiver, o.Amount, o.Fee, o.Memo)
	case "/restart":
		return 0, controls.Restart(ctx, o.Host, o.Clean)
	default:
		return 0, fmt.Errorf("unknown operation %q", o.operation)
	}
}

// Remote is the network of another process, through its control socket. Safe for concurrent use.
type Remote struct{ client http.Client }

var _ Controls = (*Remote)(nil)

// Dial returns the network behind a control socket. Nothing is opened before the first operation.
func Dial(path string) *Remote {
	var dialer net.Dialer
	return &Remote{client: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, "unix", path)
			if err != nil {
				return nil, fmt.Errorf("the simulated network does not answer (is it still running?): %w", err)
			}
			return conn, nil
		},
		DisableKeepAlives: true,
	}}}
}

func (r *Remote) send(ctx context.Context, operation string, o order) (outcome, error) {
	body, err := json.Marshal(o) //nolint:gosec // a wallet's password of a simulated network, on its own socket
	if err != nil {
		return outcome{}, fmt.Errorf("spelling the order: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://simnet/"+operation, bytes.NewReader(body))
	if err != nil {
		return outcome{}, fmt.Errorf("spelling the order: %w", err)
	}
	response, err := r.client.Do(request)
	if err != nil {
		return outcome{}, fmt.Errorf("asking the simulated network: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	var out outcome
	if err := json.NewDecoder(io.LimitReader(response.Body, maxOrder)).Decode(&out); err != nil {
		return outcome{}, fmt.Errorf("reading the simulated network's answer: %w", err)
	}
	if out.Error != "" {
		return outcome{}, errors.New(out.Error)
	}
	return out, nil
}

// FundAccounts implements Controls.
func (r *Remote) FundAccounts(ctx context.Context, host string, payer mina.PublicKey, keys []mina.PublicKey, amount, fee mina.Nanomina) error {
	texts := make([]string, len(keys))
	for i, key := range keys {
		texts[i] = key.String()
	}
	_, err := r.send(ctx, "fund", order{Host: host, Key: payer.String(), Keys: texts, Amount: amount, Fee: fee})
	return err
}

// Balance implements Controls.
func (r *Remote) Balance(ctx context.Context, host string, key mina.PublicKey) (mina.Nanomina, error) {
	out, err := r.send(ctx, "balance", order{Host: host, Key: key.String()})
	return out.Balance, err
}

// Unlock implements Controls.
func (r *Remote) Unlock(ctx context.Context, host string, key mina.PublicKey, password string) error {
	_, err := r.send(ctx, "unlock", order{Host: host, Key: key.String(), Password: password})
	return err
}

// SendPayment implements Controls.
func (r *Remote) SendPayment(
	ctx context.Context, host string, sender, receiver mina.PublicKey, amount, fee mina.Nanomina, memo string,
) error {
	_, err := r.send(ctx, "send-payment", order{
		Host: host, Key: sender.String(), Receiver: receiver.String(), Amount: amount, Fee: fee, Memo: memo,
	})
	return err
}

// Restart implements Controls.
func (r *Remote) Restart(ctx context.Context, host string, clean bool) error {
	_, err := r.send(ctx, "restart", order{Host: host, Clean: clean})
	return err
}
