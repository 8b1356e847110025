-- +goose Up
-- +goose StatementBegin

-- The SNARK worker pool: jobs and who may prove them until when, proofs, how far workers are trusted, what they did minute by minute, hosts,
-- fenced GPUs, and who commanded what. Several agents share these tables. They belong to no deployment: a pool outlives networks. The agent
-- is the only writer; names of workers are HOST/POOL/INDEX.

CREATE TABLE snark_pool_job (
    job_id text PRIMARY KEY,
    source text NOT NULL,
    kind text NOT NULL,
    verifying_key text NOT NULL,
    statement json NOT NULL,
    statement_digest bytea NOT NULL CHECK (length(statement_digest) = 32),
    submitted_at timestamptz NOT NULL,
    available_at timestamptz NOT NULL,
    epoch bigint NOT NULL DEFAULT 0,
    holder text,
    failures int NOT NULL DEFAULT 0,
    proved_epoch bigint CHECK (proved_epoch BETWEEN 1 AND epoch),
    proved_at timestamptz,
    delivered_at timestamptz,
    CHECK ((proved_epoch IS NULL) = (proved_at IS NULL)),
    CHECK (delivered_at IS NULL OR proved_at IS NOT NULL)
);
CREATE INDEX ON snark_pool_job (kind, verifying_key, available_at) WHERE proved_epoch IS NULL;
CREATE INDEX ON snark_pool_job (source, proved_at) WHERE proved_epoch IS NOT NULL AND delivered_at IS NULL;
CREATE INDEX ON snark_pool_job (delivered_at) WHERE delivered_at IS NOT NULL;
COMMENT ON TABLE snark_pool_job IS 'What is to be proved. A job is proved when proved_epoch names the delivery that counts: there is one column for it, so no two proofs of a job are ever counted. Times are the database''s. Old rows are removed after delivery. Writer: snarkpool.';
COMMENT ON COLUMN snark_pool_job.job_id IS 'Name that its source gives it, unique among all sources.';
COMMENT ON COLUMN snark_pool_job.source IS 'Which coordinator it came from, and gets the proof.';
COMMENT ON COLUMN snark_pool_job.kind IS 'Sort of proof, as workers say it in their hello.';
COMMENT ON COLUMN snark_pool_job.verifying_key IS 'SHA-256 of the verifying key that the proof must satisfy, in lower-case hex.';
COMMENT ON COLUMN snark_pool_job.statement IS 'What is to be proved, byte for byte as the source wrote it.';
COMMENT ON COLUMN snark_pool_job.statement_digest IS 'SHA-256 of those bytes.';
COMMENT ON COLUMN snark_pool_job.available_at IS 'From then on it may be leased, while it is not proved: the end of its lease, or of the wait after a failure.';
COMMENT ON COLUMN snark_pool_job.epoch IS 'How often it was leased: the number of its newest lease, and of that attempt; 0 for never.';
COMMENT ON COLUMN snark_pool_job.holder IS 'Worker of the newest lease; null when there is none, or when it was ended or given back. Its time may have run out.';
COMMENT ON COLUMN snark_pool_job.failures IS 'How many workers said that they could not prove it.';
COMMENT ON COLUMN snark_pool_job.proved_epoch IS 'Under which lease the proof was made that counts; null while none does.';
COMMENT ON COLUMN snark_pool_job.proved_at IS 'When that proof was accepted.';
COMMENT ON COLUMN snark_pool_job.delivered_at IS 'When the source took that proof; null while it has not.';

CREATE TABLE snark_pool_lease (
    job_id text NOT NULL REFERENCES snark_pool_job ON DELETE CASCADE,
    epoch bigint NOT NULL,
    worker text NOT NULL,
    leased_at timestamptz NOT NULL,
    ended_at timestamptz,
    ending text CHECK (ending IN ('delivered', 'invalid', 'refused', 'failed', 'released', 'expired')),
    PRIMARY KEY (job_id, epoch),
    CHECK ((ended_at IS NULL) = (ending IS NULL))
);
COMMENT ON TABLE snark_pool_lease IS 'Who was to prove what, one row per attempt. Writer: snarkpool.';
COMMENT ON COLUMN snark_pool_lease.epoch IS 'From 1 on; a later lease of the job has a higher one.';
COMMENT ON COLUMN snark_pool_lease.ended_at IS 'Null while it is held, and when its time ran out and nobody has leased the job since.';
COMMENT ON COLUMN snark_pool_lease.ending IS 'delivered, invalid (the proof did not verify), refused (not verified, from a worker that is not trusted), failed, released (given back unproved) or expired (leased again after its time; a late delivery makes it delivered). Null with ended_at.';

