package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxBody bounds a command, in bytes.
const maxBody = 64 << 10

// parseCommand reads a body strictly: one JSON object, no unknown key, none twice, each spelled as it is. It does not say whether the command makes sense.
func parseCommand(body []byte) (Command, error) {
	if err := checkKeys(json.NewDecoder(bytes.NewReader(body)), 0); err != nil {
		return Command{}, err
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	var command Command
	if err := decoder.Decode(&command); err != nil {
		return Command{}, fmt.Errorf("the body is no command: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Command{}, errors.New("there is something behind the command")
	}
	return command, nil
}

// checkKeys walks over one value, which must be an object when it is the outermost. The decoder alone takes the last of two keys, and others in place of
// their letters' cases.
func checkKeys(decoder *json.Decoder, depth int) error {
	const maxDepth = 4
	token, err := decoder.Token()
	if err != nil {
		return fmt.Errorf("the body is not JSON: %w", err)
	}
	delimiter, isDelimiter := token.(json.Delim)
	switch {
	case depth == 0 && delimiter != '{':
		return errors.New("the body is no JSON object")
	case !isDelimiter:
		return nil
	case depth >= maxDepth:
		return errors.New("the body is nested too deeply")
	}
	seen := map[string]bool{}
	for decoder.More() {
		if delimiter == '{' {
			token, err := decoder.Token()
			if err != nil {
				return fmt.Errorf("the body is not JSON: %w", err)
			}
			key, _ := token.(string) // the decoder lets nothing else be one
			if strings.Trim(key, "abcdefghijklmnopqrstuvwxyz_") != "" {
				return fmt.Errorf("the body has an unknown key %s", shorten(key))
			}
			if seen[key] {
				return fmt.Errorf("the body has the key %s twice", shorten(key))
			}
			seen[key] = true
		}
		if err := checkKeys(decoder, depth+1); err != nil {
			return err
		}
	}
	if _, err := decoder.Token(); err != nil {
		return fmt.Errorf("the body is not JSON: %w", err)
	}
	return nil
}
