package ledger

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrFull says that the spool has no room, or its disk none: let work pause until the database has taken what is there. Nothing was written.
var ErrFull = errors.New("the spool is full: work must pause until the database has taken what it holds")

// ErrSpoolHeld says that another process uses the spool's directory.
var ErrSpoolHeld = errors.New("another process uses this spool: one agent per state directory")

// DamageError says that a file of the spool holds something else than was written, which no crash explains.
type DamageError struct {
	// Path is the file, Offset the place of the first bad byte, and Lost how many bytes from there on cannot be read.
	Path   string
	Offset int64
	Lost   int64
}

// Error says what is wrong and what can be done.
func (e *DamageError) Error() string {
	return fmt.Sprintf("spool file %s is damaged at byte %d, %d bytes cannot be read: look at the disk; to go on without these, cut the file there (truncate -s %d)",
		e.Path, e.Offset, e.Lost, e.Offset)
}

// Numbered is an entry with its number in its spool: 1, 2, 3, ….
type Numbered struct {
	Seq   uint64
	Entry Entry
}

// SpoolOptions bounds a spool. Zero values stand for the defaults.
type SpoolOptions struct {
	// MaxBytes bounds all files together; 256 MiB by default, at least 4 MiB.
	MaxBytes int64
	// SegmentBytes is how large a file grows before the next is begun; 4 MiB by default, at most a quarter of MaxBytes.
	SegmentBytes int64
}

// Spool keeps entries on disk, in order, until the ledger has them. What [Spool.Append] returned nil for is on the disk, whatever happens to the
// process or the machine. Make it with [OpenSpool]. Safe for concurrent use.
//
// The directory holds a file with the spool's identity, and segments named by the number of their first entry. An entry in a segment is its length
// and a checksum (CRC-32C over number and content), 4 bytes each, its number in 8 bytes, all little-endian, and JSON.
type Spool struct {
	dir     string
	id      string
	options SpoolOptions
	lock    *os.File
	notes   []string
	news    chan struct{} // holds a token when something was appended

	// syncing is taken before mu by whoever syncs, so that many appends share one sync.
	syncing sync.Mutex

	mu       sync.Mutex
	segments []*segment // never empty; the last is appended to
	next     uint64     // number of the next entry
	synced   uint64     // entries below are on the disk
	done     uint64     // entries below are not needed any more
	failed   error      // nothing can be appended until the spool is opened again
}

// segment is one file.
type segment struct {
	path  string
	file  *os.File
	first uint64
	end   int64 // bytes
	// from is where reading goes on: the place of the first entry that is needed.
	from    int64
	fromSeq uint64
}

const (
	headBytes    = 16
	maxEntry     = MaxProofBytes/3*4 + 256<<10 // a proof in base64 and the rest of its entry
	segmentName  = ".spool"
	identityName = "identity"
)

// OpenSpool opens the spool of a directory, which it makes if need be. What a crash left of an entry that was being written is cut off, with a
// note. It fails with [ErrSpoolHeld], and with a [*DamageError] when a file was changed by something else than a crash.
func OpenSpool(dir string, options SpoolOptions) (_ *Spool, err error) {
	if options.MaxBytes == 0 {
		options.MaxBytes = 256 << 20
	}
	if options.SegmentBytes == 0 {
		options.SegmentBytes = min(4<<20, options.MaxBytes/4)
	}
	if options.MaxBytes < 4<<20 || options.SegmentBytes < 1 || options.SegmentBytes > options.MaxBytes/4 {
		return nil, fmt.Errorf("spool of %d bytes in files of %d: want at least 4 MiB, and files of at most a quarter", options.MaxBytes, options.SegmentBytes)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the spool: %w", err)
	}
	s := &Spool{dir: dir, options: options, news: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open the spool %s: %w", dir, err), s.closeFiles())
		}
	}()
	if s.lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil { //nolint:gosec // the agent's own directory
		return nil, err
	}
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrSpoolHeld
		}
		return nil, err
	}
	if s.id, err = identity(dir); err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	if s.next > s.done {
		s.news <- struct{}{}
	}
	return s, nil
}

