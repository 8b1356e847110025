-- +goose Up
-- +goose StatementBegin

-- Block traces, pool events, statistics and restarts: the tables that dashboards query. Floating times are seconds since 1970.
-- The loader computes what triggers did before: source, status, times, the gossip flag, and the pairing of events with metadata.

CREATE SEQUENCE block_trace_block_trace_id_seq AS int;
CREATE TABLE block_trace (
    block_trace_id int NOT NULL DEFAULT nextval('block_trace_block_trace_id_seq'),
    deployment_id int NOT NULL REFERENCES deployment,
    node_name varchar NOT NULL,
    block_id varchar NOT NULL,
    trace_started_at double precision NOT NULL DEFAULT -1,
    trace_completed_at double precision NOT NULL DEFAULT -1,
    total_time double precision NOT NULL DEFAULT -1,
    source varchar NOT NULL DEFAULT 'Unknown',
    status varchar NOT NULL DEFAULT 'Pending',
    blockchain_length int NOT NULL DEFAULT 0,
    global_slot int NOT NULL DEFAULT 0,
    metadata_json jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (deployment_id, block_trace_id),
    UNIQUE (deployment_id, node_name, block_id)
) PARTITION BY LIST (deployment_id);
ALTER SEQUENCE block_trace_block_trace_id_seq OWNED BY block_trace.block_trace_id;
CREATE INDEX ON block_trace (block_trace_id);
CREATE INDEX ON block_trace (block_id);
CREATE INDEX ON block_trace (deployment_id, block_id) WHERE source = 'Internal';
CREATE INDEX ON block_trace (node_name);
CREATE INDEX ON block_trace (deployment_id, node_name, blockchain_length);
CREATE INDEX ON block_trace (deployment_id, node_name, global_slot);
COMMENT ON TABLE block_trace IS 'What one node did with one block. Writer: fetcher, once per batch and trace.';
COMMENT ON COLUMN block_trace.block_id IS 'State hash; the decimal global slot while the block is being produced; 0 for what belongs to no block.';
COMMENT ON COLUMN block_trace.trace_started_at IS 'First main checkpoint, seconds since 1970; -1 until known.';
COMMENT ON COLUMN block_trace.trace_completed_at IS 'Breadcrumb_integrated, or the last main checkpoint so far, seconds since 1970; -1 until known.';
COMMENT ON COLUMN block_trace.total_time IS 'Completed minus started, seconds; -1 until known.';
COMMENT ON COLUMN block_trace.source IS 'External, Internal, Catchup, Reconstruct or Unknown.';
COMMENT ON COLUMN block_trace.status IS 'Pending, Success or Failure.';
COMMENT ON COLUMN block_trace.blockchain_length IS '0 until known.';
COMMENT ON COLUMN block_trace.global_slot IS '0 until known.';
COMMENT ON COLUMN block_trace.metadata_json IS 'Block metadata, merged, newer keys win.';
SELECT register_partitioned('block_trace', false);

