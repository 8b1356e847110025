-- +goose Up
-- +goose StatementBegin

-- The history of the orchestrator's runs: a function of the lines of their records, and of nothing else. No secret is ever stored: the
-- lines have none. The orchestrator writes a run anew as a whole, or adds the lines that have come since, and "lines" says how far it is.

CREATE TABLE run (
    run_id text PRIMARY KEY,
    deployment_id int REFERENCES deployment ON DELETE SET NULL,
    lines bigint NOT NULL DEFAULT 0,
    script_name text,
    experiment text,
    script_sha256 text,
    network text,
    genesis timestamptz,
    clock_scale double precision NOT NULL DEFAULT 1,
    seed numeric,
    program_version text,
    steps int,
    started_at timestamptz NOT NULL,
    resumed_at timestamptz,
    told_at timestamptz,
    ended_at timestamptz,
    outcome text,
    exit_code int,
    error text
);
CREATE INDEX ON run (started_at);
COMMENT ON TABLE run IS 'One run of a script, continuations included. Writer: orchestrator.';
COMMENT ON COLUMN run.run_id IS 'The run''s own name for itself in its record; for records that have none, made from their first line.';
COMMENT ON COLUMN run.deployment_id IS 'The newest deployment when the run began, or the first made during it; null when there was none.';
COMMENT ON COLUMN run.lines IS 'How many lines of the record are stored.';
COMMENT ON COLUMN run.script_name IS 'Its file, or stdin.';
COMMENT ON COLUMN run.experiment IS 'Name that the script gives its experiment; null for none, and for runs of older versions.';
COMMENT ON COLUMN run.script_sha256 IS 'Null for a script that was read step by step.';
COMMENT ON COLUMN run.network IS 'What the run took its nodes from; no password.';
COMMENT ON COLUMN run.genesis IS 'Network time of slot 0; null when the configuration did not say.';
COMMENT ON COLUMN run.clock_scale IS 'Seconds of network time in a second of the wall''s, from genesis on.';
COMMENT ON COLUMN run.seed IS 'Seed of everything random in it.';
COMMENT ON COLUMN run.steps IS 'Number of steps of the script; null when not known beforehand.';
COMMENT ON COLUMN run.started_at IS 'Wall time, as are the other times of this table.';
COMMENT ON COLUMN run.resumed_at IS 'When it was last continued; null when it never was.';
COMMENT ON COLUMN run.told_at IS 'Time of the last line that is stored.';
COMMENT ON COLUMN run.ended_at IS 'Null while it runs, or when it died.';
COMMENT ON COLUMN run.outcome IS 'succeeded, failed, claim failed, remains, inconclusive, interrupted, wrong script or internal error; null while it runs, or when it died.';
COMMENT ON COLUMN run.exit_code IS 'Of the orchestrator.';

CREATE TABLE run_step (
    run_id text NOT NULL REFERENCES run ON DELETE CASCADE,
    step int NOT NULL,
    attempt int NOT NULL,
    name text,
    action text NOT NULL,
    started_at timestamptz,
    told_at timestamptz NOT NULL,
    ended_at timestamptz,
    outcome text,
    error text,
    PRIMARY KEY (run_id, step, attempt)
);
COMMENT ON TABLE run_step IS 'Attempts of steps. Writer: orchestrator.';
COMMENT ON COLUMN run_step.step IS 'Number of the step in the plan, from 0 on.';
COMMENT ON COLUMN run_step.attempt IS 'From 1 on. One that was cut short is continued under its number when the run is resumed.';
COMMENT ON COLUMN run_step.name IS 'Name that the script gives it; null for none.';
COMMENT ON COLUMN run_step.started_at IS 'Wall time; null while it is under way, when it was cut short, and where the record does not say when it began.';
COMMENT ON COLUMN run_step.told_at IS 'Wall time of the first line about it: it began no later than that.';
COMMENT ON COLUMN run_step.ended_at IS 'Wall time; null while it is under way, or when it was cut short.';
COMMENT ON COLUMN run_step.outcome IS 'done, failed, retried (failed, and another attempt follows) or skipped; null while it is under way, or when it was cut short.';