// identity reads the spool's identity, or gives it one.
func identity(dir string) (string, error) {
	path := filepath.Join(dir, identityName)
	content, err := os.ReadFile(path) //nolint:gosec // the agent's own directory
	if err == nil {
		if id := strings.TrimSpace(string(content)); len(id) == len("00000000-0000-0000-0000-000000000000") {
			return id, nil
		}
		return "", fmt.Errorf("%s holds no identity: remove it if the spool is empty; the database would take other entries for these", path)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	var u [16]byte
	if _, err := rand.Read(u[:]); err != nil {
		return "", err
	}
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	id := fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
	temporary := path + ".new"
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // the agent's own directory
	if err != nil {
		return "", err
	}
	_, err = file.WriteString(id + "\n")
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return "", err
	}
	if err := os.Rename(temporary, path); err != nil {
		return "", err
	}
	return id, syncDir(dir)
}

func syncDir(dir string) error {
	file, err := os.Open(dir) //nolint:gosec // the agent's own directory
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// load opens the segments and checks every entry.
func (s *Spool) load() error {
	names, err := filepath.Glob(filepath.Join(s.dir, "*"+segmentName)) // sorted, and the numbers have the same length
	if err != nil {
		return err
	}
	for i, path := range names {
		first, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), segmentName), 10, 64)
		if err != nil || first == 0 {
			return fmt.Errorf("%s is no file of a spool: move it away", path)
		}
		if i > 0 && first != s.next {
			return fmt.Errorf("entries %d to %d of the spool are missing before %s: put the file back, or move the later ones to another directory", s.next, first-1, path)
		}
		file, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // the agent's own directory
		if err != nil {
			return err
		}
		seg := &segment{path: path, file: file, first: first, fromSeq: first}
		s.segments = append(s.segments, seg)
		s.next = first
		if err := s.check(seg, i == len(names)-1); err != nil {
			return err
		}
	}
	if len(s.segments) == 0 {
		s.next = 1
		if err := s.begin(); err != nil {
			return err
		}
	}
	// A killed process leaves what the kernel, but not the disk, has.
	if err := s.segments[len(s.segments)-1].file.Sync(); err != nil {
		return err
	}
	s.done, s.synced = s.segments[0].first, s.next
	return nil
}

// check reads a segment to its end. Of the last one, which was being written when the process or the machine died, a torn end is cut off.
func (s *Spool) check(seg *segment, last bool) error {
	info, err := seg.file.Stat()
	if err != nil {
		return err
	}
	for seg.end < info.Size() {
		content, err := seg.read(seg.end, info.Size(), s.next)
		if err != nil {
			return err
		}
		if content == nil {
			break
		}
		seg.end += headBytes + int64(len(content))
		s.next++
	}
	lost := info.Size() - seg.end
	if lost == 0 {
		return nil
	}
	if !last {
		return &DamageError{Path: seg.path, Offset: seg.end, Lost: lost}
	}
	kept, err := seg.keep(lost)
	if err != nil {
		kept = fmt.Sprintf("they could not be kept: %v", err)
	}
	s.notes = append(s.notes, fmt.Sprintf("spool file %s: cut off %d bytes that are no whole entry, as when the agent or the machine dies while it writes; %s", seg.path, lost, kept))
	return seg.file.Truncate(seg.end)
}

// keep copies what follows the last whole entry to a file beside the segment, for people: a crash explains it, and so does a bad disk.
func (seg *segment) keep(lost int64) (string, error) {
	path := seg.path + ".cut"
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // the agent's own directory
	if err != nil {
		return "", err
	}
	_, err = io.Copy(file, io.NewSectionReader(seg.file, seg.end, min(lost, 4<<20)))
	return "they are in " + path, errors.Join(err, file.Close())
}

// read returns the content of the entry with a number at a place; nil when there is none that is whole.
func (seg *segment) read(place, size int64, seq uint64) ([]byte, error) {
	var head [headBytes]byte
	if size-place < headBytes {
		return nil, nil
	}
	if _, err := seg.file.ReadAt(head[:], place); err != nil {
		return nil, err
	}
	length := int64(binary.LittleEndian.Uint32(head[:]))
	if length == 0 || length > maxEntry || length > size-place-headBytes || binary.LittleEndian.Uint64(head[8:]) != seq {
		return nil, nil
	}
	content := make([]byte, length)
	if _, err := seg.file.ReadAt(content, place+headBytes); err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(head[4:]) != checksum(head[8:], content) {
		return nil, nil
	}
	return content, nil
}

func checksum(parts ...[]byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	var sum uint32
	for _, part := range parts {
		sum = crc32.Update(sum, table, part)
	}
	return sum
}

