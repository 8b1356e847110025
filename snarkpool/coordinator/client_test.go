package coordinator_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"provingground/snarkpool/coordinator"
)

const statement = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

// exchange is one request that a server saw.
type exchange struct{ Method, Path, Kind, Body string }

// serve answers every request with a status and a body, and returns a client and what the server saw.
func serve(t *testing.T, status int, body string) (*coordinator.Client, *[]exchange) {
	t.Helper()
	var seen []exchange
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		seen = append(seen, exchange{r.Method, r.URL.Path, r.Header.Get("Content-Type"), string(text)})
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	client, err := coordinator.New(server.URL+"/", coordinator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client, &seen
}

func TestClient(t *testing.T) {
	for _, test := range []struct {
		name, answer string
		ask          func(context.Context, *coordinator.Client) (any, error)
		want         any
		seen         exchange
	}{
		{
			"work", `{"work":[{"id":"w1","work_ids":[7,8],"statement":"` + statement + `","kinds":["payment","merge"],"until":"2024-05-01T10:07:00Z"}]}`,
			func(ctx context.Context, c *coordinator.Client) (any, error) { return c.Work(ctx, "bm7/cpu/0", 2) },
			[]coordinator.Work{{
				ID: "w1", WorkIDs: []int{7, 8}, Statement: statement, Kinds: []coordinator.Kind{coordinator.Payment, coordinator.Merge},
				Until: time.Date(2024, 5, 1, 10, 7, 0, 0, time.UTC),
			}},
			exchange{"POST", "/v1/work", "application/json", `{"worker":"bm7/cpu/0","most":2}`},
		},
		{
			"proof", `{"status":"slashed","reason":"` + coordinator.ReasonProven + `"}`,
			func(ctx context.Context, c *coordinator.Client) (any, error) {
				return c.Deliver(ctx, coordinator.Proof{ID: "w1", Worker: "a", Statement: statement, Proof: []byte("proof")})
			},
			coordinator.Verdict{Status: coordinator.Slashed, Reason: coordinator.ReasonProven},
			exchange{"POST", "/v1/proof", "application/json", `{"id":"w1","worker":"a","statement":"` + statement + `","proof":"cHJvb2Y="}`},
		},
		{
			"failed", `{"status":"noted"}`,
			func(ctx context.Context, c *coordinator.Client) (any, error) {
				return nil, c.Failed(ctx, coordinator.Failure{ID: "w1", Worker: "a", Reason: "killed"})
			},
			nil, exchange{"POST", "/v1/failed", "application/json", `{"id":"w1","worker":"a","reason":"killed"}`},
		},
		{
			"status", `{"pending":3,"out":1,"paused":true,"later":1}`,
			func(ctx context.Context, c *coordinator.Client) (any, error) { return c.Status(ctx) },
			coordinator.Status{Pending: 3, Out: 1, Paused: true}, exchange{"GET", "/v1/status", "application/json", ""},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, seen := serve(t, http.StatusOK, test.answer)
			got, err := test.ask(t.Context(), client)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]exchange{test.seen}, *seen); diff != "" {
				t.Errorf("the request (-want +got):\n%s", diff)
			}
			refusing, _ := serve(t, http.StatusBadRequest, `{"error":"no such thing"}`)
			_, err = test.ask(t.Context(), refusing)
			if refused, ok := errors.AsType[*coordinator.StatusError](err); !ok || refused.Code != 400 || refused.Message != "no such thing" {
				t.Errorf("a refusal: %v", err)
			}
			proxied, _ := serve(t, http.StatusBadGateway, "<html>")
			if _, err := test.ask(t.Context(), proxied); err == nil || !strings.Contains(err.Error(), "502 Bad Gateway") {
				t.Errorf("a proxy's answer: %v", err)
			}
			garbled, _ := serve(t, http.StatusOK, `{"work":`)
			if _, err := test.ask(t.Context(), garbled); err == nil {
				t.Error("a garbled answer was taken")
			}
			ended, cancel := context.WithCancelCause(t.Context())
			cancel(errors.New("drained"))
			if _, err := test.ask(ended, client); err == nil || !strings.Contains(err.Error(), "drained") {
				t.Errorf("after its context has ended it says %v", err)
			}
		})
	}
}