CREATE TABLE run_output (
    run_id text NOT NULL REFERENCES run ON DELETE CASCADE,
    seq bigint NOT NULL,
    step int NOT NULL,
    attempt int NOT NULL,
    name text NOT NULL,
    multi boolean NOT NULL,
    value jsonb NOT NULL,
    time timestamptz NOT NULL,
    PRIMARY KEY (run_id, seq)
);
CREATE INDEX ON run_output (run_id, step, name);
COMMENT ON TABLE run_output IS 'Outputs of steps, without secrets. Writer: orchestrator.';
COMMENT ON COLUMN run_output.seq IS 'Number of the line in the run''s record, from 1.';
COMMENT ON COLUMN run_output.multi IS 'Whether it is an element of a list output.';
COMMENT ON COLUMN run_output.value IS 'What PostgreSQL cannot hold, such as a NUL character, is replaced by U+FFFD.';

CREATE TABLE run_verdict (
    run_id text NOT NULL REFERENCES run ON DELETE CASCADE,
    seq bigint NOT NULL,
    kind text NOT NULL,
    line int NOT NULL,
    claim text NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('pass', 'fail', 'inconclusive')),
    actual text,
    expected text,
    period text,
    evidence text[] NOT NULL,
    time timestamptz NOT NULL,
    PRIMARY KEY (run_id, seq)
);
COMMENT ON TABLE run_verdict IS 'What expect, watch and limits decided. Writer: orchestrator.';
COMMENT ON COLUMN run_verdict.seq IS 'Number of the line in the run''s record, from 1.';
COMMENT ON COLUMN run_verdict.kind IS 'expect, watch or limit.';
COMMENT ON COLUMN run_verdict.line IS 'Line of the claim in the script.';
COMMENT ON COLUMN run_verdict.claim IS 'The claim as the script has it.';
COMMENT ON COLUMN run_verdict.actual IS 'The value with its bounds, as shown to people; null when there is none.';
COMMENT ON COLUMN run_verdict.period IS 'What the value was taken over, as shown to people.';
COMMENT ON COLUMN run_verdict.evidence IS 'What is missing, and how far it could turn the verdict.';

CREATE TABLE run_load (
    run_id text NOT NULL REFERENCES run ON DELETE CASCADE,
    call int NOT NULL,
    step int NOT NULL,
    experiment text NOT NULL,
    batch int NOT NULL,
    kind text NOT NULL CHECK (kind IN ('payments', 'zkapps')),
    node text NOT NULL,
    tps numeric NOT NULL,
    interval_ms bigint,
    from_time timestamptz NOT NULL,
    until_time timestamptz,
    intended bigint,
    result text,
    handle text,
    undone text,
    PRIMARY KEY (run_id, call)
);
CREATE INDEX ON run_load (experiment, batch);
COMMENT ON TABLE run_load IS 'Batches of load that a run asked nodes for. The memos of a batch are <experiment>-<batch>-<index>. Writer: orchestrator.';
COMMENT ON COLUMN run_load.call IS 'Number of the request in the run.';
COMMENT ON COLUMN run_load.experiment IS 'What its memos begin with; in the script language it ends in the round: churn-30-0.';
COMMENT ON COLUMN run_load.node IS 'Address of the node, HOST:PORT.';
COMMENT ON COLUMN run_load.tps IS 'Rate in transactions per second, to 12 decimals.';
COMMENT ON COLUMN run_load.interval_ms IS 'Distance of two transactions in milliseconds of network time: whole ones, as the daemon reckons; null when the rate is none.';
COMMENT ON COLUMN run_load.from_time IS 'Network time of the request: it began no earlier.';
COMMENT ON COLUMN run_load.until_time IS 'Network time by which it has certainly ended, or was stopped; null when unknown.';
COMMENT ON COLUMN run_load.intended IS 'How many transactions rate and time give at most, so that their indexes are 0 to one less; null when unknown. A node that is busy skips points of time, and gives out no index for them.';
COMMENT ON COLUMN run_load.result IS 'done; accepted (the reply was lost, and it runs); refused, not-sent, not-done (it does not run); gone (the daemon has restarted since), unknown; null while the answer is awaited, or when the run died then.';
COMMENT ON COLUMN run_load.undone IS 'How it came to its end when the run or a clean-up ended it; null when nobody did.';

CREATE FUNCTION network_time(a_wall timestamptz, a_genesis timestamptz, a_scale double precision) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT a_genesis + make_interval(secs => extract(epoch FROM a_wall - a_genesis)::double precision * a_scale) $$;
COMMENT ON FUNCTION network_time IS 'Converts wall time to the time of a network that runs so many times as fast from genesis on.';

