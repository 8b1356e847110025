package uptime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"
)

// awsEnvironment hides the AWS configuration of whoever runs the tests, and sends requests to endpoint.
func awsEnvironment(t *testing.T, endpoint string) {
	t.Helper()
	none := filepath.Join(t.TempDir(), "none")
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_REGION": "", "AWS_DEFAULT_REGION": "",
		"AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CA_BUNDLE": "",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "", "AWS_WEB_IDENTITY_TOKEN_FILE": "",
		"AWS_ENDPOINT_URL_S3": endpoint, "AWS_ENDPOINT_URL": "", "AWS_MAX_ATTEMPTS": "1",
		"HTTP_PROXY": "", "HTTPS_PROXY": "",
	} {
		t.Setenv(name, value)
	}
}

func credentialsFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "credentials.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const goodCredentials = ` {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "wJalrXUtnFEMI"} ` + "\n"

func s3Submissions(t *testing.T, client *s3.Client) *Submissions {
	t.Helper()
	source, err := NewSubmissions(client, SubmissionsConfig{
		Bucket: bucket, Prefix: "testnet", Now: func() time.Time { return noon }, Skipped: func(err error) { t.Error(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// TestS3 goes through the real client: configuration, credentials from either place, signed requests, pages and objects over HTTP.
func TestS3(t *testing.T) {
	store := &fakeStore{objects: make(map[string]string)}
	var want []Node
	for i := range 5 {
		at := noon.Add(time.Duration(i-5) * time.Minute)
		submitter := fmt.Sprintf("B62%d", i)
		store.objects[key(at, submitter)] = content(submitter, fmt.Sprintf("10.0.0.%d:5000", i), 3086)
		want = append(want, node(submitter, fmt.Sprintf("10.0.0.%d", i), 3086, at))
	}
	endpoint := s3Server(t, store)

	for _, test := range []struct {
		name, region, file string
		environment        map[string]string
	}{
		{"credentials file", "us-west-2", credentialsFile(t, goodCredentials), nil},
		{
			"the file goes before the environment", "us-west-2", credentialsFile(t, goodCredentials),
			map[string]string{"AWS_ACCESS_KEY_ID": "AKIDOTHER", "AWS_SECRET_ACCESS_KEY": "other", "AWS_REGION": "eu-west-1"},
		},
		{
			"environment", "", "",
			map[string]string{"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI", "AWS_REGION": "us-west-2"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			awsEnvironment(t, endpoint)
			for name, value := range test.environment {
				t.Setenv(name, value)
			}
			client, err := LoadS3(t.Context(), test.region, test.file)
			if err != nil {
				t.Fatal(err)
			}
			if !client.Options().DisableLogOutputChecksumValidationSkipped {
				t.Error("the client writes to standard error for each object without a checksum")
			}
			got, err := s3Submissions(t, client).List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("nodes (-want +got):\n%s", diff)
			}
		})
	}

	t.Run("wrong credentials", func(t *testing.T) {
		awsEnvironment(t, endpoint)
		client, err := LoadS3(t.Context(), "us-west-2", credentialsFile(t, `{"access_key_id":"AKIDOTHER","secret_access_key":"s3cr3t-other"}`))
		if err != nil {
			t.Fatal(err)
		}
		_, err = s3Submissions(t, client).List(t.Context())
		var listErr *ListError
		if !errors.As(err, &listErr) || listErr.Temporary || listErr.StatusCode != 403 {
			t.Errorf("List: %v; want a permanent ListError with status 403", err)
		}
		if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, "s3cr3t-other") {
			t.Errorf("the error tells the secret: %s", text)
		}
	})
	t.Run("connection refused", func(t *testing.T) {
		awsEnvironment(t, closedAddress(t))
		client, err := LoadS3(t.Context(), "us-west-2", credentialsFile(t, goodCredentials))
		if err != nil {
			t.Fatal(err)
		}
		_, err = s3Submissions(t, client).List(t.Context())
		var listErr *ListError
		if !errors.As(err, &listErr) || !listErr.Temporary {
			t.Errorf("List: %v; want a temporary ListError", err)
		}
	})
	t.Run("no credentials at all", func(t *testing.T) {
		awsEnvironment(t, endpoint)
		client, err := LoadS3(t.Context(), "us-west-2", "")
		if err != nil {
			t.Fatal(err)
		}
		_, err = s3Submissions(t, client).List(t.Context())
		var listErr *ListError
		if !errors.As(err, &listErr) || listErr.Temporary {
			t.Errorf("List: %v; want a permanent ListError", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		awsEnvironment(t, endpoint)
		client, err := LoadS3(t.Context(), "us-west-2", credentialsFile(t, goodCredentials))
		if err != nil {
			t.Fatal(err)
		}
		stopped := errors.New("the run was stopped")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(stopped)
		if _, err := s3Submissions(t, client).List(ctx); !errors.Is(err, stopped) {
			t.Errorf("List: %v; want the cause of the context's end", err)
		}
	})
}

func TestLoadS3Refuses(t *testing.T) {
	awsEnvironment(t, "")
	if _, err := LoadS3(t.Context(), "", credentialsFile(t, goodCredentials)); err == nil || !strings.Contains(err.Error(), "region") {
		t.Errorf("without a region: %v", err)
	}
	if _, err := LoadS3(t.Context(), "us-west-2", filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the file: %v", err)
	}
	if _, err := LoadS3(t.Context(), "us-west-2", t.TempDir()); err == nil {
		t.Error("a directory was taken for a credentials file")
	}
	const pair = `"access_key_id":"AKIDEXAMPLE","secret_access_key":"s3cr3t"`
	for name, content := range map[string]string{
		"nothing":         ``,
		"null":            `null`,
		"not JSON":        `[default] aws_secret_access_key = s3cr3t`,
		"a list":          `[{` + pair + `}]`,
		"unknown key":     `{` + pair + `,"s3cr3t":""}`,
		"no ID":           `{"secret_access_key":"s3cr3t"}`,
		"no secret":       `{"access_key_id":"AKIDEXAMPLE"}`,
		"empty secret":    `{"access_key_id":"AKIDEXAMPLE","secret_access_key":""}`,
		"a number":        `{"access_key_id":"AKIDEXAMPLE","secret_access_key":123456789}`,
		"two objects":     `{` + pair + `}{` + pair + `}`,
		"text after it":   `{` + pair + `} s3cr3t`,
		"cut off":         `{` + pair,
		"a whole library": `{` + pair + `}` + strings.Repeat(" ", 64<<10),
	} {
		path := credentialsFile(t, content)
		client, err := LoadS3(t.Context(), "us-west-2", path)
		if err == nil || client != nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v; want an error that names the file", name, err)
			continue
		}
		if strings.Contains(err.Error(), "s3cr3t") || strings.Contains(err.Error(), "123456789") {
			t.Errorf("%s: the error tells the secret: %v", name, err)
		}
	}
}