func TestAnswersThatAreNotOfTheProtocol(t *testing.T) {
	item := `{"id":"w1","work_ids":[7],"statement":"` + statement + `","kinds":["payment"],"until":"2024-05-01T10:07:00Z"}`
	for answer, says := range map[string]string{
		`{"work":[` + item + `,` + item + `]}`:                                    "gives 2 works",
		`{"work":[` + strings.Replace(item, `"w1"`, `""`, 1) + `]}`:               "without a usable id",
		`{"work":[` + strings.Replace(item, "0011", "", 1) + `]}`:                 "32 bytes",
		`{"work":[` + strings.Replace(item, "aabb", "AABB", 1) + `]}`:             "lower-case",
		`{"work":[` + strings.Replace(item, "[7]", "[7,8]", 1) + `]}`:             "2 work IDs and 1 kinds",
		`{"work":[` + strings.Replace(item, "2024-05-01T", "tomorrow ", 1) + `]}`: "not of this protocol",
		`"` + strings.Repeat("a", 1<<20) + `"`:                                    "more than",
	} {
		client, _ := serve(t, http.StatusOK, answer)
		if works, err := client.Work(t.Context(), "a", 1); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.100s gives %v, %v, want an error with %q", answer, works, err, says)
		}
	}
	client, _ := serve(t, http.StatusOK, `{"status":"perhaps"}`)
	if _, err := client.Deliver(t.Context(), coordinator.Proof{ID: "w", Worker: "a"}); err == nil || !strings.Contains(err.Error(), "perhaps") {
		t.Errorf("an unknown status: %v", err)
	}
}

// What breaks the protocol is not sent.
func TestRequestsThatAreNotSent(t *testing.T) {
	client, seen := serve(t, http.StatusOK, `{}`)
	for _, worker := range []string{"", "a b", "ä", "a\n", strings.Repeat("a", coordinator.MaxName+1)} {
		if _, err := client.Work(t.Context(), worker, 1); err == nil {
			t.Errorf("the worker %q was taken", worker)
		}
		if err := client.Failed(t.Context(), coordinator.Failure{ID: worker, Worker: "a"}); err == nil {
			t.Errorf("the id %q was taken", worker)
		}
		if _, err := client.Deliver(t.Context(), coordinator.Proof{ID: "w", Worker: worker}); err == nil {
			t.Errorf("a proof by %q was taken", worker)
		}
	}
	for _, most := range []int{-1, 0, coordinator.MaxWork + 1} {
		if _, err := client.Work(t.Context(), "a", most); err == nil {
			t.Errorf("%d works were asked for", most)
		}
	}
	if err := client.Failed(t.Context(), coordinator.Failure{ID: "w", Worker: "a", Reason: strings.Repeat("a", coordinator.MaxReason+1)}); err == nil {
		t.Error("a long reason was taken")
	}
	if len(*seen) > 0 {
		t.Errorf("%d requests were sent", len(*seen))
	}
}

func TestAddresses(t *testing.T) {
	for address, good := range map[string]bool{
		"http://127.0.0.1:8301": true, "https://coordinator/": true, "127.0.0.1:8301": false, "http://": false, "http://a/path": false,
		"http://u:p@a": false, "http://a?b=c": false, "ftp://a": false, "": false,
	} {
		if _, err := coordinator.New(address, coordinator.Options{}); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestSilentCoordinator(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer server.Close()
	client, err := coordinator.New(server.URL, coordinator.Options{RequestTimeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Status(t.Context()); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer within 20ms") {
		t.Errorf("a silent coordinator: %v", err)
	}
}

// A proof arrives as it was sent.
func TestProofsSurviveTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent := coordinator.Proof{ID: "w", Worker: "a", Statement: statement, Proof: rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "proof")}
		text, err := json.Marshal(sent)
		if err != nil {
			t.Fatal(err)
		}
		var got coordinator.Proof
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(sent, got); diff != "" {
			t.Errorf("(-sent +got):\n%s", diff)
		}
	})
}
