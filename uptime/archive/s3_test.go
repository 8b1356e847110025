package archive_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"provingground/internal/mina"
	"provingground/uptime"
	"provingground/uptime/archive"
	"provingground/uptime/service"
)

var (
	_ archive.ObjectStore = (*s3.Client)(nil)
	_ service.Archive     = (*archive.S3)(nil)
)

const bucket = "123456789012-block-producers-uptime"

var (
	created  = time.Date(2026, 11, 20, 23, 59, 58, 0, time.UTC)
	received = time.Date(2026, 11, 21, 1, 0, 2, 345, time.FixedZone("", 3600)) // 00:00:02 UTC of the next day
	remote   = netip.MustParseAddr("2001:db8::7")
)

// bucketServer speaks enough of S3's REST for one bucket in memory, by path.
type bucketServer struct {
	mu      sync.Mutex
	objects map[string]string // by key
	types   map[string]string // by key
	calls   []string          // method and key
	fails   map[string]int    // status by method and key
}

func (b *bucketServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key, ours := strings.CutPrefix(r.URL.Path, "/"+bucket+"/")
	content, found := b.objects[key]
	b.calls = append(b.calls, r.Method+" "+key)
	status := b.fails[r.Method+" "+key]
	switch {
	case status != 0:
		w.WriteHeader(status)
	case r.URL.Query().Get("list-type") == "2":
		type entry struct{ Key string }
		var answer struct {
			XMLName  xml.Name `xml:"ListBucketResult"`
			Contents []entry
		}
		for _, key := range slices.Sorted(maps.Keys(b.objects)) {
			if strings.HasPrefix(key, r.URL.Query().Get("prefix")) && key > r.URL.Query().Get("start-after") {
				answer.Contents = append(answer.Contents, entry{key})
			}
		}
		xml.NewEncoder(w).Encode(answer)
	case !ours || r.Method != http.MethodPut && !found:
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodPut:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		b.objects[key], b.types[key] = string(body), r.Header.Get("Content-Type")
	default:
		io.WriteString(w, content)
	}
}

// newBucket returns a bucket and a client of it that does not try again.
func newBucket(t *testing.T) (*bucketServer, *s3.Client) {
	t.Helper()
	b := &bucketServer{objects: map[string]string{}, types: map[string]string{}, fails: map[string]int{}}
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	return b, s3.New(s3.Options{
		BaseEndpoint: aws.String(server.URL), UsePathStyle: true, Region: "us-west-2", HTTPClient: server.Client(), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
		// As in uptime.LoadS3; and plain bodies, which the bucket understands.
		DisableLogOutputChecksumValidationSkipped: true, RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
	})
}