CREATE TABLE snark_pool_proof (
    job_id text NOT NULL,
    epoch bigint NOT NULL,
    worker text NOT NULL,
    received_at timestamptz NOT NULL,
    stored_at timestamptz NOT NULL,
    seconds double precision CHECK (seconds >= 0),
    verdict text NOT NULL CHECK (verdict IN ('valid', 'unverified', 'invalid')),
    outcome text NOT NULL CHECK (outcome IN ('accepted', 'late', 'duplicate', 'refused')),
    revoked_at timestamptz,
    proof bytea,
    PRIMARY KEY (job_id, epoch),
    FOREIGN KEY (job_id, epoch) REFERENCES snark_pool_lease ON DELETE CASCADE
);
CREATE INDEX ON snark_pool_proof (worker) WHERE verdict = 'unverified' AND revoked_at IS NULL;
COMMENT ON TABLE snark_pool_proof IS 'Proofs that were delivered, one per lease: the first. Which one counts is said by the job''s proved_epoch. Writer: snarkpool.';
COMMENT ON COLUMN snark_pool_proof.received_at IS 'When the agent received it, by the agent''s clock.';
COMMENT ON COLUMN snark_pool_proof.stored_at IS 'When it was stored, by the database''s clock: later than received_at when the database was away.';
COMMENT ON COLUMN snark_pool_proof.seconds IS 'Proving time in seconds, as the worker says; null when it does not.';
COMMENT ON COLUMN snark_pool_proof.verdict IS 'What the independent verifier said; unverified when it was not asked.';
COMMENT ON COLUMN snark_pool_proof.outcome IS 'accepted, late (it counts too, though its lease was over), duplicate (another one counted already) or refused (invalid).';
COMMENT ON COLUMN snark_pool_proof.revoked_at IS 'When it ceased to count, for its worker delivered a bad proof and nobody had verified this one; null when it did not.';
COMMENT ON COLUMN snark_pool_proof.proof IS 'Null for a duplicate.';

CREATE TABLE snark_pool_worker (
    worker text PRIMARY KEY,
    host text NOT NULL GENERATED ALWAYS AS (split_part(worker, '/', 1)) STORED,
    pool text NOT NULL GENERATED ALWAYS AS (split_part(worker, '/', 2)) STORED,
    first_seen timestamptz NOT NULL DEFAULT now(),
    verified bigint NOT NULL DEFAULT 0,
    broken_at timestamptz,
    broken_reason text,
    CHECK ((broken_at IS NULL) = (broken_reason IS NULL))
);
COMMENT ON TABLE snark_pool_worker IS 'How far each worker is trusted. Writer: snarkpool.';
COMMENT ON COLUMN snark_pool_worker.verified IS 'How many of its proofs were verified and found valid since it was first seen, or readmitted: what trust rises with.';
COMMENT ON COLUMN snark_pool_worker.broken_at IS 'When it delivered a bad proof; null while it is trusted. A broken worker gets no lease, and no proof of it counts that is not verified.';

CREATE TABLE snark_pool_minute (
    worker text NOT NULL,
    minute timestamptz NOT NULL,
    proofs int NOT NULL DEFAULT 0,
    late int NOT NULL DEFAULT 0,
    duplicates int NOT NULL DEFAULT 0,
    refused int NOT NULL DEFAULT 0,
    failures int NOT NULL DEFAULT 0,
    revoked int NOT NULL DEFAULT 0,
    timed int NOT NULL DEFAULT 0,
    seconds_total double precision NOT NULL DEFAULT 0,
    seconds_max double precision,
    cpu_seconds double precision,
    memory_max_bytes bigint,
    energy_millijoules bigint,
    PRIMARY KEY (worker, minute)
);
CREATE INDEX ON snark_pool_minute (minute);
COMMENT ON TABLE snark_pool_minute IS 'What each worker did, minute by minute; a minute in which nothing was reported has no row. Old rows are removed. Writer: snarkpool.';
COMMENT ON COLUMN snark_pool_minute.minute IS 'Its beginning, by the agent''s clock.';
COMMENT ON COLUMN snark_pool_minute.proofs IS 'Proofs that counted, late ones included; of pull workers those that the coordinator accepted. Those revoked later are still in it.';
COMMENT ON COLUMN snark_pool_minute.late IS 'Those of them whose lease was over.';
COMMENT ON COLUMN snark_pool_minute.duplicates IS 'Proofs of jobs that were proved already.';
COMMENT ON COLUMN snark_pool_minute.refused IS 'Proofs that were not taken; of pull workers those that the coordinator did not accept.';
COMMENT ON COLUMN snark_pool_minute.failures IS 'Jobs that it could not prove.';
COMMENT ON COLUMN snark_pool_minute.revoked IS 'Proofs that ceased to count in this minute, whenever they were made.';
COMMENT ON COLUMN snark_pool_minute.timed IS 'Proofs with a known proving time: what seconds_total is the sum of.';
COMMENT ON COLUMN snark_pool_minute.seconds_total IS 'Sum of their proving times, in seconds.';
COMMENT ON COLUMN snark_pool_minute.seconds_max IS 'Longest of these times, in seconds; null when none is known.';
COMMENT ON COLUMN snark_pool_minute.cpu_seconds IS 'CPU time used, in seconds; null when not measured.';
COMMENT ON COLUMN snark_pool_minute.memory_max_bytes IS 'Largest resident memory seen, in bytes; null when not measured.';
COMMENT ON COLUMN snark_pool_minute.energy_millijoules IS 'Energy of its GPUs, in millijoules; null when not measured.';