-- A value of this sequence is the first of 1000 ids for its drawer: blocks keep drawing cheap, and ascend, which cached ones would not.
CREATE SEQUENCE block_trace_checkpoint_block_trace_checkpoint_id_seq AS bigint INCREMENT BY 1000;
CREATE TABLE block_trace_checkpoint (
    block_trace_checkpoint_id bigint NOT NULL DEFAULT nextval('block_trace_checkpoint_block_trace_checkpoint_id_seq'),
    block_trace_id int NOT NULL,
    source char(1) NOT NULL,
    main_trace boolean NOT NULL,
    is_control boolean NOT NULL,
    name varchar NOT NULL,
    started_at double precision NOT NULL,
    metadata_json jsonb NOT NULL DEFAULT '[]',
    call_id int NOT NULL DEFAULT 0,
    gossip boolean NOT NULL DEFAULT false,
    deployment_id int NOT NULL,
    loaded_on date NOT NULL,
    PRIMARY KEY (block_trace_id, block_trace_checkpoint_id, deployment_id, loaded_on)
) PARTITION BY LIST (deployment_id);
ALTER SEQUENCE block_trace_checkpoint_block_trace_checkpoint_id_seq OWNED BY block_trace_checkpoint.block_trace_checkpoint_id;
COMMENT ON TABLE block_trace_checkpoint IS 'Records of the traces. One index serves reading by trace; there is no foreign key, which would cost a look-up per row. Writer: fetcher, by COPY.';
COMMENT ON COLUMN block_trace_checkpoint.block_trace_checkpoint_id IS 'Grows in the order of the log within a node; drawn by the loader.';
COMMENT ON COLUMN block_trace_checkpoint.source IS 'M main, P prover, V verifier.';
COMMENT ON COLUMN block_trace_checkpoint.main_trace IS 'False for a repeated processing of the same block.';
COMMENT ON COLUMN block_trace_checkpoint.started_at IS 'Seconds since 1970; -1 for control records.';
COMMENT ON COLUMN block_trace_checkpoint.metadata_json IS 'An empty list for checkpoints, the object for control records.';
COMMENT ON COLUMN block_trace_checkpoint.gossip IS 'Whether it is a pool event or belongs to one.';
COMMENT ON COLUMN block_trace_checkpoint.loaded_on IS 'UTC day on which it was fetched: the partition.';
SELECT register_partitioned('block_trace_checkpoint', true);

CREATE TABLE tx_traces (
    block_trace_checkpoint_id bigint NOT NULL,
    node_name varchar(255) NOT NULL,
    action text NOT NULL,
    time timestamptz NOT NULL,
    diff jsonb NOT NULL,
    sender varchar(255),
    reason text,
    deployment_id int NOT NULL,
    loaded_on date NOT NULL,
    diff_key bigint GENERATED ALWAYS AS (jsonb_hash_extended(diff, 0)) STORED,
    PRIMARY KEY (block_trace_checkpoint_id, deployment_id, loaded_on)
) PARTITION BY LIST (deployment_id);
CREATE INDEX ON tx_traces (time);
COMMENT ON TABLE tx_traces IS 'Transaction pool events. Writer: fetcher, by COPY.';
COMMENT ON COLUMN tx_traces.block_trace_checkpoint_id IS 'The control record with the event''s metadata.';
COMMENT ON COLUMN tx_traces.action IS 'received, accepted, rejected; newer daemons may add others.';
COMMENT ON COLUMN tx_traces.time IS 'Of the event itself, by the node''s clock.';
COMMENT ON COLUMN tx_traces.diff IS 'List of [type, signature, memo].';
COMMENT ON COLUMN tx_traces.sender IS 'Null when the node itself is the source.';
COMMENT ON COLUMN tx_traces.diff_key IS 'Hash of diff, to group by.';
SELECT register_partitioned('tx_traces', true);

CREATE TABLE sw_traces (
    block_trace_checkpoint_id bigint NOT NULL,
    node_name varchar(255) NOT NULL,
    action text NOT NULL,
    time timestamptz NOT NULL,
    fst_work_id int NOT NULL,
    snd_work_id int,
    fee varchar(255),
    prover varchar(255),
    sender varchar(255),
    reason text,
    fst_work_type varchar(64),
    snd_work_type varchar(64),
    fst_work_tx_hash varchar(128),
    snd_work_tx_hash varchar(128),
    fst_work_tx_memo text,
    snd_work_tx_memo text,
    deployment_id int NOT NULL,
    loaded_on date NOT NULL,
    PRIMARY KEY (block_trace_checkpoint_id, deployment_id, loaded_on)
) PARTITION BY LIST (deployment_id);
CREATE INDEX ON sw_traces (time);
COMMENT ON TABLE sw_traces IS 'SNARK pool events. Writer: fetcher, by COPY.';
COMMENT ON COLUMN sw_traces.action IS 'received, accepted, rejected, added, scheduled, removed; newer daemons may add others.';
COMMENT ON COLUMN sw_traces.time IS 'Of the event itself, by the node''s clock.';
COMMENT ON COLUMN sw_traces.fee IS 'As the node writes it.';
COMMENT ON COLUMN sw_traces.fst_work_tx_hash IS 'Fee payer''s signature of the work''s transaction.';
SELECT register_partitioned('sw_traces', true);

