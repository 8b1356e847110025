// Package archive keeps whole submissions of the uptime service as objects in S3, in the layout that readers know (uptime, section
// 6.1): uptime.Submissions finds the online nodes there, and validators the blocks.
package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"provingground/uptime"
)

// timeLayout is the form of times in keys and objects: UTC, whole seconds.
const timeLayout = "2006-01-02T15:04:05Z"

// ObjectStore is what [S3] needs of S3. A *[s3.Client] has it; it tries again by itself what may pass.
type ObjectStore interface {
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
}

// S3 keeps submissions in a bucket. It is a service.Archive. Make it with [NewS3]. Safe for concurrent use if the store is.
type S3 struct {
	store          ObjectStore
	bucket, prefix string
}

// NewS3 returns the archive in a bucket, whose name uptime.BucketName gives as a rule. The keys begin with prefix, the network's
// name as a rule; slashes around it do not matter. Both are required. Nothing is asked of S3 yet.
func NewS3(store ObjectStore, bucket, prefix string) (*S3, error) {
	prefix = strings.Trim(prefix, "/")
	if bucket == "" || prefix == "" {
		return nil, fmt.Errorf("archive of submissions in S3: bucket %q, prefix %q: give both", bucket, prefix)
	}
	return &S3{store: store, bucket: bucket, prefix: prefix}, nil
}

// stored is the content of a submission's object.
type stored struct {
	CreatedAt          string `json:"created_at"`
	PeerID             string `json:"peer_id"`
	SnarkWork          string `json:"snark_work,omitempty"` // base64
	RemoteAddr         string `json:"remote_addr"`
	Submitter          string `json:"submitter"`
	BlockHash          string `json:"block_hash"`
	ControlPort        uint16 `json:"graphql_control_port,omitempty"`
	BuiltWithCommitSHA string `json:"built_with_commit_sha,omitempty"`
}

// Put stores a submission that came from an address at a time, and before it its block, unless that is there already. The time's
// second is in the key: of two submissions of a key in one second the later one stays. A failure is returned, and may have left
// the block behind; Put may be called again.
func (a *S3) Put(ctx context.Context, submission *uptime.Submission, remote netip.Addr, received time.Time) error {
	hash, err := submission.BlockHash()
	if err != nil {
		return err
	}
	submitter := submission.Submitter.String()
	content, err := json.Marshal(stored{
		CreatedAt: submission.CreatedAt.UTC().Format(timeLayout), PeerID: submission.PeerID, SnarkWork: submission.SnarkWork(),
		RemoteAddr: remote.String(), Submitter: submitter, BlockHash: hash,
		ControlPort: submission.ControlPort, BuiltWithCommitSHA: submission.BuiltWithCommitSHA,
	})
	if err != nil {
		return fmt.Errorf("spell the submission of %s: %w", submitter, err)
	}
	if err := a.putBlock(ctx, submission, a.prefix+"/blocks/"+hash+".dat"); err != nil {
		return err
	}
	received = received.UTC()
	key := a.prefix + "/submissions/" + received.Format(time.DateOnly) + "/" + received.Format(timeLayout) + "-" + submitter + ".json"
	return a.put(ctx, key, "application/json", bytes.NewReader(content))
}

// putBlock stores a block that is not there yet. Many nodes report the same one.
func (a *S3) putBlock(ctx context.Context, submission *uptime.Submission, key string) error {
	_, err := a.store.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(a.bucket), Key: aws.String(key)})
	if err == nil {
		return nil
	}
	// To who may not list the bucket, S3 says that access is denied, instead of that an object is not there.
	if _, missing := errors.AsType[*types.NotFound](err); !missing {
		return fmt.Errorf("look for s3://%s/%s (which takes s3:GetObject and s3:ListBucket): %w", a.bucket, key, err)
	}
	block, err := submission.Block()
	if err != nil {
		return err
	}
	return a.put(ctx, key, "application/octet-stream", bytes.NewReader(block))
}

func (a *S3) put(ctx context.Context, key, contentType string, content io.Reader) error {
	_, err := a.store.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(a.bucket), Key: aws.String(key), ContentType: aws.String(contentType), Body: content,
	})
	if err != nil {
		return fmt.Errorf("store s3://%s/%s: %w", a.bucket, key, err)
	}
	return nil
}
