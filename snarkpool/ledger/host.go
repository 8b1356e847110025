package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ErrUnknownHost says that the ledger has no such host.
var ErrUnknownHost = errors.New("the ledger knows no such host: see snarkpool host list, or add it")

// Host is a machine of the pool.
type Host struct {
	Host   string            `json:"host"`
	Labels map[string]string `json:"labels"`
	// AddedAt and SeenAt are the database's times; SeenAt is nil when its agent never spoke.
	AddedAt time.Time  `json:"added_at"`
	SeenAt  *time.Time `json:"seen_at"`
	// SilentFor is how long its agent has not spoken, in nanoseconds; nil when it never did. A silent host is unknown, not dead.
	SilentFor *time.Duration `json:"silent_for"`
	// FileDigest and PlanDigest are what its agent runs; nil when unknown.
	FileDigest *string `json:"file_digest"`
	PlanDigest *string `json:"plan_digest"`
	// Inventory is what its agent found; nil when unknown.
	Inventory json.RawMessage `json:"inventory,omitempty"`
}

// AddHost adds a host, or gives a known one these labels in place of its own.
func (l *Ledger) AddHost(ctx context.Context, host string, labels map[string]string) error {
	err := checkName("host", host)
	for name, value := range labels {
		err = errors.Join(err, checkName("label", name), checkOptional("label's value", value))
	}
	if err != nil {
		return fmt.Errorf("add a host: %w", err)
	}
	if labels == nil {
		labels = map[string]string{}
	}
	_, err = l.execute(ctx, "add host "+host, "INSERT INTO snark_pool_host (host, labels) VALUES ($1, $2) ON CONFLICT (host) DO UPDATE SET labels = excluded.labels", host, labels)
	return err
}

// RemoveHost removes a host; history, fences and leases of its workers stay. [ErrUnknownHost] when there is none.
func (l *Ledger) RemoveHost(ctx context.Context, host string) error {
	changed, err := l.execute(ctx, "remove host "+host, "DELETE FROM snark_pool_host WHERE host = $1", host)
	if err == nil && changed == 0 {
		return fmt.Errorf("remove host %.*q: %w", maxName, host, ErrUnknownHost)
	}
	return err
}

// Hosts returns the hosts that have all of these labels, by name; all hosts for none.
func (l *Ledger) Hosts(ctx context.Context, labels map[string]string) ([]Host, error) {
	if labels == nil {
		labels = map[string]string{}
	}
	return query[Host](ctx, l, "list the hosts", `SELECT host, labels, added_at, seen_at, now() - seen_at AS silent_for, file_digest, plan_digest, inventory
		FROM snark_pool_host WHERE labels @> $1 ORDER BY host`, labels)
}

// Seen notes that a host's agent lives and what it runs; "" for a digest that is not known. An inventory that is nil leaves the last one. A host
// that nobody added gets no row: [ErrUnknownHost].
func (l *Ledger) Seen(ctx context.Context, host, fileDigest, planDigest string, inventory json.RawMessage) error {
	var found any
	if inventory != nil {
		found = string(inventory)
	}
	changed, err := l.execute(ctx, "note that host "+host+" lives", `UPDATE snark_pool_host SET seen_at = now(), file_digest = nullif($2, ''), plan_digest = nullif($3, ''),
		inventory = coalesce($4::text::jsonb, inventory) WHERE host = $1`, host, fileDigest, planDigest, found)
	if err == nil && changed == 0 {
		return fmt.Errorf("note that host %.*q lives: %w", maxName, host, ErrUnknownHost)
	}
	return err
}

// Fence says that no work may run on a GPU.
type Fence struct {
	// GPU is the UUID of the GPU or MIG instance.
	GPU    string `json:"gpu"`
	Host   string `json:"host"`
	Reason string `json:"reason"`
	// FencedBy is an agent or an operator; FencedAt is the database's time.
	FencedBy string    `json:"fenced_by"`
	FencedAt time.Time `json:"fenced_at"`
	// LiftedBy and LiftedAt are nil while it stands.
	LiftedBy *string    `json:"lifted_by,omitempty"`
	LiftedAt *time.Time `json:"lifted_at,omitempty"`
}

// FenceGPU stops work on a GPU, as far as agents ask. It returns false when it is fenced already; then the first reason stands.
func (l *Ledger) FenceGPU(ctx context.Context, gpu, host, reason, by string) (bool, error) {
	if err := errors.Join(checkName("GPU", gpu), checkName("host", host), checkName("name", by)); err != nil {
		return false, fmt.Errorf("fence a GPU: %w", err)
	}
	changed, err := l.execute(ctx, "fence GPU "+gpu, `INSERT INTO snark_pool_gpu_fence (gpu, host, reason, fenced_by) VALUES ($1, $2, $3, $4)
		ON CONFLICT (gpu) WHERE lifted_at IS NULL DO NOTHING`, gpu, host, forPeople(reason), by)
	return changed > 0, err
}

// UnfenceGPU lets work run on a GPU again. It returns false when it was not fenced.
func (l *Ledger) UnfenceGPU(ctx context.Context, gpu, by string) (bool, error) {
	if err := checkName("name", by); err != nil {
		return false, fmt.Errorf("unfence GPU %.*q: %w", maxName, gpu, err)
	}
	changed, err := l.execute(ctx, "unfence GPU "+gpu, "UPDATE snark_pool_gpu_fence SET lifted_at = now(), lifted_by = $2 WHERE gpu = $1 AND lifted_at IS NULL", gpu, by)
	return changed > 0, err
}

// Fences returns the fences of a host, or of all for "", newest first: those that stand, and with history also those that were lifted.
func (l *Ledger) Fences(ctx context.Context, host string, history bool) ([]Fence, error) {
	return query[Fence](ctx, l, "list the fenced GPUs", `SELECT gpu, host, reason, fenced_by, fenced_at, lifted_by, lifted_at FROM snark_pool_gpu_fence
		WHERE ($1 = '' OR host = $1) AND ($2 OR lifted_at IS NULL) ORDER BY fence_id DESC`, host, history)
}