func newArchive(t *testing.T, store archive.ObjectStore) *archive.S3 {
	t.Helper()
	a, err := archive.NewS3(store, bucket, "/testnet/")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// signed returns a submission as it comes from a node.
func signed(t *testing.T, report uptime.Report) *uptime.Submission {
	t.Helper()
	key, err := mina.ParsePrivateKey("EKEEpMELfQkMbJDt2fB4cFXKwSf1x4t7YD4twREy5yuJ84HBZtF9") // of a published vector (uptime, section 3.3)
	if err != nil {
		t.Fatal(err)
	}
	report.CreatedAt = created
	body, err := report.Sign(mina.Testnet, key)
	if err != nil {
		t.Fatal(err)
	}
	submission, err := uptime.ParseSubmission(body)
	if err != nil {
		t.Fatal(err)
	}
	return &submission
}

const submitter = "B62qrztYfPinaKqpXaYGY6QJ3SSW2NNKs7SajBLF1iFNXW9BoALN2Aq"

// jsonKey is where the submissions of these tests lie.
const jsonKey = "testnet/submissions/2026-11-21/2026-11-21T00:00:02Z-" + submitter + ".json"

func TestPut(t *testing.T) {
	t.Parallel()
	block := append([]byte{0, 1, 0xff, '\n'}, bytes.Repeat([]byte("block"), 100)...)
	full := uptime.Report{
		Block: block, PeerID: "12D3KooWexample", SnarkWork: []byte("work?"), ControlPort: 3086, BuiltWithCommitSHA: "36e0198c", Version: 1,
	}
	bare := uptime.Report{Block: block, PeerID: "12D3KooWexample", Version: uptime.NoVersion}
	for _, test := range []struct {
		name   string
		report uptime.Report
		want   string // with HASH for the block's
	}{
		{
			"full", full, `{"created_at":"2026-11-20T23:59:58Z","peer_id":"12D3KooWexample","snark_work":"d29yaz8=","remote_addr":"2001:db8::7",` +
				`"submitter":"` + submitter + `","block_hash":"HASH","graphql_control_port":3086,"built_with_commit_sha":"36e0198c"}`,
		},
		{
			"bare", bare, `{"created_at":"2026-11-20T23:59:58Z","peer_id":"12D3KooWexample","remote_addr":"2001:db8::7",` +
				`"submitter":"` + submitter + `","block_hash":"HASH"}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b, client := newBucket(t)
			submission := signed(t, test.report)
			if err := newArchive(t, client).Put(t.Context(), submission, remote, received); err != nil {
				t.Fatal(err)
			}
			hash, err := submission.BlockHash()
			if err != nil {
				t.Fatal(err)
			}
			blockKey := "testnet/blocks/" + hash + ".dat"
			if diff := cmp.Diff(map[string]string{jsonKey: strings.ReplaceAll(test.want, "HASH", hash), blockKey: string(block)}, b.objects); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[string]string{jsonKey: "application/json", blockKey: "application/octet-stream"}, b.types); diff != "" {
				t.Errorf("types (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"HEAD " + blockKey, "PUT " + blockKey, "PUT " + jsonKey}, b.calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// TestBlockIsStoredOnce holds that a block of two submissions is uploaded for the first alone.
func TestBlockIsStoredOnce(t *testing.T) {
	t.Parallel()
	b, client := newBucket(t)
	a := newArchive(t, client)
	for i, peer := range []string{"one", "two"} {
		if err := a.Put(t.Context(), signed(t, uptime.Report{Block: []byte("block"), PeerID: peer}), remote, received.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	var puts []string
	for _, call := range b.calls {
		if method, key, _ := strings.Cut(call, " "); method == http.MethodPut {
			puts = append(puts, strings.Split(key, "/")[1])
		}
	}
	if diff := cmp.Diff([]string{"blocks", "submissions", "submissions"}, puts); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

// TestReadersFindWhatWasPut reads the archive as the orchestrator does.
func TestReadersFindWhatWasPut(t *testing.T) {
	t.Parallel()
	_, client := newBucket(t)
	report := uptime.Report{Block: []byte("block"), PeerID: "12D3KooWexample", ControlPort: 3086, BuiltWithCommitSHA: "36e0198c", Version: 1}
	if err := newArchive(t, client).Put(t.Context(), signed(t, report), remote, received); err != nil {
		t.Fatal(err)
	}
	reader, err := uptime.NewSubmissions(client, uptime.SubmissionsConfig{
		Bucket: bucket, Prefix: "testnet", Now: func() time.Time { return received.Add(time.Minute) }, Skipped: func(err error) { t.Error(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := reader.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []uptime.Node{{
		Submitter: submitter, RemoteAddr: "2001:db8::7", ControlPort: 3086, PeerID: "12D3KooWexample", BuiltWithCommitSHA: "36e0198c",
		LastSeen: received.UTC().Truncate(time.Second),
	}}
	if diff := cmp.Diff(want, nodes); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
}

func TestPutFails(t *testing.T) {
	t.Parallel()
	submission := signed(t, uptime.Report{Block: []byte("block"), PeerID: "peer"})
	hash, err := submission.BlockHash()
	if err != nil {
		t.Fatal(err)
	}
	blockKey := "testnet/blocks/" + hash + ".dat"
	for _, test := range []struct {
		name, call string
		status     int
		want       string
		stored     []string
	}{
		{"the block's existence is a secret", "HEAD " + blockKey, 403, "s3:ListBucket", nil},
		{"S3 is out of order", "HEAD " + blockKey, 500, "look for s3://" + bucket + "/" + blockKey, nil},
		{"the block cannot be stored", "PUT " + blockKey, 403, "store s3://" + bucket + "/" + blockKey, nil},
		{"the submission cannot be stored", "PUT " + jsonKey, 503, "store s3://" + bucket + "/" + jsonKey, []string{blockKey}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b, client := newBucket(t)
			b.fails[test.call] = test.status
			err := newArchive(t, client).Put(t.Context(), submission, remote, received)
			if status := (interface{ HTTPStatusCode() int })(nil); !errors.As(err, &status) || status.HTTPStatusCode() != test.status || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want status %d and %q", err, test.status, test.want)
			}
			if diff := cmp.Diff(test.stored, slices.Collect(maps.Keys(b.objects))); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		_, client := newBucket(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := newArchive(t, client).Put(ctx, submission, remote, received); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's end", err)
		}
	})
}

func TestNewS3Refuses(t *testing.T) {
	t.Parallel()
	_, client := newBucket(t)
	for _, test := range []struct{ bucket, prefix string }{{"", "testnet"}, {bucket, ""}, {bucket, "//"}} {
		if _, err := archive.NewS3(client, test.bucket, test.prefix); err == nil {
			t.Errorf("bucket %q, prefix %q: no error", test.bucket, test.prefix)
		}
	}
}