CREATE TABLE data (
    key varchar NOT NULL,
    deployment_id int NOT NULL REFERENCES deployment,
    node_name varchar NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (key, deployment_id, node_name)
);
COMMENT ON TABLE data IS 'Statistics of a node as JSON text; checkpoint_distributions is a list of pairs of name and distribution. Writer: fetcher, at most once per batch and node.';

CREATE TABLE sw_interruptions (
    block_trace_id int PRIMARY KEY,
    deployment_id int NOT NULL REFERENCES deployment,
    time timestamptz NOT NULL DEFAULT now(),
    at int NOT NULL,
    reason text NOT NULL,
    fst_work_id int,
    snd_work_id int
);
COMMENT ON TABLE sw_interruptions IS 'Produced blocks that could not take more SNARK work. Writer: fetcher.';
COMMENT ON COLUMN sw_interruptions.time IS 'Of the block''s production; when the row was made, if that is unknown.';
COMMENT ON COLUMN sw_interruptions.at IS 'How many works had been taken.';

CREATE TABLE node_restarts (
    id serial PRIMARY KEY,
    deployment_id int NOT NULL DEFAULT get_max_deployment_id() REFERENCES deployment,
    node_name varchar NOT NULL,
    time timestamptz NOT NULL DEFAULT now(),
    reason text,
    code int,
    object_name varchar,
    object_namespace varchar,
    container_name varchar,
    restart_count int
);
CREATE INDEX ON node_restarts (node_name);
CREATE INDEX ON node_restarts (time);
COMMENT ON TABLE node_restarts IS 'Restarts that were reported, and those that the fetcher saw by a new server UUID. Writer: fetcher.';
COMMENT ON COLUMN node_restarts.deployment_id IS 'The newest one only where the reporter names none.';
COMMENT ON COLUMN node_restarts.code IS 'Exit code; 0 is a code, null is unknown.';