CREATE FUNCTION log_coverage(a_deployment int, a_genesis timestamptz, a_scale double precision)
RETURNS TABLE (node_name text, host text, port int, since timestamptz, read_to timestamptz, logged tstzmultirange, last_block timestamptz) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    WITH lost AS ( -- what is missing was logged after the earlier one of the entries around it, and before somebody noticed
        SELECT g.node_id, coalesce(g.time_before, (SELECT c.last_time FROM log_cursor c WHERE c.deployment_id = g.deployment_id AND c.node_id = g.node_id
            AND c.server_uuid <> g.server_uuid AND c.started_at < g.found_at ORDER BY c.started_at DESC LIMIT 1)) AS before, g.time_after AS after, g.found_at
        FROM log_gap g WHERE g.deployment_id = a_deployment
        UNION ALL SELECT m.node_id, (SELECT e.logged_at FROM log_entry e WHERE e.deployment_id = m.deployment_id AND e.node_id = m.node_id
            AND e.server_uuid = m.server_uuid AND e.log_id < m.log_id ORDER BY e.log_id DESC LIMIT 1), NULL, m.found_at
        FROM log_malformed m JOIN log_cursor c USING (deployment_id, node_id, server_uuid)
        WHERE m.deployment_id = a_deployment AND m.log_id > 0 AND m.log_id < c.next_id
        UNION ALL SELECT p.node_id, (SELECT min(e.logged_at) FROM log_entry e WHERE e.deployment_id = p.deployment_id AND e.node_id = p.node_id
            AND e.server_uuid = p.server_uuid AND e.log_id BETWEEN p.from_id AND p.to_id), NULL, p.found_at
        FROM log_problem p WHERE p.deployment_id = a_deployment
    ), holes AS (
        SELECT l.node_id, range_agg(tstzrange(CASE WHEN l.before IS NULL THEN '-infinity' ELSE least(l.before, l.after) END,
            greatest(l.before, l.after, network_time(l.found_at, a_genesis, a_scale)), '[]')) AS all_of_it
        FROM lost l GROUP BY l.node_id
    )
    SELECT n.node_name, n.host, n.port, b.since, r.read_to, tstzmultirange(tstzrange(b.since, greatest(b.since, r.read_to))) - coalesce(h.all_of_it, '{}'), t.at
    FROM log_node n
    CROSS JOIN LATERAL (SELECT network_time(n.read_at, a_genesis, a_scale) AS read_to) r
    CROSS JOIN LATERAL (SELECT least(network_time(min(c.started_at), a_genesis, a_scale), min(first.logged_at)) AS since FROM log_cursor c
        LEFT JOIN LATERAL (SELECT e.logged_at FROM log_entry e WHERE e.deployment_id = c.deployment_id AND e.node_id = c.node_id AND e.server_uuid = c.server_uuid
            ORDER BY e.log_id LIMIT 1) first ON true
        WHERE c.deployment_id = a_deployment AND c.node_id = n.node_id AND c.carried_from IS NULL) b
    LEFT JOIN holes h USING (node_id)
    LEFT JOIN LATERAL (SELECT to_timestamp(t.trace_completed_at) AS at FROM block_trace t WHERE t.deployment_id = a_deployment AND t.node_name = n.node_name
        AND t.status = 'Success' ORDER BY t.blockchain_length DESC LIMIT 1) t ON true
    WHERE n.deployment_id = a_deployment AND n.host IS NOT NULL AND n.read_at IS NOT NULL AND b.since IS NOT NULL
$$;
COMMENT ON FUNCTION log_coverage IS 'Of which times there is all that a node logged, for the nodes of a deployment that were read; nodes known only from files are none. Network time, which the genesis and the scale of its clock make of the wall''s. since: its log is there from then on; read_to: it was last read to its end then; logged: the times between, without those of what is known to be lost; last_block: when it integrated the highest block, null when it tells of none.';

CREATE FUNCTION run_transactions(a_run text) RETURNS TABLE (
    experiment text, batch int, ix int, kind text, node text, hash text, state text, reason text,
    received timestamptz, accepted timestamptz, seen_by int,
    state_hash text, blockchain_length int, global_slot int, included timestamptz, as_of timestamptz
) LANGUAGE plpgsql STABLE SET plan_cache_mode = force_custom_plan SET work_mem = '64MB' SET jit = off SET enable_memoize = off SET enable_nestloop = off AS $$
#variable_conflict use_column
DECLARE
    dep int;
    origin timestamptz;
    scale double precision;
    low timestamptz;
    high timestamptz;
    reading timestamptz; -- logs that were read until then are as new as any: a node that was not has gone
    names text[]; -- of the deployment's nodes
    bits varbit[]; -- for each of them a string with its own bit: the bits of many are or'ed in a constant space, however many rows tell of them
