package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"
)

const (
	maxBody      = 1 << 20          // bytes of a request's body
	bodyTime     = 15 * time.Second // for a client to send its body
	retrySeconds = 5                // when to ask again for what the database could not answer
)

// problem is an error with the answer that it gets.
type problem struct {
	status int
	text   string // for the client
	retry  bool
	cause  error // for the log; may be nil
	isOdd  bool  // should not happen, so that an operator must know
}

// Error gives what the client is told.
func (p *problem) Error() string { return p.text }

// Unwrap returns the cause.
func (p *problem) Unwrap() error { return p.cause }

func badRequest(format string, arguments ...any) error {
	return &problem{status: http.StatusBadRequest, text: fmt.Sprintf(format, arguments...)}
}

func tooLarge(format string, arguments ...any) error {
	return &problem{status: http.StatusUnprocessableEntity, text: fmt.Sprintf(format, arguments...)}
}

// writeError answers with an error of a handler.
func (s *Server) writeError(w http.ResponseWriter, err error) {
	if errors.Is(err, errClientGone) {
		s.log.Debug("answer could not be sent", zap.Error(err))
		return
	}
	known := asProblem(err)
	s.note(known)
	if known.retry {
		w.Header().Set("Retry-After", strconv.Itoa(retrySeconds))
	}
	if err := writeJSON(w, known.status, map[string]string{"error": known.text}); err != nil {
		s.log.Debug("answer could not be sent", zap.Error(err))
	}
}

// note logs what the client is not told.
func (s *Server) note(known *problem) {
	level := zap.DebugLevel
	if known.isOdd {
		level = zap.WarnLevel
	}
	if known.cause != nil {
		s.log.Log(level, "request failed", zap.Int("status", known.status), zap.Error(known.cause))
	}
}

// errClientGone marks what went wrong while an answer was on its way.
var errClientGone = errors.New("sending the answer")

// write sends a whole answer.
func write(w http.ResponseWriter, status int, body []byte) error {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		return fmt.Errorf("%w: %w", errClientGone, err)
	}
	return nil
}

func writeJSON(w http.ResponseWriter, status int, value any) error {
	var out answer
	if err := out.add(value); err != nil {
		return err
	}
	return out.send(w, status)
}

// answer is JSON that is put together in memory.
type answer struct {
	bytes.Buffer

	limit int // in bytes; 0 for what is bounded otherwise
}

// Write appends, or says that the answer is too large.
func (a *answer) Write(piece []byte) (int, error) {
	if a.limit > 0 && a.Len()+len(piece) > a.limit {
		return 0, tooLarge("the answer is longer than %d bytes: ask for less, or query the database itself", a.limit)
	}
	return a.Buffer.Write(piece)
}

// add appends a value as JSON.
func (a *answer) add(value any) error {
	encoder := json.NewEncoder(a)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return odd(fmt.Errorf("writing an answer: %w", err))
	}
	a.Truncate(a.Len() - 1) // the newline
	return nil
}

// addAll appends values, with what is to stand between them.
func (a *answer) addAll(values ...any) error {
	for _, value := range values {
		if text, isText := value.(literal); isText {
			if _, err := a.Write([]byte(text)); err != nil {
				return err
			}
			continue
		}
		if err := a.add(value); err != nil {
			return err
		}
	}
	return nil
}

// literal is JSON that is appended as it is.
type literal string

func (a *answer) send(w http.ResponseWriter, status int) error {
	w.Header().Set("Content-Type", "application/json")
	return write(w, status, append(a.Bytes(), '\n'))
}

// receive reads the whole body of a request, within its limits of size and time, whether its handler wants it or not: a body that is not read
// by then is waited for by the server, for ever. The request then has it in memory.
func receive(w http.ResponseWriter, r *http.Request) error {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTime)) // see serve
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		w.Header().Set("Connection", "close") // and what is still to come of it is not waited for
	}
	if exceeded, is := errors.AsType[*http.MaxBytesError](err); is {
		return &problem{status: http.StatusRequestEntityTooLarge, text: fmt.Sprintf("the body is longer than %d bytes", exceeded.Limit)}
	}
	if err != nil {
		return &problem{status: http.StatusBadRequest, text: "the body did not come whole", cause: err}
	}
	// Else the end of the time would be taken for the end of the client.
	_ = control.SetReadDeadline(time.Time{})
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// readJSON reads the body of a request into an object's fields. Fields that are not known are ignored, as the existing API does.
func readJSON(r *http.Request, into any) error {
	body, err := io.ReadAll(r.Body) // in memory, see receive
	if err != nil {
		return fmt.Errorf("reading a body: %w", err)
	}
	return decode("body", body, into)
}

// decode reads a JSON value and says where it is wrong.
func decode(what string, text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	err := decoder.Decode(into)
	if err == nil {
		end := int(decoder.InputOffset())
		if rest := bytes.TrimLeft(text[end:], " \t\r\n"); len(rest) > 0 {
			return badRequest("%s, %s: more follows after the value", what, place(text, len(text)-len(rest)))
		}
		return nil
	}
	if wrong, is := errors.AsType[*json.UnmarshalTypeError](err); is {
		where, field := "", "this"
		if wrong.Offset > 0 {
			where = ", " + place(text, int(wrong.Offset))
		}
		if wrong.Field != "" {
			field = wrong.Field
		}
		return badRequest("%s%s: %s is to be %s, not %s", what, where, field, expected(wrong.Type), wrong.Value)
	}
	if syntax, is := errors.AsType[*json.SyntaxError](err); is {
		return badRequest("%s, %s: %s", what, place(text, int(syntax.Offset)-1), strings.TrimPrefix(syntax.Error(), "json: "))
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return badRequest("%s, %s: a JSON object is expected, and this ends too early", what, place(text, len(text)))
	}
	return badRequest("%s: %v", what, err)
}

// expected says what a JSON value must be to fit a type.
func expected(wanted reflect.Type) string {
	switch wanted.Kind() {
	case reflect.String:
		return "a text"
	case reflect.Int32:
		return fmt.Sprintf("a whole number from %d to %d", math.MinInt32, math.MaxInt32)
	case reflect.Struct, reflect.Map:
		return "an object"
	default:
		return "something else"
	}
}

// place tells line and column, in bytes, of an offset.
func place(text []byte, offset int) string {
	before := text[:min(max(offset, 0), len(text))]
	return fmt.Sprintf("line %d, column %d", bytes.Count(before, []byte{'\n'})+1, len(before)-bytes.LastIndexByte(before, '\n'))
}

// checkText refuses what no database column takes.
func checkText(name, text string) error {
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return badRequest("%s is not UTF-8 text without NUL", name)
	}
	return nil
}