CREATE TABLE snark_pool_event (
    event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    host text NOT NULL,
    worker text,
    event text NOT NULL,
    from_state text,
    to_state text,
    cause text,
    detail json
);
CREATE INDEX ON snark_pool_event (at);
CREATE INDEX ON snark_pool_event (worker, at) WHERE worker IS NOT NULL;
COMMENT ON TABLE snark_pool_event IS 'What happened to workers and hosts: the history behind the minutes. Old rows are removed. Writer: snarkpool.';
COMMENT ON COLUMN snark_pool_event.at IS 'By the agent''s clock.';
COMMENT ON COLUMN snark_pool_event.worker IS 'Null for what concerns the host.';
COMMENT ON COLUMN snark_pool_event.event IS 'What it is, for example state, lost-lines or xid.';
COMMENT ON COLUMN snark_pool_event.from_state IS 'Null when it is no change of state.';
COMMENT ON COLUMN snark_pool_event.to_state IS 'Null when it is no change of state.';
COMMENT ON COLUMN snark_pool_event.cause IS 'Why, in words for people.';

CREATE TABLE snark_pool_host (
    host text PRIMARY KEY,
    labels jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(labels) = 'object'),
    added_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz,
    file_digest text,
    plan_digest text,
    inventory jsonb
);
COMMENT ON TABLE snark_pool_host IS 'Machines of the pool. Labels are written by operators, the rest by the machine''s agent. Writer: snarkpool.';
COMMENT ON COLUMN snark_pool_host.labels IS 'Names and texts by which the pool file matches it.';
COMMENT ON COLUMN snark_pool_host.seen_at IS 'When its agent last spoke, by the database''s clock; null when it never did. A silent host is unknown, not dead.';
COMMENT ON COLUMN snark_pool_host.file_digest IS 'SHA-256 of the pool file that it runs, in hex; null when unknown.';
COMMENT ON COLUMN snark_pool_host.plan_digest IS 'SHA-256 of its plan, in hex; null when unknown.';
COMMENT ON COLUMN snark_pool_host.inventory IS 'What its agent found; null when unknown.';

CREATE TABLE snark_pool_gpu_fence (
    fence_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    gpu text NOT NULL,
    host text NOT NULL,
    reason text NOT NULL,
    fenced_by text NOT NULL,
    fenced_at timestamptz NOT NULL DEFAULT now(),
    lifted_by text,
    lifted_at timestamptz,
    CHECK ((lifted_at IS NULL) = (lifted_by IS NULL))
);
CREATE UNIQUE INDEX ON snark_pool_gpu_fence (gpu) WHERE lifted_at IS NULL;
COMMENT ON TABLE snark_pool_gpu_fence IS 'GPUs on which no work may run, and those on which none was allowed to. Writer: snarkpool.';
COMMENT ON COLUMN snark_pool_gpu_fence.gpu IS 'UUID of the GPU, or of the MIG instance.';
COMMENT ON COLUMN snark_pool_gpu_fence.fenced_by IS 'Agent or operator.';
COMMENT ON COLUMN snark_pool_gpu_fence.lifted_at IS 'Null while it stands.';

CREATE TABLE snark_pool_audit (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    agent text NOT NULL,
    who text NOT NULL,
    role text,
    operation text NOT NULL,
    target text NOT NULL,
    allowed boolean NOT NULL,
    result text,
    detail json
);
CREATE INDEX ON snark_pool_audit (at);
COMMENT ON TABLE snark_pool_audit IS 'Every command that an agent was given, those that it refused included. Rows are never removed by the pool. Writer: snarkpool.';
COMMENT ON COLUMN snark_pool_audit.at IS 'By the agent''s clock.';
COMMENT ON COLUMN snark_pool_audit.agent IS 'Host of the agent.';
COMMENT ON COLUMN snark_pool_audit.who IS 'Public key that signed it, or the user behind the local socket, or what was claimed.';
COMMENT ON COLUMN snark_pool_audit.role IS 'reader, operator or admin; null when the key has none.';
COMMENT ON COLUMN snark_pool_audit.result IS 'What came of it, or why it was refused; null when it is not known.';

CREATE TABLE snark_pool_spool (
    spool uuid PRIMARY KEY,
    applied bigint NOT NULL,
    applied_at timestamptz NOT NULL
);
COMMENT ON TABLE snark_pool_spool IS 'How far each agent''s spool of proofs and events is stored. It is written in the transaction that stores them, so that each is stored once. Writer: snarkpool.';
COMMENT ON COLUMN snark_pool_spool.spool IS 'Identity of the spool''s directory.';
COMMENT ON COLUMN snark_pool_spool.applied IS 'Number of its last entry that is stored.';

-- +goose StatementEnd
