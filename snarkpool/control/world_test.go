package control_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"provingground/snarkpool/control"
)

// listenEnv has the test binary listen on the socket it names until it is killed.
const listenEnv = "CONTROL_TEST_LISTEN"

func TestMain(m *testing.M) {
	if path := os.Getenv(listenEnv); path != "" {
		if _, err := control.ListenSocket(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("listening")
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// signer is an operator's key, signing by the letter of itn-graphql, section 2, apart from the package's own code.
type signer struct {
	private ed25519.PrivateKey
	key     control.Key
}

func newSigner(t testing.TB) signer {
	t.Helper()
	key, text, err := control.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return signer{ed25519.NewKeyFromSeed(seed), key}
}

func (s signer) unsequenced(body []byte) string {
	return "Signature " + s.key.PublicKey() + " " + base64.StdEncoding.EncodeToString(ed25519.Sign(s.private, body))
}

func (s signer) sequenced(uuid string, number uint16, body []byte) string {
	message := binary.BigEndian.AppendUint16(nil, number)
	message = append(append(message, uuid...), body...)
	signature := base64.StdEncoding.EncodeToString(ed25519.Sign(s.private, message))
	return fmt.Sprintf("Signature %s %s ; Sequencing %s %d", s.key.PublicKey(), signature, uuid, number)
}

// operator is an agent that notes what it was told.
type operator struct {
	ring *control.Ring
	fail error

	mu       sync.Mutex
	commands []control.Command
	asked    int // status and reports
	change   func(context.Context, control.Command) (control.Change, error)
}

func (o *operator) did() []control.Command {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.commands)
}

func (o *operator) Status(_ context.Context, target control.Target) (control.Status, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked++
	return control.Status{Agent: "bm7", Pool: target.String(), Workers: []control.WorkerStatus{{Name: "bm7/cpu/0", State: "proving"}}}, o.fail
}

func (o *operator) Report(_ context.Context, operation control.Operation) (json.RawMessage, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked++
	return json.RawMessage(fmt.Sprintf(`{"of":%q}`, operation)), o.fail
}

func (o *operator) Change(ctx context.Context, command control.Command) (control.Change, error) {
	o.mu.Lock()
	o.commands = append(o.commands, command)
	change, fail := o.change, o.fail
	o.mu.Unlock()
	if change != nil {
		return change(ctx, command)
	}
	return control.Change{Summary: "did " + string(command.Operation) + " to " + command.Target.String(), Delivered: 3, DryRun: command.DryRun}, fail
}

func (o *operator) Events(ctx context.Context, target control.Target, arguments control.Arguments, send func(...control.Event) error) error {
	return o.ring.Follow(ctx, arguments, func(event control.Event) bool { return target.Matches(event.Worker, nil) }, send)
}

func (o *operator) Logs(_ context.Context, _ control.Target, arguments control.Arguments, send func(...control.LogLine) error) error {
	for i := range arguments.Last {
		if err := send(control.LogLine{Worker: "bm7/cpu/0", Text: fmt.Sprint("line ", i)}); err != nil {
			return err
		}
	}
	return o.fail
}

// audit keeps entries in memory.
type audit struct {
	mu      sync.Mutex
	entries []control.Entry
	fail    error
}

func (a *audit) Record(ctx context.Context, entry control.Entry) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := errors.Join(ctx.Err(), a.fail); err != nil {
		return err
	}
	a.entries = append(a.entries, entry)
	return nil
}

func (a *audit) all() []control.Entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.entries)
}

func (a *audit) last(t testing.TB) control.Entry {
	t.Helper()
	all := a.all()
	if len(all) == 0 {
		t.Fatal("nothing was audited")
	}
	return all[len(all)-1]
}

// world is an agent named bm7 with a server on both transports.
type world struct {
	operator                   *operator
	audit                      *audit
	server                     *control.Server
	reader, operatorKey, admin signer
	keysFile, socket, address  string
	roots                      *x509.CertPool
	stop                       func() error
}

func (w *world) writeKeys(t testing.TB, lines ...string) {
	t.Helper()
	var content bytes.Buffer
	for _, line := range lines {
		fmt.Fprintln(&content, line)
	}
	// Replaced as a whole, as an editor does.
	if err := os.WriteFile(w.keysFile+".new", content.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(w.keysFile+".new", w.keysFile); err != nil {
		t.Fatal(err)
	}
}

func newWorld(t testing.TB, adjust func(*control.Options)) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{
		operator: &operator{ring: control.NewRing(1000)}, audit: &audit{},
		reader: newSigner(t), operatorKey: newSigner(t), admin: newSigner(t),
		keysFile: filepath.Join(dir, "control.pub"), socket: filepath.Join(dir, "s"),
	}
	w.writeKeys(t, "# who may", w.reader.key.PublicKey()+" reader rita", w.operatorKey.key.PublicKey()+" operator otto # by day", "",
		w.admin.key.PublicKey()+" admin anna")
	keys, err := control.LoadKeys(w.keysFile)
	if err != nil {
		t.Fatal(err)
	}
	options := control.Options{Name: "bm7", Operator: w.operator, Audit: w.audit, Keys: keys}
	if adjust != nil {
		adjust(&options)
	}
	if w.server, err = control.NewServer(options); err != nil {
		t.Fatal(err)
	}
	local, err := control.ListenSocket(w.socket)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	w.roots = writeCertificate(t, certificate, key)
	remote, err := control.ListenTLS("127.0.0.1:0", certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	w.address = remote.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.server.Serve(ctx, local, remote) }()
	w.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := w.stop(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	return w
}

// writeCertificate makes a self-signed certificate for 127.0.0.1.
func writeCertificate(t testing.TB, certificateFile, keyFile string) *x509.CertPool {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "bm7"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	privateDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certificateFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: privateDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(parsed)
	return roots
}

func (w *world) local(t testing.TB) *control.Client {
	t.Helper()
	client := control.NewLocal(w.socket)
	t.Cleanup(client.Close)
	return client
}

func (w *world) remote(t testing.TB, who signer) *control.Client {
	t.Helper()
	client, err := control.NewRemote(w.address, "bm7", who.key, w.roots)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// httpClient speaks to the HTTPS port without the package's client.
func (w *world) httpClient(t testing.TB) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.roots, MinVersion: tls.VersionTLS13}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// identity asks for a key's number.
func (w *world) identity(t testing.TB, who signer) control.Identity {
	t.Helper()
	identity, err := w.remote(t, who).Identify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return identity
}

// body is a command of the agent bm7, which expires in a minute.
func body(t testing.TB, command control.Command) []byte {
	t.Helper()
	if command.Agent == "" {
		command.Agent = "bm7"
	}
	if command.Expiry.IsZero() {
		command.Expiry = time.Now().Add(time.Minute)
	}
	encoded, err := json.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func target(t testing.TB, text string) control.Target {
	t.Helper()
	parsed, err := control.ParseTarget(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func refusedFor(t testing.TB, err error, reason control.Reason) {
	t.Helper()
	refused, ok := errors.AsType[*control.RefusedError](err)
	if !ok || refused.Reason != reason {
		t.Errorf("got the error %v, want a refusal for the reason %s", err, reason)
	}
}
