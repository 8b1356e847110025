package uptime

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/google/go-cmp/cmp"
)

const bucket = "123456789012-block-producers-uptime"

var noon = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)

// fakeStore is a bucket in memory that pages its listings by two, and counts bodies that are open.
type fakeStore struct {
	objects map[string]string // by key
	listErr error
	getErr  map[string]error
	hang    string // reading this key waits for the end of the context

	mu    sync.Mutex
	lists []string // "PREFIX after KEY" of each listing's first page
	open  int      // bodies that were not closed yet
}

func (f *fakeStore) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input, _ ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	if f.listErr != nil {
		return nil, f.listErr
	}
	if aws.ToString(in.Bucket) != bucket {
		return nil, fmt.Errorf("no bucket %q", aws.ToString(in.Bucket))
	}
	after := aws.ToString(in.StartAfter)
	if in.ContinuationToken != nil {
		after = aws.ToString(in.ContinuationToken)
	} else {
		f.mu.Lock()
		f.lists = append(f.lists, aws.ToString(in.Prefix)+" after "+after)
		f.mu.Unlock()
	}
	out := &s3.ListObjectsV2Output{}
	for _, key := range slices.Sorted(maps.Keys(f.objects)) {
		if !strings.HasPrefix(key, aws.ToString(in.Prefix)) || key <= after {
			continue
		}
		if len(out.Contents) == 2 {
			out.IsTruncated = aws.Bool(true)
			out.NextContinuationToken = out.Contents[1].Key
			break
		}
		out.Contents = append(out.Contents, types.Object{Key: aws.String(key)})
	}
	return out, ctx.Err()
}