// begin makes the segment that starts with the next entry. The one before must be on the disk.
func (s *Spool) begin() error {
	path := filepath.Join(s.dir, fmt.Sprintf("%020d%s", s.next, segmentName))
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the agent's own directory
	if err != nil {
		return err
	}
	if err := syncDir(s.dir); err != nil {
		return errors.Join(err, file.Close(), os.Remove(path))
	}
	s.segments = append(s.segments, &segment{path: path, file: file, first: s.next, fromSeq: s.next})
	return nil
}

// ID returns the spool's identity, a UUID, by which the ledger knows how far it is stored.
func (s *Spool) ID() string { return s.id }

// Append writes entries and returns when they are on the disk. [ErrFull] and any other error mean that none of them will be replayed, unless the
// disk failed while it was asked to keep them: then nobody knows, and the spool takes nothing more until it is opened again.
func (s *Spool) Append(entries ...Entry) error {
	var lines [][]byte
	var size int64
	for _, entry := range entries {
		entry, err := entry.prepared()
		if err != nil {
			return err
		}
		content, err := json.Marshal(entry)
		if err != nil {
			return fmt.Errorf("entry for the spool: %w", err)
		}
		if len(content) > maxEntry {
			return fmt.Errorf("entry for the spool: %d bytes, more than %d", len(content), maxEntry)
		}
		lines = append(lines, content)
		size += headBytes + int64(len(content))
	}
	if len(lines) == 0 {
		return nil
	}
	last, err := s.write(lines, size)
	if err == nil {
		err = s.sync(last)
	}
	if err != nil {
		return fmt.Errorf("append to the spool %s: %w", s.dir, err)
	}
	select {
	case s.news <- struct{}{}:
	default: // a token is there already
	}
	return nil
}

// write adds entries to the end of the last segment and returns the number of the last one.
func (s *Spool) write(lines [][]byte, size int64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return 0, s.failed
	}
	if s.bytes()+size > s.options.MaxBytes {
		return 0, ErrFull
	}
	seg := s.segments[len(s.segments)-1]
	if seg.end > 0 && seg.end+size > s.options.SegmentBytes {
		if err := seg.file.Sync(); err != nil {
			return 0, s.fail(err)
		}
		s.synced = s.next
		if err := s.begin(); err != nil {
			return 0, full(err)
		}
		seg = s.segments[len(s.segments)-1]
	}
	buffer := make([]byte, 0, size)
	for i, content := range lines {
		var head [headBytes]byte
		binary.LittleEndian.PutUint32(head[:], uint32(len(content)))
		binary.LittleEndian.PutUint64(head[8:], s.next+uint64(i))
		binary.LittleEndian.PutUint32(head[4:], checksum(head[8:], content))
		buffer = append(append(buffer, head[:]...), content...)
	}
	if _, err := seg.file.WriteAt(buffer, seg.end); err != nil {
		// A part may be there; it must not be found later.
		if cut := seg.file.Truncate(seg.end); cut != nil {
			return 0, s.fail(errors.Join(err, cut))
		}
		return 0, full(err)
	}
	seg.end += size
	s.next += uint64(len(lines))
	return s.next - 1, nil
}

// full tells a full disk from other failures.
func full(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

func (s *Spool) fail(err error) error {
	s.failed = fmt.Errorf("the disk failed, nobody knows what it kept: %w; mend it and start the agent again", err)
	return s.failed
}

// sync returns when the entry with a number is on the disk. Those who wait while somebody syncs find their entries there with the next sync.
func (s *Spool) sync(last uint64) error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.mu.Lock()
	if s.failed != nil || s.synced > last {
		defer s.mu.Unlock()
		return s.failed
	}
	// Only the last segment can hold entries that are not on the disk.
	file, next := s.segments[len(s.segments)-1].file, s.next
	s.mu.Unlock()
	err := file.Sync()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		return s.fail(err)
	}
	s.synced = max(s.synced, next)
	return nil
}

// bytes returns how much the files hold.
func (s *Spool) bytes() (total int64) {
	for _, seg := range s.segments {
		total += seg.end
	}
	return total
}

