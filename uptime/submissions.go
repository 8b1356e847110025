package uptime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"
)

const (
	// submissionWindow is how far back submissions count unless the caller says otherwise (orchestrator-scripts, section 3.1).
	submissionWindow = 15 * time.Minute
	// submissionsTimeout is how long one List may take unless the caller says otherwise: thousands of objects, 16 at a time.
	submissionsTimeout = 2 * time.Minute
	// submissionReads is how many objects are read at once.
	submissionReads = 16
	// submissionTime is the form of the time in an object's key.
	submissionTime = "2006-01-02T15:04:05Z"
)

// ObjectStore is what [Submissions] needs of S3. A *[s3.Client] has it.
type ObjectStore interface {
	ListObjectsV2(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// BucketName returns the name of the bucket in which the uptime service of an AWS account stores submissions (uptime, section 6.1).
func BucketName(accountID string) string { return accountID + "-block-producers-uptime" }

// SubmissionsConfig says where submissions lie, which of them count, and who is told about the unreadable ones.
type SubmissionsConfig struct {
	// Bucket is the bucket's name: see [BucketName]. Required.
	Bucket string
	// Prefix is what the keys begin with, before "/submissions/": the network's name, as a rule. Slashes around it do not matter.
	// Required.
	Prefix string
	// Window is how far back submissions count. 0 means 15 minutes, as for discovery; the log fetcher looks back 20.
	Window time.Duration
	// Timeout is for one List as a whole, wall time. 0 means 2 minutes.
	Timeout time.Duration
	// Now tells the wall time. Required.
	Now func() time.Time
	// Skipped is told of each submission that cannot be read or is not what its key says; the list then goes without it. It is called
	// by List, one call after another, before List returns. Required.
	Skipped func(error)
}

// Submissions finds the nodes that are online by the submissions that the uptime service stored in S3. Create it with
// [NewSubmissions]. Safe for concurrent use if the store is, and Skipped.
type Submissions struct {
	store  ObjectStore
	config SubmissionsConfig
	folder string // of all submissions, with the slash at its end: without it, a network's keys match those of "<its name>-2"
	name   string
}

// NewSubmissions returns the source for the submissions in a store. The store is made once, by [LoadS3] for example.
func NewSubmissions(store ObjectStore, config SubmissionsConfig) (*Submissions, error) {
	prefix := strings.Trim(config.Prefix, "/")
	switch {
	case config.Bucket == "" || prefix == "":
		return nil, fmt.Errorf("submissions in S3: bucket %q, prefix %q: give both", config.Bucket, config.Prefix)
	case config.Window < 0 || config.Timeout < 0:
		return nil, fmt.Errorf("submissions in S3: a window of %s, a timeout of %s: neither is below 0", config.Window, config.Timeout)
	case config.Now == nil || config.Skipped == nil:
		return nil, errors.New("submissions in S3: Now and Skipped are required")
	}
	if config.Window == 0 {
		config.Window = submissionWindow
	}
	if config.Timeout == 0 {
		config.Timeout = submissionsTimeout
	}
	folder := prefix + "/submissions/"
	return &Submissions{store: store, config: config, folder: folder, name: "s3://" + config.Bucket + "/" + folder}, nil
}

// List returns the nodes that submitted within the window, each once, sorted by address, port and submitter; of several submissions of
// a node the newest counts. None is an empty list. An error is a [*ListError], or wraps the cause of ctx's end; it is an error, too,
// when there are submissions and not one can be read.
func (s *Submissions) List(ctx context.Context) ([]Node, error) {
	return listWithin(ctx, s.config.Timeout, s.name, s.get)
}

func (s *Submissions) get(ctx context.Context) ([]Node, *ListError) {
	keys, err := s.keys(ctx)
	if err != nil {
		return nil, s.failed(fmt.Errorf("list the submissions: %w", err))
	}
	nodes, unread := s.read(ctx, keys)
	if len(unread) > 0 && (len(nodes) == 0 || ctx.Err() != nil) {
		return nil, s.failed(fmt.Errorf("%d of %d submissions cannot be read, the first: %w", len(unread), len(keys), unread[0]))
	}
	for _, err := range unread {
		s.config.Skipped(err)
	}
	return newest(nodes), nil
}

// keys lists the keys of the window's submissions. There is a folder for each day, so around midnight there are two to look into.
func (s *Submissions) keys(ctx context.Context) ([]string, error) {
	now := s.config.Now().UTC()
	since := now.Add(-s.config.Window)
	var keys []string
	for day := since.Truncate(24 * time.Hour); !day.After(now); day = day.AddDate(0, 0, 1) {
		folder := s.folder + day.Format(time.DateOnly) + "/"
		pages := s3.NewListObjectsV2Paginator(s.store, &s3.ListObjectsV2Input{
			Bucket: aws.String(s.config.Bucket),
			Prefix: aws.String(folder),
			// Keys are in the order of their times. This one has nothing after its time, so it comes before those of the same second.
			StartAfter: aws.String(folder + since.Format(submissionTime)),
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, object := range page.Contents {
				keys = append(keys, aws.ToString(object.Key))
			}
		}
	}
	return keys, nil
}

// read reads the submissions, several at once, and returns what they say and what went wrong, both in the order of keys.
func (s *Submissions) read(ctx context.Context, keys []string) ([]Node, []error) {
	all := make([]Node, len(keys))
	errs := make([]error, len(keys))
	var group errgroup.Group
	group.SetLimit(submissionReads)
	for i, key := range keys {
		group.Go(func() error {
			all[i], errs[i] = s.submission(ctx, key)
			return nil
		})
	}
	_ = group.Wait() // no function returns an error: one unreadable submission does not stop the others

	nodes := make([]Node, 0, len(keys))
	var unread []error
	for i := range keys {
		if errs[i] != nil {
			unread = append(unread, fmt.Errorf("submission %q: %w", keys[i], errs[i]))
			continue
		}
		nodes = append(nodes, all[i])
	}
	return nodes, unread
}

// submission reads one submission.
func (s *Submissions) submission(ctx context.Context, key string) (Node, error) {
	received, submitter, err := parseKey(strings.TrimPrefix(key, s.folder))
	if err != nil {
		return Node{}, err
	}
	object, err := s.store.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(s.config.Bucket), Key: aws.String(key)})
	if err != nil {
		return Node{}, err
	}
	content, err := io.ReadAll(io.LimitReader(object.Body, maxAnswer+1))
	if err := errors.Join(err, object.Body.Close()); err != nil {
		return Node{}, fmt.Errorf("broke off after %d bytes: %w", len(content), err)
	}
	if len(content) > maxAnswer {
		return Node{}, fmt.Errorf("longer than %d bytes", maxAnswer)
	}
	node, err := decodeNode(content)
	if err != nil {
		return Node{}, err
	}
	if node.Submitter != submitter {
		return Node{}, fmt.Errorf("it is of %q", node.Submitter)
	}
	node.LastSeen = received
	return node, nil
}

// parseKey takes apart the end of an object's key, DATE/TIME-SUBMITTER.json (uptime, section 6.1).
func parseKey(name string) (received time.Time, submitter string, err error) {
	malformed := errors.New("the key does not end in DATE/TIME-SUBMITTER.json")
	date, rest, _ := strings.Cut(name, "/")
	rest, isJSON := strings.CutSuffix(rest, ".json")
	if !isJSON || len(rest) <= len(submissionTime)+1 || rest[len(submissionTime)] != '-' {
		return time.Time{}, "", malformed
	}
	received, err = time.Parse(submissionTime, rest[:len(submissionTime)])
	if err != nil || received.Format(time.DateOnly) != date {
		return time.Time{}, "", malformed
	}
	return received, rest[len(submissionTime)+1:], nil
}

// failed makes the error of a failed List. What may pass is for S3's client to say: it knows S3's own error codes.
func (s *Submissions) failed(err error) *ListError {
	status := 0
	if answer := (interface{ HTTPStatusCode() int })(nil); errors.As(err, &answer) {
		status = answer.HTTPStatusCode()
	}
	retryable := retry.IsErrorRetryables(retry.DefaultRetryables).IsErrorRetryable(err) == aws.TrueTernary
	return &ListError{Source: s.name, StatusCode: status, Temporary: retryable || temporaryStatus(status), Err: err}
}