func (f *fakeStore) GetObject(ctx context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	key := aws.ToString(in.Key)
	if err := f.getErr[key]; err != nil {
		return nil, err
	}
	if key == f.hang {
		<-ctx.Done()
		return nil, fmt.Errorf("get %s: %w", key, ctx.Err())
	}
	content, found := f.objects[key]
	if !found || aws.ToString(in.Bucket) != bucket {
		return nil, &types.NoSuchKey{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open++
	var body io.Reader = strings.NewReader(content)
	if rest, broken := strings.CutSuffix(content, "BROKEN OFF"); broken {
		body = io.MultiReader(strings.NewReader(rest), blocked(alreadyClosed()))
	}
	return &s3.GetObjectOutput{Body: &fakeBody{Reader: body, store: f}}, nil
}

func alreadyClosed() chan struct{} {
	closed := make(chan struct{})
	close(closed)
	return closed
}

type fakeBody struct {
	io.Reader
	store *fakeStore
}

func (b *fakeBody) Close() error {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	b.store.open--
	return nil
}

// key returns the key of a submission to the network testnet.
func key(at time.Time, submitter string) string {
	return "testnet/submissions/" + at.Format(time.DateOnly) + "/" + at.Format("2006-01-02T15:04:05Z") + "-" + submitter + ".json"
}

func content(submitter, remote string, port int) string {
	return fmt.Sprintf(`{"created_at":"2024-05-01T11:59:00Z","peer_id":"12D3Koo-%s","snark_work":"AAAA","remote_addr":%q,"submitter":%q,`+
		`"block_hash":"YMzk","graphql_control_port":%d,"built_with_commit_sha":"36e0198c"}`, submitter, remote, submitter, port)
}

func node(submitter, remote string, port uint16, seen time.Time) Node {
	return Node{
		Submitter: submitter, RemoteAddr: remote, ControlPort: port, PeerID: "12D3Koo-" + submitter, BuiltWithCommitSHA: "36e0198c", LastSeen: seen,
	}
}

// newSubmissions returns a source that looks at the clock once, at now, together with the list of what it skipped.
func newSubmissions(t *testing.T, store ObjectStore, now time.Time) (*Submissions, *[]string) {
	t.Helper()
	var skipped []string
	source, err := NewSubmissions(store, SubmissionsConfig{
		Bucket: BucketName("123456789012"), Prefix: "testnet",
		Now:     func() time.Time { return now },
		Skipped: func(err error) { skipped = append(skipped, err.Error()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return source, &skipped
}

func TestSubmissions(t *testing.T) {
	midnight := time.Date(2024, 5, 2, 0, 5, 0, 0, time.UTC)
	tests := []struct {
		name    string
		now     time.Time
		objects map[string]string
		want    []Node
		lists   []string
	}{
		{
			"none", noon, nil,
			[]Node{},
			[]string{"testnet/submissions/2024-05-01/ after testnet/submissions/2024-05-01/2024-05-01T11:45:00Z"},
		},
		{
			"the last 15 minutes, the first second included, and what another clock calls the future",
			noon.In(time.FixedZone("there", 5*3600)),
			map[string]string{
				key(noon.Add(-15*time.Minute-time.Second), "B62old"): content("B62old", "10.0.0.1", 3086),
				key(noon.Add(-15*time.Minute), "B62first"):           content("B62first", "10.0.0.2", 3086),
				key(noon, "B62now"):                                  content("B62now", "10.0.0.3", 3086),
				key(noon.Add(time.Minute), "B62ahead"):               content("B62ahead", "10.0.0.4", 3086),
			},
			[]Node{
				node("B62first", "10.0.0.2", 3086, noon.Add(-15*time.Minute)),
				node("B62now", "10.0.0.3", 3086, noon),
				node("B62ahead", "10.0.0.4", 3086, noon.Add(time.Minute)),
			},
			[]string{"testnet/submissions/2024-05-01/ after testnet/submissions/2024-05-01/2024-05-01T11:45:00Z"},
		},
		{
			"around midnight there are two folders",
			midnight,
			map[string]string{
				key(midnight.Add(-11*time.Minute), "B62a"): content("B62a", "10.0.0.1", 3086),
				key(midnight.Add(-14*time.Minute), "B62b"): content("B62b", "10.0.0.2", 3086),
				key(midnight.Add(-16*time.Minute), "B62c"): content("B62c", "10.0.0.3", 3086),
				key(midnight.Add(-time.Minute), "B62a"):    content("B62a", "10.0.0.1", 3086),
				key(midnight.Add(-24*time.Hour), "B62d"):   content("B62d", "10.0.0.4", 3086),
			},
			[]Node{
				node("B62a", "10.0.0.1", 3086, midnight.Add(-time.Minute)),
				node("B62b", "10.0.0.2", 3086, midnight.Add(-14*time.Minute)),
			},
			[]string{
				"testnet/submissions/2024-05-01/ after testnet/submissions/2024-05-01/2024-05-01T23:50:00Z",
				"testnet/submissions/2024-05-02/ after testnet/submissions/2024-05-02/2024-05-01T23:50:00Z",
			},
		},
		{
			"just at midnight the new folder is looked into, too",
			time.Date(2024, 5, 2, 0, 0, 0, 0, time.UTC),
			map[string]string{key(time.Date(2024, 5, 2, 0, 0, 0, 0, time.UTC), "B62a"): content("B62a", "10.0.0.1", 3086)},
			[]Node{node("B62a", "10.0.0.1", 3086, time.Date(2024, 5, 2, 0, 0, 0, 0, time.UTC))},
			[]string{
				"testnet/submissions/2024-05-01/ after testnet/submissions/2024-05-01/2024-05-01T23:45:00Z",
				"testnet/submissions/2024-05-02/ after testnet/submissions/2024-05-02/2024-05-01T23:45:00Z",
			},
		},
		{
			"the newest of one node; a node that moved is two",
			noon,
			map[string]string{
				key(noon.Add(-9*time.Minute), "B62a"): content("B62a", "10.0.0.1:40000", 3086),
				key(noon.Add(-3*time.Minute), "B62a"): content("B62a", "10.0.0.1:40002", 3086),
				key(noon.Add(-6*time.Minute), "B62a"): content("B62a", "10.0.0.1:40001", 3086),
				key(noon.Add(-2*time.Minute), "B62a"): content("B62a", "10.0.0.1:40003", 3087),
				key(noon.Add(-1*time.Minute), "B62a"): content("B62a", "[2001:DB8::1]:40003", 3086),
			},
			[]Node{
				node("B62a", "10.0.0.1", 3086, noon.Add(-3*time.Minute)),
				node("B62a", "10.0.0.1", 3087, noon.Add(-2*time.Minute)),
				node("B62a", "2001:db8::1", 3086, noon.Add(-time.Minute)),
			},
			[]string{"testnet/submissions/2024-05-01/ after testnet/submissions/2024-05-01/2024-05-01T11:45:00Z"},
		},
		{
			"other networks whose names begin alike, blocks, and other folders",
			noon,
			map[string]string{
				strings.Replace(key(noon, "B62a"), "testnet/", "testnet-2/", 1):      content("B62a", "10.0.0.1", 3086),
				strings.Replace(key(noon, "B62b"), "/submissions/", "/blocks/", 1):   content("B62b", "10.0.0.1", 3086),
				strings.Replace(key(noon, "B62c"), "/2024-05-01/", "/2024-05/", 1):   content("B62c", "10.0.0.1", 3086),
				strings.Replace(key(noon, "B62d"), "submissions/", "submission/", 1): content("B62d", "10.0.0.1", 3086),
			},
			[]Node{},
			[]string{"testnet/submissions/2024-05-01/ after testnet/submissions/2024-05-01/2024-05-01T11:45:00Z"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			store := &fakeStore{objects: test.objects}
			source, skipped := newSubmissions(t, store, test.now)
			got, err := source.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("nodes (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.lists, store.lists); diff != "" {
				t.Errorf("listings (-want +got):\n%s", diff)
			}
			if len(*skipped) > 0 || store.open != 0 {
				t.Errorf("skipped %v, %d bodies left open", *skipped, store.open)
			}
		})
	}
}

func TestSubmissionsWindow(t *testing.T) {
	store := &fakeStore{objects: map[string]string{
		key(noon.Add(-36*time.Hour), "B62a"): content("B62a", "10.0.0.1", 3086),
		key(noon.Add(-38*time.Hour), "B62b"): content("B62b", "10.0.0.1", 3086),
		key(noon.Add(-20*time.Hour), "B62c"): content("B62c", "10.0.0.1", 3086),
	}}
	source, err := NewSubmissions(store, SubmissionsConfig{
		Bucket: bucket, Prefix: "/testnet/", Window: 37 * time.Hour,
		Now: func() time.Time { return noon }, Skipped: func(err error) { t.Error(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := source.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Node{
		node("B62a", "10.0.0.1", 3086, noon.Add(-36*time.Hour)),
		node("B62c", "10.0.0.1", 3086, noon.Add(-20*time.Hour)),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	if len(store.lists) != 3 {
		t.Errorf("listed %v; want three days", store.lists)
	}
}

// TestSubmissionsSkipped holds that what cannot be read is told, each object once and in order, and costs nothing but itself.
func TestSubmissionsSkipped(t *testing.T) {
	good := key(noon, "B62z")
	tests := []struct{ name, key, content, says string }{
		{"not JSON", key(noon, "B62a"), `<html>`, "not a node"},
		{"null", key(noon, "B62a"), `null`, "not a node"},
		{"a list", key(noon, "B62a"), `[]`, "not a node"},
		{"empty", key(noon, "B62a"), ``, "not a node"},
		{"cut off", key(noon, "B62a"), content("B62a", "10.0.0.1", 3086)[:40], "not a node"},
		{"a port out of range", key(noon, "B62a"), content("B62a", "10.0.0.1", 65536), "not a node"},
		{"of somebody else", key(noon, "B62a"), content("B62b", "10.0.0.1", 3086), `it is of "B62b"`},
		{"broken off", key(noon, "B62a"), `{"submitter":"B62a"BROKEN OFF`, "broke off after 19 bytes: connection closed"},
		{"too long", key(noon, "B62a"), strings.Repeat(" ", maxAnswer+1), "longer than 16777216 bytes"},
		{"another kind of object", strings.Replace(key(noon, "B62a"), ".json", ".dat", 1), "", "the key does not end in"},
		{"no submitter", key(noon, ""), "", "the key does not end in"},
		{"no time", "testnet/submissions/2024-05-01/latest-and-greatest-B62a.json", "", "the key does not end in"},
		{"an impossible time", "testnet/submissions/2024-05-01/2024-05-01T25:00:00Z-B62a.json", "", "the key does not end in"},
		{"a time of another day", "testnet/submissions/2024-05-01/2024-05-02T10:00:00Z-B62a.json", "", "the key does not end in"},
		{"another separator", "testnet/submissions/2024-05-01/2024-05-01T12:00:00Z_B62a.json", "", "the key does not end in"},
		{"a folder within", "testnet/submissions/2024-05-01/more/2024-05-01T12:00:00Z-B62a.json", "", "the key does not end in"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			store := &fakeStore{objects: map[string]string{test.key: test.content, good: content("B62z", "10.0.0.1", 3086)}}
			source, skipped := newSubmissions(t, store, noon)
			got, err := source.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]Node{node("B62z", "10.0.0.1", 3086, noon)}, got); diff != "" {
				t.Errorf("nodes (-want +got):\n%s", diff)
			}
			if len(*skipped) != 1 || !strings.Contains((*skipped)[0], test.key) || !strings.Contains((*skipped)[0], test.says) {
				t.Errorf("skipped %q; want %s and that it %s", *skipped, test.key, test.says)
			}
			if store.open != 0 {
				t.Errorf("%d bodies left open", store.open)
			}
		})
	}
}

func TestSubmissionsSkippedInOrder(t *testing.T) {
	store := &fakeStore{objects: map[string]string{key(noon, "B62z"): content("B62z", "10.0.0.1", 3086)}, getErr: map[string]error{}}
	var want []string
	for i := range 40 {
		k := key(noon.Add(time.Duration(i-100)*time.Second), fmt.Sprintf("B62%d", i))
		store.objects[k] = ""
		store.getErr[k] = errors.New("gone")
		want = append(want, fmt.Sprintf("submission %q: gone", k))
	}
	source, skipped := newSubmissions(t, store, noon)
	if _, err := source.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, *skipped); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
}

// answered is an S3 answer of a status, as the SDK reports it.
func answered(status int) error {
	return &awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: errors.New("api error"),
	}}
}

func TestSubmissionsErrors(t *testing.T) {
	one := map[string]string{key(noon, "B62a"): content("B62a", "10.0.0.1", 3086)}
	tests := []struct {
		name      string
		store     *fakeStore
		status    int
		temporary bool
		says      string
	}{
		{"the listing is denied", &fakeStore{listErr: answered(403)}, 403, false, "list the submissions"},
		{"no such bucket", &fakeStore{listErr: answered(404)}, 404, false, "list the submissions"},
		{"S3 is out of order", &fakeStore{listErr: answered(503)}, 503, true, "list the submissions"},
		{"too many requests", &fakeStore{listErr: answered(429)}, 429, true, "list the submissions"},
		{"no answer", &fakeStore{listErr: &smithyhttp.RequestSendError{Err: errors.New("connection refused")}}, 0, true, "connection refused"},
		{"no credentials", &fakeStore{listErr: errors.New("no credentials")}, 0, false, "no credentials"},
		{
			"reading is denied",
			&fakeStore{objects: one, getErr: map[string]error{key(noon, "B62a"): answered(403)}}, 403, false, "1 of 1 submissions cannot be read",
		},
		{
			"reading is out of order",
			&fakeStore{objects: one, getErr: map[string]error{key(noon, "B62a"): answered(500)}}, 500, true, "1 of 1 submissions cannot be read",
		},
		{"nothing makes sense", &fakeStore{objects: map[string]string{key(noon, "B62a"): "?"}}, 0, false, "1 of 1 submissions cannot be read"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			source, skipped := newSubmissions(t, test.store, noon)
			got, err := source.List(t.Context())
			var listErr *ListError
			if !errors.As(err, &listErr) || got != nil {
				t.Fatalf("List = %v, %v; want a ListError alone", got, err)
			}
			if listErr.StatusCode != test.status || listErr.Temporary != test.temporary || listErr.Source != "s3://"+bucket+"/testnet/submissions/" {
				t.Errorf("got %+v; want status %d, temporary %t", listErr, test.status, test.temporary)
			}
			if !strings.Contains(err.Error(), test.says) || len(*skipped) > 0 {
				t.Errorf("%v, skipped %v; want %q, nothing skipped", err, *skipped, test.says)
			}
		})
	}
}

func TestSubmissionsTimeoutAndCancel(t *testing.T) {
	stopped := errors.New("the run was stopped")
	newStore := func() *fakeStore {
		return &fakeStore{
			objects: map[string]string{
				key(noon, "B62a"): content("B62a", "10.0.0.1", 3086),
				key(noon, "B62b"): content("B62b", "10.0.0.1", 3086),
			},
			hang: key(noon, "B62b"),
		}
	}
	t.Run("time-out", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			source, skipped := newSubmissions(t, newStore(), noon)
			begin := time.Now()
			got, err := source.List(t.Context())
			var listErr *ListError
			if !errors.As(err, &listErr) || !listErr.Temporary || got != nil || time.Since(begin) != 2*time.Minute || len(*skipped) > 0 {
				t.Errorf("List = %v, %v after %s, skipped %v; want a temporary ListError after 2 minutes", got, err, time.Since(begin), *skipped)
			}
		})
	})
	t.Run("cancelled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			source, skipped := newSubmissions(t, newStore(), noon)
			done := make(chan error)
			go func() {
				_, err := source.List(ctx)
				done <- err
			}()
			synctest.Wait()
			cancel(stopped)
			if err := <-done; !errors.Is(err, stopped) || errors.As(err, new(*ListError)) || len(*skipped) > 0 {
				t.Errorf("List: %v, skipped %v; want the cause of the context's end", err, *skipped)
			}
		})
	})
}

