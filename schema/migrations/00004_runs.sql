-- +goose Up
-- +goose StatementBegin

-- The history of the orchestrator's runs. No secret is ever stored: the values are those of the run's own record, which has none.

CREATE TABLE run (
    run_id text PRIMARY KEY,
    deployment_id int REFERENCES deployment ON DELETE SET NULL,
    experiment text,
    script_name text,
    script_sha256 text,
    seed text,
    program_version text,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    outcome text,
    exit_code int,
    error text
);
CREATE INDEX ON run (started_at);
COMMENT ON TABLE run IS 'One run of a script. Writer: orchestrator.';
COMMENT ON COLUMN run.run_id IS 'The run''s own name for itself, as in its record.';
COMMENT ON COLUMN run.deployment_id IS 'The deployment it ran against; null when unknown.';
COMMENT ON COLUMN run.seed IS 'Seed of everything random in it, as text.';
COMMENT ON COLUMN run.ended_at IS 'Null while it runs, or when it died.';
COMMENT ON COLUMN run.outcome IS 'Null while it runs, or when it died.';

CREATE TABLE run_step (
    run_id text NOT NULL REFERENCES run ON DELETE CASCADE,
    step int NOT NULL,
    attempt int NOT NULL DEFAULT 1,
    place text,
    action text NOT NULL,
    input jsonb,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    outcome text,
    error text,
    PRIMARY KEY (run_id, step, attempt)
);
COMMENT ON TABLE run_step IS 'Steps that a run began. Writer: orchestrator.';
COMMENT ON COLUMN run_step.step IS 'Number of the step in the plan.';
COMMENT ON COLUMN run_step.place IS 'File, line and column of the step in the script.';
COMMENT ON COLUMN run_step.input IS 'Arguments, keys as their indexes.';

CREATE TABLE run_output (
    run_id text NOT NULL REFERENCES run ON DELETE CASCADE,
    seq bigint NOT NULL,
    step int NOT NULL,
    place text,
    name text NOT NULL,
    value jsonb NOT NULL,
    time timestamptz NOT NULL,
    PRIMARY KEY (run_id, seq)
);
CREATE INDEX ON run_output (run_id, step, name);
COMMENT ON TABLE run_output IS 'Outputs of steps. Writer: orchestrator.';
COMMENT ON COLUMN run_output.seq IS 'Position among the run''s outputs, from 1: storing the same output twice fails.';

CREATE TABLE run_verdict (
    run_id text NOT NULL REFERENCES run ON DELETE CASCADE,
    seq bigint NOT NULL,
    step int NOT NULL,
    place text,
    claim text NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('passed', 'failed', 'inconclusive')),
    measured jsonb,
    reason text,
    period tstzrange,
    time timestamptz NOT NULL,
    PRIMARY KEY (run_id, seq)
);
COMMENT ON TABLE run_verdict IS 'What expect and watch decided. Writer: orchestrator.';
COMMENT ON COLUMN run_verdict.claim IS 'The claim as the script has it.';
COMMENT ON COLUMN run_verdict.measured IS 'Measured values by name, with the unit in the name; null when nothing could be measured.';
COMMENT ON COLUMN run_verdict.reason IS 'Why it is inconclusive or failed.';
COMMENT ON COLUMN run_verdict.period IS 'The time that the evidence covers.';

-- +goose StatementEnd
