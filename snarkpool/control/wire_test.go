package control

import (
	"crypto/rand"
	"testing"
)

// TestHeaderVectors signs what itn-graphql, section 2.7, signs.
func TestHeaderVectors(t *testing.T) {
	t.Parallel()
	key, err := ParseKey("SzhpFfwa6RMFQTLLTyoriUJrUXYY9kyYxbNu5DsCm1k=")
	if err != nil {
		t.Fatal(err)
	}
	body := []byte("example body")
	const public = "BaG9HYTNxkqyX7haFnz/HXL9FhYwS4gdQ7uYWiStgoY="
	for got, want := range map[string]string{
		key.unsequenced(body): "Signature " + public + " 7a6Wx4HQ5h0JJKjJWh3zXxLAa7qql+UXAuyqbQh+XW5C/IcmRchtp/SjBPvhOQmtlYNJGjvCrbBWO0SqlrVcDQ==",
		key.sequenced("24511be6-320d-4ef2-8dff-89916bcb6751", 1, body): "Signature " + public +
			" LSy0n5XkS2wuTWuVQbFFs+H7gmR+BIE/bqlwFGVcFv0awYMXl48vuAfvYEqqnpAVSNXt8YH6n0YNew4i0pYUBg== ; Sequencing 24511be6-320d-4ef2-8dff-89916bcb6751 1",
	} {
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		parsed, ok := parseHeader(got)
		if !ok || !parsed.verify(body) || parsed.verify([]byte("example bodY")) {
			t.Errorf("%s is read as %v, %+v", got, ok, parsed)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	key, _, err := GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(key.unsequenced([]byte("x")))
	f.Add(key.sequenced("24511be6-320d-4ef2-8dff-89916bcb6751", 65535, nil))
	f.Add("Signature a b ; Sequencing c 01")
	f.Fuzz(func(t *testing.T, text string) {
		parsed, ok := parseHeader(text)
		if !ok {
			return
		}
		again := "Signature " + parsed.key.String() + " " + text[len("Signature ")+45:len("Signature ")+45+88]
		if parsed.sequenced {
			again += " ; Sequencing " + parsed.uuid + " " + text[len(text)-len(decimal(parsed.number)):]
		}
		if again != text {
			t.Errorf("%q and %q mean the same", text, again)
		}
	})
}

func decimal(number uint16) string {
	if number < 10 {
		return string(rune('0' + number))
	}
	return decimal(number/10) + string(rune('0'+number%10))
}

func FuzzParseCommand(f *testing.F) {
	f.Add([]byte(`{"operation":"drain","target":"bm7/cpu/0","agent":"bm7","expiry":"2026-05-01T00:00:00Z","arguments":{"max":"5s"}}`))
	f.Add([]byte(`{"operation":"drain","operation":"stop"}`))
	f.Add([]byte(`{"a":[[[[[[1]]]]]]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		command, err := parseCommand(body)
		if err == nil && command.Validate() == nil && command.Role() == "" {
			t.Errorf("%s needs no role", body)
		}
	})
}

// TestNumbersAreUsedOnce goes through all numbers of a key: each is good once, and after the last one nothing that was signed before is good any more.
func TestNumbersAreUsedOnce(t *testing.T) {
	t.Parallel()
	n := newNumbers()
	first, second := publicKey{1}, publicKey{2}
	uuid, number := n.peek(first)
	if number != 0 || !n.take(header{key: second, uuid: uuid}) {
		t.Fatal("the first numbers are not 0")
	}
	for i := range 1 << 16 {
		if now, next := n.peek(first); now != uuid || int(next) != i {
			t.Fatalf("after %d commands: UUID %s, number %d", i, now, next)
		}
		if !n.take(header{key: first, uuid: uuid, number: uint16(i)}) {
			t.Fatalf("number %d was refused", i)
		}
		if n.take(header{key: first, uuid: uuid, number: uint16(i)}) {
			t.Fatalf("number %d was good twice", i)
		}
	}
	if now, _ := n.peek(first); now == uuid {
		t.Error("the UUID is the same after all numbers")
	}
	for i := range 1 << 16 {
		if n.take(header{key: first, uuid: uuid, number: uint16(i)}) || n.take(header{key: second, uuid: uuid, number: uint16(i)}) {
			t.Fatalf("number %d of before is good again", i)
		}
	}
}