// Wait returns when there may be entries to replay, or with the cause of the context's end.
func (s *Spool) Wait(ctx context.Context) error {
	select {
	case <-s.news:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Read returns the oldest entries that are on the disk and were not forgotten, at most n, and of at most about 16 MiB. They stay until
// [Spool.Forget]. It is empty when there are none.
func (s *Spool) Read(n int) ([]Numbered, error) {
	const maxBytes = 16 << 20
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Numbered
	var size int
	for _, seg := range s.segments {
		place, seq := seg.from, seg.fromSeq
		for ; place < seg.end && seq < s.synced; seq++ {
			if len(list) == n || size > maxBytes {
				return list, nil
			}
			content, err := seg.read(place, seg.end, seq)
			if err == nil && content == nil {
				err = &DamageError{Path: seg.path, Offset: place, Lost: seg.end - place}
			}
			if err != nil {
				return nil, fmt.Errorf("read the spool: %w", err)
			}
			numbered := Numbered{Seq: seq}
			if err := json.Unmarshal(content, &numbered.Entry); err != nil {
				return nil, fmt.Errorf("read the spool: entry %d in %s: %w", seq, seg.path, err)
			}
			list = append(list, numbered)
			size += len(content)
			place += headBytes + int64(len(content))
		}
	}
	return list, nil
}

// Forget drops the entries up to a number, which the ledger has. The files go when all their entries were dropped; after a crash some may
// come again.
func (s *Spool) Forget(last uint64) error {
	s.syncing.Lock() // nobody may sync a file that is closed here
	defer s.syncing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) == 0 {
		return fmt.Errorf("forget entries of the spool %s: %w", s.dir, fs.ErrClosed)
	}
	if last >= s.synced {
		return fmt.Errorf("forget entries of the spool %s up to %d: it has %d", s.dir, last, s.synced-1)
	}
	s.done = max(s.done, last+1)
	// A file that is not small is given up as soon as it holds nothing that is needed.
	if seg := s.segments[len(s.segments)-1]; s.done == s.next && s.synced == s.next && seg.end > 64<<10 {
		if err := full(s.begin()); err != nil && !errors.Is(err, ErrFull) { // a full disk lets it be given up later
			return fmt.Errorf("begin a file of the spool: %w", err)
		}
	}
	for len(s.segments) > 1 && s.segments[1].first <= s.done {
		seg := s.segments[0]
		// The order does not matter to a crash: the ledger knows all of these.
		if err := errors.Join(os.Remove(seg.path), seg.file.Close()); err != nil {
			return fmt.Errorf("forget a file of the spool: %w", err)
		}
		s.segments = slices.Delete(s.segments, 0, 1)
	}
	seg := s.segments[0]
	for ; seg.fromSeq < s.done; seg.fromSeq++ {
		var head [4]byte
		if _, err := seg.file.ReadAt(head[:], seg.from); err != nil {
			return fmt.Errorf("forget entries of the spool: %w", err)
		}
		seg.from += headBytes + int64(binary.LittleEndian.Uint32(head[:]))
	}
	return nil
}

// SpoolState says how a spool is.
type SpoolState struct {
	// Entries is how many wait for the ledger.
	Entries uint64
	// Bytes of MaxBytes are taken. Files go as a whole, so it is a little more than the waiting entries.
	Bytes, MaxBytes int64
	// Failed is why nothing can be appended; nil when it can.
	Failed error
	// Notes are what was found and mended when it was opened.
	Notes []string
}

// HasRoom tells whether so many entries of the largest size fit: while it is false, no job should be begun, for each may end in a proof.
func (t SpoolState) HasRoom(entries int) bool {
	return t.Failed == nil && t.MaxBytes-t.Bytes >= int64(entries)*(headBytes+maxEntry)
}

// State returns how the spool is now.
func (s *Spool) State() SpoolState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return SpoolState{Entries: s.next - s.done, Bytes: s.bytes(), MaxBytes: s.options.MaxBytes, Failed: s.failed, Notes: slices.Clone(s.notes)}
}

// Close gives the directory free. Nothing may be called afterwards. What was not forgotten is there when it is opened again.
func (s *Spool) Close() error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = fs.ErrClosed
	return s.closeFiles()
}

func (s *Spool) closeFiles() (err error) {
	for _, seg := range s.segments {
		err = errors.Join(err, seg.file.Close())
	}
	s.segments = nil
	if s.lock != nil {
		// Closing alone would leave the lock to a child that was forked at this moment, until it runs its own program.
		err = errors.Join(err, unix.Flock(int(s.lock.Fd()), unix.LOCK_UN), s.lock.Close())
	}
	return err
}

var _ io.Closer = (*Spool)(nil)
