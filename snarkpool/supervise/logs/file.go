//go:build linux

package logs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// Path returns a worker's present log file in the directory; the older ones are beside it, with .1 and so on behind the name.
func Path(directory, name string) string { return filepath.Join(directory, name+".log") }

// store writes to a worker's file, which is open only meanwhile: thousands of quiet workers need no descriptors.
func (c *Capture) store(out chunk) {
	c.queued.Add(-int64(len(out.text)))
	path := Path(c.options.Directory, out.name)
	if err := c.rotate(path, int64(len(out.text))); err != nil {
		c.drop(out)
		return
	}
	text := out.text
	missing := c.unsaid(out.name)
	if missing > 0 {
		text = append(fmt.Appendf(nil, "[%d lines dropped: the disk was full or too slow]\n", missing), text...)
	}
	if err := appendTo(path, text); err != nil {
		c.drop(out)
		return
	}
	c.said(out.name, missing)
}

// rotate makes room for more bytes in a bounded file. A single chunk may be larger than a file: then it has one of its own.
func (c *Capture) rotate(path string, more int64) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 || info.Size()+more <= c.options.FileBytes {
		return err
	}
	for i := c.options.Files - 1; i > 0; i-- {
		from := path
		if i > 1 {
			from = path + "." + strconv.Itoa(i-1)
		}
		if err := os.Rename(from, path+"."+strconv.Itoa(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if c.options.Files == 1 {
		return os.Remove(path)
	}
	return nil
}

// appendTo appends all of text or, as far as it can be helped, nothing.
func appendTo(path string, text []byte) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600) //nolint:gosec // The name of a worker is checked where it comes from.
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if _, err := file.Write(text); err != nil {
		if info.Mode().IsRegular() {
			return errors.Join(err, file.Truncate(info.Size()))
		}
		return err
	}
	return nil
}