// gate is a store whose reads wait until it opens.
type gate struct {
	*fakeStore
	opened  chan struct{}
	waiting *atomic.Int32
}

func (g gate) GetObject(ctx context.Context, in *s3.GetObjectInput, options ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	g.waiting.Add(1)
	<-g.opened
	return g.fakeStore.GetObject(ctx, in, options...)
}

func TestSubmissionsAreReadInParallelWithinBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := gate{&fakeStore{objects: make(map[string]string)}, make(chan struct{}), new(atomic.Int32)}
		for i := range 100 {
			submitter := fmt.Sprintf("B62%02d", i)
			store.objects[key(noon, submitter)] = content(submitter, "10.0.0.1", 3086)
		}
		source, _ := newSubmissions(t, store, noon)
		done := make(chan int)
		go func() {
			nodes, err := source.List(t.Context())
			if err != nil {
				t.Error(err)
			}
			done <- len(nodes)
		}()
		synctest.Wait() // until nothing moves any more: all the reads that are allowed at once are under way
		if waiting := store.waiting.Load(); waiting != submissionReads {
			t.Errorf("%d reads are under way; want %d", waiting, submissionReads)
		}
		close(store.opened)
		if nodes := <-done; nodes != 100 {
			t.Errorf("%d nodes; want 100", nodes)
		}
	})
}

