package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"
)

// experimentRow has the columns of the view experiments (internal-trace, section 6.3), typed as nodejs.go says.
type experimentRow struct {
	Exp            string    `json:"exp"`
	Round          int32     `json:"round"`
	DeploymentID   int32     `json:"deployment_id"`
	RateMin        *string   `json:"rate_min"`
	ZkappRateMin   *string   `json:"zkapp_rate_min"`
	PaymentRateMin *string   `json:"payment_rate_min"`
	Duration       *interval `json:"duration"`
	MaxLatency     *interval `json:"max_latency"`
	Missed         *string   `json:"missed"`
	Failed         *string   `json:"failed"`
	Successful     *string   `json:"successful"`
	Start          *instant  `json:"start"`
	Total          string    `json:"total"`
	Zkapps         string    `json:"zkapps"`
}

const experimentsQuery = `SELECT exp, round, deployment_id, rate_min::text, zkapp_rate_min::text, payment_rate_min::text, duration, max_latency,
	missed::text, failed::text, successful::text, start, total::text, zkapps::text
FROM experiments ORDER BY start, deployment_id, exp, round`

func (s *Server) experiments(w http.ResponseWriter, r *http.Request) error {
	return sendRows[experimentRow](w, r, s, experimentsQuery)
}

// stateRow has the columns of table experiment_state.
type stateRow struct {
	Name            string          `json:"name"`
	Description     *string         `json:"description"`
	CreatedAt       *instant        `json:"created_at"`
	UpdatedAt       *instant        `json:"updated_at"`
	EndedAt         *instant        `json:"ended_at"`
	Status          string          `json:"status"`
	Comment         *string         `json:"comment"`
	SetupJSON       json.RawMessage `json:"setup_json"`
	CurrentStepNo   *int32          `json:"current_step_no"`
	CurrentStepName *string         `json:"current_step_name"`
	Warnings        []*string       `json:"warnings"`
	Errors          []*string       `json:"errors"`
	Logs            []*string       `json:"logs"`
}

const stateQuery = `SELECT name, description, created_at, updated_at, ended_at, status, comment, setup_json, current_step_no, current_step_name,
	warnings, errors, logs FROM experiment_state WHERE name = $1`

func (s *Server) experiment(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if err := checkText("the experiment's name", name); err != nil {
		return err
	}
	return sendRows[stateRow](w, r, s, stateQuery, name)
}

// sendRows answers with all rows of a query, as a JSON array.
func sendRows[T any](w http.ResponseWriter, r *http.Request, s *Server, query string, arguments ...any) error {
	out := answer{limit: s.limits.answerBytes}
	err := s.read(r.Context(), func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, query, arguments...)
		if err != nil {
			return err
		}
		return writeRows(&out, rows, func(row T) any { return row })
	})
	if err != nil {
		return err
	}
	return out.send(w, http.StatusOK)
}

func (s *Server) newDeployment(w http.ResponseWriter, r *http.Request) error {
	var given struct {
		Data json.RawMessage `json:"data"`
	}
	if err := readJSON(r, &given); err != nil {
		return err
	}
	switch string(given.Data) {
	case "", "null", "false", "0", `""`: // what JavaScript takes for nothing
		return badRequest("data is missing: what is to be known of the deployment, as JSON")
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), queryTime, errTimeout)
	defer cancel()
	id, err := s.options.NewDeployment(ctx, given.Data)
	if err != nil {
		return databaseProblem(ctx, err)
	}
	s.changed(r, "a new deployment: what is collected from now on belongs to it", zap.Int64("deployment", id))
	return writeJSON(w, http.StatusCreated, struct {
		Message      string `json:"message"`
		DeploymentID int64  `json:"deployment_id"`
	}{"deployment created", id})
}

// restart is what is reported of a node's restart. Codes and counts may be written as text.
type restart struct {
	NodeName        *string  `json:"node_name"`
	Reason          *string  `json:"reason"`
	Code            *integer `json:"code"`
	ObjectName      *string  `json:"object_name"`
	ObjectNamespace *string  `json:"object_namespace"`
	ContainerName   *string  `json:"container_name"`
	RestartCount    *integer `json:"restart_count"`
	DeploymentID    *integer `json:"deployment_id"` // the present one if it is missing
}

