package uptime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// LoadS3 reads the AWS configuration and returns a client of S3; a program does so once. An empty region is the environment's. The
// credentials are those in credentialsFile, the value of AWS_CREDENTIALS_FILE: a JSON object of access_key_id and secret_access_key.
// When it is empty they are those of the usual AWS environment (orchestrator-scripts, section 4). Nothing is sent to S3 yet, so wrong
// credentials show at the first request.
func LoadS3(ctx context.Context, region, credentialsFile string) (*s3.Client, error) {
	options := []func(*config.LoadOptions) error{config.WithRegion(region)}
	if credentialsFile != "" {
		provider, err := readCredentials(credentialsFile)
		if err != nil {
			return nil, fmt.Errorf("AWS credentials: %w", err)
		}
		options = append(options, config.WithCredentialsProvider(provider))
	}
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("load the AWS configuration: %w", err)
	}
	if loaded.Region == "" {
		return nil, errors.New("load the AWS configuration: no region: give it in the configuration or in AWS_REGION")
	}
	return s3.NewFromConfig(loaded, func(options *s3.Options) {
		// Objects stored by older clients have no checksum; the SDK would write a line to standard error for each of them.
		options.DisableLogOutputChecksumValidationSkipped = true
	}), nil
}

// readCredentials reads a credentials file. Its errors quote nothing from the file.
func readCredentials(path string) (credentials.StaticCredentialsProvider, error) {
	const maxFile = 64 << 10
	none := credentials.StaticCredentialsProvider{}
	file, err := os.Open(path) //nolint:gosec // the user names this file
	if err != nil {
		return none, err
	}
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return none, err
	}
	var pair struct {
		AccessKeyID     string `json:"access_key_id"`
		SecretAccessKey string `json:"secret_access_key"`
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	err = decoder.Decode(&pair)
	if err != nil || len(content) > maxFile || len(bytes.TrimSpace(content[decoder.InputOffset():])) > 0 ||
		pair.AccessKeyID == "" || pair.SecretAccessKey == "" {
		return none, fmt.Errorf("%s is not a JSON object of access_key_id and secret_access_key, two strings, and nothing else", path)
	}
	return credentials.NewStaticCredentialsProvider(pair.AccessKeyID, pair.SecretAccessKey, ""), nil
}