BEGIN
    SELECT r.deployment_id, coalesce(r.genesis, r.started_at), r.clock_scale INTO dep, origin, scale FROM run r WHERE r.run_id = a_run;
    SELECT min(l.from_time) - interval '1 minute', max(coalesce(l.until_time, 'infinity')) + interval '1 hour'
    INTO low, high FROM run_load l WHERE l.run_id = a_run;
    SELECT network_time(max(n.read_at) - interval '1 minute', origin, scale) INTO reading FROM log_node n WHERE n.deployment_id = dep AND n.host IS NOT NULL;
    SELECT array_agg(n.node_name), array_agg(set_bit(repeat('0', n.total)::varbit, n.place - 1, 1)) INTO names, bits
    FROM (SELECT node_name, row_number() OVER ()::int AS place, count(*) OVER ()::int AS total FROM log_node WHERE deployment_id = dep) n;
    RETURN QUERY
    WITH coverage AS MATERIALIZED (
        SELECT * FROM log_coverage(dep, origin, scale)
    ), loads AS MATERIALIZED ( -- why: the log of the node that was to send it cannot tell what it did not send; whole: up to then some log tells of every block
        SELECT l.call, l.experiment, l.batch, l.kind, l.node, l.experiment || '-' || l.batch || '-' AS prefix,
            CASE WHEN l.result IN ('done', 'accepted') THEN least(l.intended,
                ceil(extract(epoch FROM network_time(now(), origin, scale) - l.from_time) * 1000 / l.interval_ms)::bigint) ELSE 0 END AS due,
            CASE WHEN s.told THEN NULL
                WHEN s.node_name IS NULL THEN 'the fetcher has not read the sending node''s log'
                WHEN l.until_time IS NULL THEN 'nobody knows when the batch ends'
                WHEN s.read_to <= l.until_time THEN 'the sending node''s log is not read to the end of the batch yet'
                WHEN s.since > l.from_time THEN 'the sending node''s log begins after the batch'
                ELSE 'the sending node''s log has a gap in the time of the batch' END AS why,
            (SELECT max(c.read_to) FROM coverage c WHERE c.read_to >= reading AND c.last_block >= l.from_time AND c.read_to > l.from_time
                AND c.logged @> tstzrange(l.from_time, c.read_to)) AS whole
        FROM run_load l LEFT JOIN LATERAL (
            SELECT c.*, coalesce(l.until_time >= l.from_time AND c.logged @> tstzrange(l.from_time, l.until_time, '[]'), false) AS told FROM coverage c
            WHERE l.node IN (c.host || ':' || c.port, '[' || c.host || ']:' || c.port) ORDER BY told DESC, c.read_to DESC LIMIT 1) s ON true
        WHERE l.run_id = a_run AND coalesce(l.result, 'unknown') IN ('done', 'accepted', 'partly', 'gone', 'unknown')
    ), received AS MATERIALIZED (
        SELECT l.*, u.hash, substr(u.memo, length(l.prefix) + 1) AS rest, u.time FROM loads l CROSS JOIN LATERAL (
            SELECT t.hash, t.memo, t.time FROM unique_txs t
            WHERE t.deployment_id = dep AND t.memo >= l.prefix AND t.memo < l.experiment || '-' || l.batch || '.' AND t.time BETWEEN low AND high
            OFFSET 0) u
    ), blocks AS MATERIALIZED ( -- also of earlier runs with the same name
        SELECT l.call, b.* FROM loads l CROSS JOIN LATERAL (
            SELECT t.* FROM block_txs t WHERE t.deployment_id = dep AND t.memo >= l.prefix AND t.memo < l.experiment || '-' || l.batch || '.'
            OFFSET 0) b
    ), indexed AS MATERIALIZED (
        SELECT f.*, f.rest::int AS ix FROM (
            SELECT * FROM received
            UNION ALL -- included without any node having told of its reception
            SELECT l.*, b.hash, substr(b.memo, length(l.prefix) + 1), NULL FROM blocks b JOIN loads l USING (call)
            LEFT JOIN received r ON r.call = b.call AND r.hash = b.hash
            LEFT JOIN LATERAL (SELECT u.hash FROM unique_txs u WHERE u.deployment_id = dep AND u.hash = b.hash AND r.hash IS NULL OFFSET 0) u ON true
            WHERE b.block_received >= low AND r.hash IS NULL AND u.hash IS NULL
        ) f WHERE f.rest ~ '^(0|[1-9][0-9]{0,8})$'
    ), diffs AS MATERIALIZED ( -- told from others by their keys; one row for each, however many nodes have it
        SELECT t.diff_key, min(t.block_trace_checkpoint_id) AS sample, bit_or(n.bit) FILTER (WHERE t.action = 'received') AS nodes,
            bool_or(t.sender IS NOT NULL) AS gossiped,
            min(t.time) FILTER (WHERE t.sender IS NULL AND t.action = 'accepted') AS accepted,
            min(coalesce(t.reason, 'no reason given')) FILTER (WHERE t.sender IS NULL AND t.action = 'rejected') AS refused
        FROM tx_traces t LEFT JOIN unnest(names, bits) AS n(name, bit) ON n.name = t.node_name
        WHERE t.deployment_id = dep AND t.time BETWEEN low AND high AND (t.action = 'received' OR t.sender IS NULL)
        GROUP BY t.diff_key
    ), events AS MATERIALIZED ( -- a transaction may come in several diffs, and a node that saw two of them counts once
        SELECT e.value ->> 1 AS hash, bit_count(bit_or(d.nodes)) AS nodes, bool_or(d.gossiped) AS gossiped, min(d.accepted) AS accepted, min(d.refused) AS refused
        FROM diffs d
        CROSS JOIN LATERAL (SELECT s.diff FROM tx_traces s WHERE s.deployment_id = dep AND s.block_trace_checkpoint_id = d.sample OFFSET 0) t
        CROSS JOIN LATERAL jsonb_array_elements(CASE jsonb_typeof(t.diff) WHEN 'array' THEN t.diff ELSE '[]' END) e
        GROUP BY 1
    )
    SELECT i.experiment, i.batch, i.ix, i.kind, i.node, i.hash::text,
        CASE WHEN b.result = 'Failed' THEN 'failed' WHEN b.hash IS NOT NULL THEN 'included' WHEN i.whole IS NULL THEN 'unknown'
            WHEN e.accepted IS NOT NULL THEN 'missing' WHEN e.refused IS NOT NULL THEN 'rejected'
            WHEN e.gossiped OR i.why IS NULL THEN 'missing' ELSE 'unknown' END, -- a node gossips what it has accepted
        CASE WHEN b.hash IS NOT NULL THEN NULL WHEN i.whole IS NULL THEN 'no log that tells of blocks is complete since the batch began: the block with it may be missing'
            WHEN e.accepted IS NOT NULL THEN NULL WHEN e.refused IS NOT NULL THEN e.refused
            WHEN e.gossiped OR i.why IS NULL THEN NULL ELSE i.why || ': it may have refused it' END,
        i.time, e.accepted, coalesce(e.nodes, 0)::int, b.state_hash::text, b.blockchain_length, b.global_slot, b.block_received,
        CASE WHEN b.hash IS NULL AND (e.accepted IS NOT NULL OR e.refused IS NOT NULL OR e.gossiped OR i.why IS NULL) THEN i.whole END
    FROM indexed i
    LEFT JOIN blocks b ON b.call = i.call AND b.hash = i.hash
    LEFT JOIN events e ON e.hash = i.hash
    UNION ALL
    SELECT l.experiment, l.batch, n.ix::int, l.kind, l.node, NULL, CASE WHEN l.why IS NULL THEN 'unseen' ELSE 'unknown' END,
        coalesce(l.why, 'the sending node''s log is complete and has no such index'), NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL
    FROM loads l CROSS JOIN LATERAL generate_series(0, l.due - 1) AS n(ix)
    WHERE NOT EXISTS (SELECT FROM indexed i WHERE i.call = l.call AND i.ix = n.ix);
END $$;
COMMENT ON FUNCTION run_transactions IS 'The transactions of a run, in no order: one row for each that a log or a block tells of, matched by the memo, and one without a hash for each index that rate and time would have given by now and nothing tells of. state: included (in the best chain, Applied), failed (there, Failed), rejected (the node that was to send it refused it, reason says why; no block has it), missing (some node received it, no block has it; no log says whether a pool has dropped it since), unseen (no log and no block tells of it, and the log of the node that was to send it is there from the beginning of the batch to its end), unknown (the logs are not complete enough to tell, reason says why; so is what only the sending node received, while its log may lack that it was refused). That no block has it is so up to as_of: the log of a node that tells of blocks is there from the beginning of the batch until then, and no log of the deployment was read over a minute longer. reason: for rejected, unseen and unknown. received: by the first node; accepted: by the node that sends it; seen_by: nodes that received it. Times are the nodes'' own.';

-- +goose StatementEnd