CREATE TABLE experiment_state (
    name varchar PRIMARY KEY,
    description text,
    created_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    updated_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    ended_at timestamp,
    status varchar NOT NULL,
    comment text,
    setup_json jsonb,
    current_step_no int,
    current_step_name varchar,
    warnings text[] NOT NULL DEFAULT '{}',
    errors text[] NOT NULL DEFAULT '{}',
    logs text[] NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE experiment_state IS 'State of experiments by name, as existing tools write it. Times are UTC without zone.';

CREATE VIEW tx_diffs AS
SELECT time, diff, node_name, sender, outcome, outcome_reason AS reason, outcome_time, deployment_id
FROM (
    SELECT t.*, lead(action) OVER w AS outcome, lead(reason) OVER w AS outcome_reason, lead(time) OVER w AS outcome_time
    FROM tx_traces t
    WINDOW w AS (PARTITION BY deployment_id, node_name, sender, diff_key ORDER BY block_trace_checkpoint_id)
) AS paired
WHERE action = 'received';
COMMENT ON VIEW tx_diffs IS 'Every received transaction diff with the next event of the same diff, node and sender.';

CREATE VIEW received_txs AS
SELECT d.node_name, d.time, d.sender, d.outcome_time, d.outcome, d.reason,
    tx.value ->> 0 AS type, tx.value ->> 1 AS hash, tx.value ->> 2 AS memo, d.deployment_id
FROM tx_diffs d CROSS JOIN jsonb_array_elements(d.diff) AS tx;
COMMENT ON VIEW received_txs IS 'tx_diffs with one row per transaction.';

-- Retention. Dropping a partition takes a lock on the table that it belongs to, which everybody waits behind, who reads or writes it, for as
-- long as an older reader keeps the dropper waiting. So each of these functions gives up after a fifth of a second of waiting for any lock
-- (error lock_not_available), and is called again later. That is less than deadlock_timeout, too, so that it is always the dropper that gives
-- way, in whichever order others lock the tables.

CREATE FUNCTION delete_traces_before(a_day date, a_most int) RETURNS int LANGUAGE sql SET lock_timeout = '200ms' AS $$
    WITH old AS (
        DELETE FROM block_trace WHERE (deployment_id, block_trace_id) IN (
            SELECT deployment_id, block_trace_id FROM block_trace
            WHERE trace_completed_at BETWEEN 0 AND extract(epoch FROM a_day::timestamp) AND block_id <> '0' LIMIT a_most)
        RETURNING deployment_id, block_trace_id
    ), interruptions AS (
        DELETE FROM sw_interruptions i USING old WHERE i.deployment_id = old.deployment_id AND i.block_trace_id = old.block_trace_id
    )
    SELECT count(*)::int FROM old
$$;
COMMENT ON FUNCTION delete_traces_before IS 'Deletes at most so many of the block traces that ended before this UTC day. Returns how many: fewer when there are no more.';

CREATE FUNCTION partitions_before(a_day date) RETURNS TABLE (part text, deployment_id int, day date) LANGUAGE sql STABLE AS $$
    SELECT p.part, d.deployment_id, d.day
    FROM partition_day d CROSS JOIN partitioned_table t
    CROSS JOIN LATERAL (SELECT t.name || '_' || d.deployment_id || '_' || to_char(d.day, 'YYYYMMDD') AS part) p
    WHERE t.by_day AND d.day < a_day AND to_regclass(quote_ident(p.part)) IS NOT NULL
    ORDER BY d.day, d.deployment_id, t.name
$$;
COMMENT ON FUNCTION partitions_before IS 'Lists the partitions of the days before this UTC day that are still there, oldest first.';

CREATE FUNCTION drop_partition(a_part text, a_deployment int, a_day date) RETURNS void LANGUAGE plpgsql SET lock_timeout = '200ms' AS $$
BEGIN
    PERFORM lock_partitions();
    EXECUTE format('DROP TABLE IF EXISTS %I', a_part);
    DELETE FROM partition_day p WHERE p.deployment_id = a_deployment AND p.day = a_day
        AND NOT EXISTS (SELECT FROM partitions_before(a_day + 1) b WHERE b.deployment_id = a_deployment AND b.day = a_day);
END $$;
COMMENT ON FUNCTION drop_partition IS 'Drops one of the partitions that partitions_before lists. Fails with lock_not_available while somebody reads or writes its table; call it again then.';

CREATE FUNCTION drop_days_before(a_day date) RETURNS int LANGUAGE plpgsql SET lock_timeout = '200ms' AS $$
DECLARE
    dropped int := 0;
    p record;
BEGIN
    PERFORM delete_traces_before(a_day, 2147483647);
    FOR p IN SELECT * FROM partitions_before(a_day) LOOP
        PERFORM drop_partition(p.part, p.deployment_id, p.day);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
COMMENT ON FUNCTION drop_days_before IS 'All of it at once, by hand: drops the partitions of the days before this UTC day, and the block traces that ended before it. Returns the number of partitions. Transactions, blocks and experiments stay. Fails with lock_not_available, and does nothing, while somebody reads or writes one of the tables; call it again then.';

CREATE FUNCTION drop_deployment(a_deployment int) RETURNS void LANGUAGE plpgsql SET lock_timeout = '200ms' AS $$
DECLARE
    t partitioned_table;
    name text;
BEGIN
    -- Rows first, which locks nothing that others need: children before their parents.
    FOREACH name IN ARRAY ARRAY['log_gap', 'log_malformed', 'log_problem', 'log_reader', 'log_cursor', 'log_node', 'data', 'sw_interruptions', 'node_restarts', 'experiment_batch', 'block',
        'partition_day'] LOOP
        IF to_regclass(name) IS NOT NULL THEN
            EXECUTE format('DELETE FROM %I WHERE deployment_id = $1', name) USING a_deployment;
        END IF;
    END LOOP;
    PERFORM lock_partitions();
    FOR t IN SELECT * FROM partitioned_table ORDER BY partitioned_table.name LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I', t.name || '_' || a_deployment);
    END LOOP;
    DELETE FROM deployment WHERE deployment_id = a_deployment;
END $$;
COMMENT ON FUNCTION drop_deployment IS 'Removes a deployment with everything that belongs to it. Runs stay, and forget which deployment they had. Fails with lock_not_available, and does nothing, while somebody reads or writes one of the tables; call it again then.';

-- +goose StatementEnd