func (s *Server) nodeRestart(w http.ResponseWriter, r *http.Request) error {
	var given restart
	if err := readJSON(r, &given); err != nil {
		return err
	}
	if given.NodeName == nil || isBlank(*given.NodeName) {
		return badRequest("node_name is missing")
	}
	for name, text := range map[string]*string{
		"node_name": given.NodeName, "reason": given.Reason, "object_name": given.ObjectName, "object_namespace": given.ObjectNamespace,
		"container_name": given.ContainerName,
	} {
		if text == nil {
			continue
		}
		if err := checkText(name, *text); err != nil {
			return err
		}
	}
	deployment := s.options.Deployment()
	if given.DeploymentID != nil {
		deployment = int64(*given.DeploymentID)
	} else if deployment == 0 {
		return unavailable("there is no deployment yet", nil)
	}
	var id int32
	var at instant
	err := s.write(r.Context(), queryTime, func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, `INSERT INTO node_restarts (deployment_id, node_name, reason, code, object_name, object_namespace, container_name, restart_count)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id, time`,
			deployment, given.NodeName, given.Reason, given.Code, given.ObjectName, given.ObjectNamespace, given.ContainerName, given.RestartCount,
		).Scan(&id, &at)
	})
	if refused, is := errors.AsType[*pgconn.PgError](err); is && refused.Code == "23503" {
		return badRequest("deployment_id: there is no deployment %d", deployment)
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, struct {
		Message string  `json:"message"`
		ID      int32   `json:"id"`
		Time    instant `json:"time"`
	}{"node restart recorded", id, at})
}

// integer is a whole number that fits a column of type int, written as a number or as text.
type integer int32

// UnmarshalJSON reads it.
func (i *integer) UnmarshalJSON(text []byte) error {
	number, err := strconv.ParseInt(string(bytes.Trim(text, `"`)), 10, 32)
	if err != nil {
		return &json.UnmarshalTypeError{Value: fmt.Sprintf("%.40s", text), Type: reflect.TypeFor[integer]()} // to which the decoder adds the field
	}
	*i = integer(number)
	return nil
}

// cleanUpQuery deletes the unfinished traces of old deployments with all that refers to them; whether it is done or not, nothing is left
// without its trace. A deployment is old when there is a newer one and it is not the present one.
const cleanUpQuery = `WITH pending AS (
	DELETE FROM block_trace WHERE status = 'Pending' AND deployment_id < get_max_deployment_id() AND deployment_id <> $1
	RETURNING deployment_id, block_trace_id
), checkpoints AS (
	DELETE FROM block_trace_checkpoint c USING pending p WHERE c.deployment_id = p.deployment_id AND c.block_trace_id = p.block_trace_id
	RETURNING c.deployment_id, c.block_trace_checkpoint_id
), transactions AS (
	DELETE FROM tx_traces t USING checkpoints c WHERE t.deployment_id = c.deployment_id AND t.block_trace_checkpoint_id = c.block_trace_checkpoint_id
), works AS (
	DELETE FROM sw_traces t USING checkpoints c WHERE t.deployment_id = c.deployment_id AND t.block_trace_checkpoint_id = c.block_trace_checkpoint_id
), interruptions AS (
	DELETE FROM sw_interruptions i USING pending p WHERE i.deployment_id = p.deployment_id AND i.block_trace_id = p.block_trace_id
)
SELECT (SELECT count(*) FROM pending), (SELECT count(*) FROM checkpoints)`

func (s *Server) cleanUp(w http.ResponseWriter, r *http.Request) error {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(cleanUpTime + time.Minute))
	var traces, checkpoints int64
	err := s.write(r.Context(), cleanUpTime, func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, cleanUpQuery, s.options.Deployment()).Scan(&traces, &checkpoints)
	})
	if err != nil {
		return err
	}
	s.changed(r, "unfinished traces of old deployments deleted", zap.Int64("block_traces", traces), zap.Int64("checkpoints", checkpoints))
	return writeJSON(w, http.StatusCreated, struct {
		Message     string `json:"message"`
		BlockTraces int64  `json:"block_traces"`
		Checkpoints int64  `json:"checkpoints"`
	}{"unfinished traces of old deployments deleted", traces, checkpoints})
}