func TestNewSubmissionsRefuses(t *testing.T) {
	good := SubmissionsConfig{Bucket: bucket, Prefix: "testnet", Now: time.Now, Skipped: func(error) {}}
	for name, spoil := range map[string]func(*SubmissionsConfig){
		"no bucket":         func(c *SubmissionsConfig) { c.Bucket = "" },
		"no prefix":         func(c *SubmissionsConfig) { c.Prefix = "" },
		"only slashes":      func(c *SubmissionsConfig) { c.Prefix = "//" },
		"no clock":          func(c *SubmissionsConfig) { c.Now = nil },
		"nobody to tell":    func(c *SubmissionsConfig) { c.Skipped = nil },
		"negative window":   func(c *SubmissionsConfig) { c.Window = -1 },
		"negative time-out": func(c *SubmissionsConfig) { c.Timeout = -1 },
	} {
		config := good
		spoil(&config)
		if _, err := NewSubmissions(&fakeStore{}, config); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := NewSubmissions(&fakeStore{}, good); err != nil {
		t.Error(err)
	}
}

// s3Server speaks enough of S3's REST to list and read what a fakeStore holds. It insists on signed requests.
func s3Server(t *testing.T, store *fakeStore) string {
	t.Helper()
	type entry struct{ Key string }
	type listing struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []entry
	}
	fail := func(w http.ResponseWriter, status int, code string) {
		w.WriteHeader(status)
		write(t, w, "<Error><Code>"+code+"</Code><Message>refused</Message></Error>")
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		signed := r.Header.Get("Authorization")
		if !strings.HasPrefix(signed, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") || !strings.Contains(signed, "/us-west-2/s3/") {
			fail(w, http.StatusForbidden, "AccessDenied")
			return
		}
		query := r.URL.Query()
		optional := func(name string) *string {
			if !query.Has(name) {
				return nil
			}
			return aws.String(query.Get(name))
		}
		if query.Get("list-type") == "2" {
			page, err := store.ListObjectsV2(r.Context(), &s3.ListObjectsV2Input{
				Bucket: aws.String(strings.Trim(r.URL.Path, "/")), Prefix: optional("prefix"),
				StartAfter: optional("start-after"), ContinuationToken: optional("continuation-token"),
			})
			if err != nil {
				fail(w, http.StatusNotFound, "NoSuchBucket")
				return
			}
			answer := listing{IsTruncated: aws.ToBool(page.IsTruncated), NextContinuationToken: aws.ToString(page.NextContinuationToken)}
			for _, object := range page.Contents {
				answer.Contents = append(answer.Contents, entry{aws.ToString(object.Key)})
			}
			if err := xml.NewEncoder(w).Encode(answer); err != nil {
				t.Error(err)
			}
			return
		}
		name, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		object, err := store.GetObject(r.Context(), &s3.GetObjectInput{Bucket: aws.String(name), Key: aws.String(key)})
		if err != nil {
			fail(w, http.StatusNotFound, "NoSuchKey")
			return
		}
		if _, err := io.Copy(w, object.Body); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}
