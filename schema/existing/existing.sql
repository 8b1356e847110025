-- The evidence schema that existing tools use, rebuilt for comparison only, from the description in words of internal-trace, sections 6 and 7
-- (tables 6.1, triggers 6.2, views 6.3, known problems 7). No product code uses it. It keeps the described faults where they cost time or
-- change a figure: row-level triggers, the newest deployment instead of a row's own, keys without deployment. Where the description leaves a
-- choice, the faster way was taken: conditions stand in WHEN, so that a trigger whose condition fails is not called; memos are taken apart once per
-- reading of a view, and not once per sub-select.

CREATE TABLE deployment (
    deployment_id serial PRIMARY KEY,
    metadata_json jsonb NOT NULL
);

CREATE FUNCTION get_max_deployment_id() RETURNS int LANGUAGE sql STABLE AS
$$ SELECT max(deployment_id) FROM deployment $$;

CREATE TABLE block_trace (
    block_trace_id serial PRIMARY KEY,
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
    metadata_json jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX ON block_trace (block_id);
CREATE INDEX ON block_trace (node_name);

CREATE TABLE block_trace_checkpoint (
    block_trace_checkpoint_id bigserial PRIMARY KEY,
    block_trace_id int NOT NULL REFERENCES block_trace,
    source char(1) NOT NULL,
    main_trace boolean NOT NULL,
    is_control boolean NOT NULL,
    name varchar NOT NULL,
    started_at double precision NOT NULL,
    metadata_json jsonb NOT NULL,
    call_id int NOT NULL,
    gossip boolean NOT NULL DEFAULT false
);
CREATE INDEX ON block_trace_checkpoint (block_trace_id, main_trace) WHERE NOT gossip;

CREATE TABLE data (
    key varchar NOT NULL,
    deployment_id int NOT NULL REFERENCES deployment,
    node_name varchar NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (key, deployment_id, node_name)
);

CREATE TYPE resource_t AS ENUM ('Transaction_diff', 'Snark_work');
CREATE TYPE pool_action_t AS ENUM ('received', 'accepted', 'rejected', 'added', 'scheduled', 'removed');

CREATE TABLE last_block_trace_gossip_checkpoint (
    block_trace_id int NOT NULL,
    resource resource_t NOT NULL,
    action pool_action_t NOT NULL,
    started_at timestamptz NOT NULL,
    PRIMARY KEY (block_trace_id, resource)
);

CREATE TABLE tx_traces (
    block_trace_checkpoint_id bigint UNIQUE NOT NULL,
    node_name varchar(255) NOT NULL,
    action pool_action_t NOT NULL,
    time timestamptz NOT NULL,
    diff jsonb NOT NULL,
    sender varchar(255),
    reason text
);

CREATE TABLE sw_traces (
    block_trace_checkpoint_id bigint UNIQUE NOT NULL,
    node_name varchar(255) NOT NULL,
    action pool_action_t NOT NULL,
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
    snd_work_tx_memo text
);

CREATE TABLE unique_txs (
    hash varchar(128) PRIMARY KEY,
    deployment_id int NOT NULL,
    type varchar(64) NOT NULL,
    memo text,
    time timestamptz NOT NULL
);
CREATE INDEX ON unique_txs (memo);

CREATE TABLE block_txs (
    hash varchar(128) PRIMARY KEY,
    deployment_id int NOT NULL,
    type varchar(64) NOT NULL,
    memo text,
    block_received timestamptz NOT NULL,
    result varchar(64) NOT NULL
);

CREATE TABLE uniq_sws (
    deployment_id int NOT NULL,
    fst_work_id int NOT NULL,
    snd_work_id int,
    fee varchar(255),
    prover varchar(255),
    sender varchar(255),
    fst_work_type varchar(64),
    snd_work_type varchar(64),
    fst_work_tx_hash varchar(128),
    snd_work_tx_hash varchar(128),
    fst_work_tx_memo text,
    snd_work_tx_memo text,
    time_added timestamptz,
    time_received timestamptz,
    time_scheduled timestamptz
);
CREATE UNIQUE INDEX uniq_sws_key ON uniq_sws (deployment_id, fst_work_id, coalesce(snd_work_id, -1));

CREATE TABLE sw_interruptions (
    block_trace_id int PRIMARY KEY REFERENCES block_trace,
    deployment_id int NOT NULL REFERENCES deployment,
    time timestamptz NOT NULL DEFAULT now(),
    at int NOT NULL,
    reason text NOT NULL,
    fst_work_id int,
    snd_work_id int
);

-- Triggers. Those of one table and moment fire in the order of their names.

CREATE FUNCTION mark_gossip() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    parts text[] := regexp_match(NEW.name, '^(Snark_work|Transaction_diff)_(.*)$');
BEGIN
    NEW.gossip := true;
    INSERT INTO last_block_trace_gossip_checkpoint (block_trace_id, resource, action, started_at)
    VALUES (NEW.block_trace_id, parts[1]::resource_t, parts[2]::pool_action_t, to_timestamp(NEW.started_at))
    ON CONFLICT (block_trace_id, resource) DO UPDATE SET action = excluded.action, started_at = excluded.started_at;
    RETURN NEW;
END $$;
CREATE TRIGGER gossip_traces_on_add BEFORE INSERT ON block_trace_checkpoint FOR EACH ROW
WHEN (NEW.main_trace AND NEW.source = 'M' AND NOT NEW.is_control AND NEW.name ~ '^(Snark_work|Transaction_diff)_')
EXECUTE FUNCTION mark_gossip();

CREATE FUNCTION set_source() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE block_trace SET source = CASE NEW.name
        WHEN 'External_block_received' THEN 'External'
        WHEN 'Begin_block_production' THEN 'Internal'
        WHEN 'To_download' THEN 'Catchup'
        ELSE 'Reconstruct' END
    WHERE block_trace_id = NEW.block_trace_id AND source = 'Unknown';
    RETURN NULL;
END $$;
CREATE TRIGGER block_trace_update_source AFTER INSERT ON block_trace_checkpoint FOR EACH ROW
WHEN (NEW.name IN ('External_block_received', 'Begin_block_production', 'To_download', 'Loaded_transition_from_storage'))
EXECUTE FUNCTION set_source();

CREATE FUNCTION set_times() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE block_trace SET
        trace_started_at = CASE WHEN trace_started_at < 0 THEN NEW.started_at ELSE least(trace_started_at, NEW.started_at) END,
        trace_completed_at = greatest(trace_completed_at, NEW.started_at),
        total_time = greatest(trace_completed_at, NEW.started_at)
            - CASE WHEN trace_started_at < 0 THEN NEW.started_at ELSE least(trace_started_at, NEW.started_at) END
    WHERE block_trace_id = NEW.block_trace_id AND status <> 'Success';
    RETURN NULL;
END $$;
CREATE TRIGGER block_trace_update_started_at AFTER INSERT ON block_trace_checkpoint FOR EACH ROW
WHEN (NEW.main_trace AND NEW.source = 'M' AND NOT NEW.is_control AND NOT NEW.gossip)
EXECUTE FUNCTION set_times();

CREATE FUNCTION set_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE block_trace SET status = CASE NEW.name WHEN 'Failure' THEN 'Failure' ELSE 'Success' END
    WHERE block_trace_id = NEW.block_trace_id;
    RETURN NULL;
END $$;
CREATE TRIGGER block_trace_update_status AFTER INSERT ON block_trace_checkpoint FOR EACH ROW
WHEN (NEW.name IN ('Breadcrumb_integrated', 'Failure'))
EXECUTE FUNCTION set_status();

CREATE FUNCTION add_sw_trace() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    event last_block_trace_gossip_checkpoint;
    fst jsonb := NEW.metadata_json -> 'txs' -> 0;
    snd jsonb := NEW.metadata_json -> 'txs' -> 1;
BEGIN
    SELECT * INTO event FROM last_block_trace_gossip_checkpoint
    WHERE block_trace_id = NEW.block_trace_id AND resource = 'Snark_work';
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO sw_traces
    SELECT NEW.block_trace_checkpoint_id, node_name, event.action, event.started_at,
        (NEW.metadata_json -> 'work_ids' ->> 0)::int, (NEW.metadata_json -> 'work_ids' ->> 1)::int,
        NEW.metadata_json ->> 'fee', NEW.metadata_json ->> 'prover', NEW.metadata_json ->> 'sender', NEW.metadata_json ->> 'reason',
        fst ->> 0, snd ->> 0, fst ->> 1, snd ->> 1, fst ->> 2, snd ->> 2
    FROM block_trace WHERE block_trace_id = NEW.block_trace_id;
    UPDATE block_trace_checkpoint SET gossip = true WHERE block_trace_checkpoint_id = NEW.block_trace_checkpoint_id;
    RETURN NULL;
END $$;
CREATE TRIGGER sw_traces_on_add AFTER INSERT ON block_trace_checkpoint FOR EACH ROW
WHEN (NEW.main_trace AND NEW.source = 'M' AND NEW.is_control AND NEW.metadata_json ? 'work_ids')
EXECUTE FUNCTION add_sw_trace();

CREATE FUNCTION add_tx_trace() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    event last_block_trace_gossip_checkpoint;
BEGIN
    SELECT * INTO event FROM last_block_trace_gossip_checkpoint
    WHERE block_trace_id = NEW.block_trace_id AND resource = 'Transaction_diff';
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO tx_traces
    SELECT NEW.block_trace_checkpoint_id, node_name, event.action, event.started_at,
        NEW.metadata_json -> 'diff', NEW.metadata_json ->> 'sender', NEW.metadata_json ->> 'reason'
    FROM block_trace WHERE block_trace_id = NEW.block_trace_id;
    UPDATE block_trace_checkpoint SET gossip = true WHERE block_trace_checkpoint_id = NEW.block_trace_checkpoint_id;
    RETURN NULL;
END $$;
CREATE TRIGGER tx_traces_on_add AFTER INSERT ON block_trace_checkpoint FOR EACH ROW
WHEN (NEW.main_trace AND NEW.source = 'M' AND NEW.is_control AND NEW.metadata_json ? 'diff')
EXECUTE FUNCTION add_tx_trace();

CREATE FUNCTION add_uniq_sw() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO uniq_sws AS known
    VALUES (get_max_deployment_id(), NEW.fst_work_id, NEW.snd_work_id, NEW.fee, NEW.prover, NEW.sender, NEW.fst_work_type, NEW.snd_work_type,
        NEW.fst_work_tx_hash, NEW.snd_work_tx_hash, NEW.fst_work_tx_memo, NEW.snd_work_tx_memo,
        CASE NEW.action WHEN 'added' THEN NEW.time END, CASE NEW.action WHEN 'received' THEN NEW.time END,
        CASE NEW.action WHEN 'scheduled' THEN NEW.time END)
    ON CONFLICT (deployment_id, fst_work_id, coalesce(snd_work_id, -1)) DO UPDATE SET
        fee = coalesce(known.fee, excluded.fee), prover = coalesce(known.prover, excluded.prover), sender = coalesce(known.sender, excluded.sender),
        time_added = least(known.time_added, excluded.time_added), time_received = least(known.time_received, excluded.time_received),
        time_scheduled = least(known.time_scheduled, excluded.time_scheduled);
    RETURN NULL;
END $$;
CREATE TRIGGER sw_traces_handle_sws AFTER INSERT ON sw_traces FOR EACH ROW EXECUTE FUNCTION add_uniq_sw();

CREATE FUNCTION add_unique_txs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO unique_txs AS known (hash, deployment_id, type, memo, time)
    SELECT DISTINCT ON (tx ->> 1) tx ->> 1, get_max_deployment_id(), tx ->> 0, tx ->> 2, NEW.time
    FROM jsonb_array_elements(NEW.diff) AS tx
    ON CONFLICT (hash) DO UPDATE SET time = least(known.time, excluded.time);
    RETURN NULL;
END $$;
CREATE TRIGGER tx_traces_handle_txs AFTER INSERT ON tx_traces FOR EACH ROW
WHEN (NEW.action = 'received')
EXECUTE FUNCTION add_unique_txs();

CREATE FUNCTION add_block_txs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO block_txs AS known (hash, deployment_id, type, memo, block_received, result)
    SELECT DISTINCT ON (tx ->> 1) tx ->> 1, get_max_deployment_id(), tx ->> 0, tx ->> 2, to_timestamp(NEW.trace_started_at), tx -> 3 ->> 0
    FROM jsonb_array_elements(NEW.metadata_json -> 'transactions') AS tx
    WHERE tx ->> 0 NOT IN ('coinbase', 'fee_transfer')
    ON CONFLICT (hash) DO UPDATE SET
        block_received = least(known.block_received, excluded.block_received), result = least(known.result, excluded.result);
    RETURN NULL;
END $$;
CREATE TRIGGER block_trace_handle_txs AFTER UPDATE ON block_trace FOR EACH ROW
WHEN (NEW.metadata_json ? 'transactions' AND NEW.trace_started_at > 1483228800)
EXECUTE FUNCTION add_block_txs();

CREATE FUNCTION add_interruption() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sw_interruptions (block_trace_id, deployment_id, at, reason, fst_work_id, snd_work_id)
    VALUES (NEW.block_trace_id, NEW.deployment_id, (NEW.metadata_json ->> 'interrupt_get_completed_work_at')::int,
        coalesce(NEW.metadata_json ->> 'interrupt_get_completed_work_reason', ''),
        (NEW.metadata_json -> 'interrupt_get_completed_work_ids' ->> 0)::int,
        (NEW.metadata_json -> 'interrupt_get_completed_work_ids' ->> 1)::int)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER block_trace_sw_interruptions AFTER INSERT OR UPDATE OF metadata_json ON block_trace FOR EACH ROW
WHEN (NEW.metadata_json ? 'interrupt_get_completed_work_at')
EXECUTE FUNCTION add_interruption();

-- Views.

CREATE VIEW tx_diffs AS
SELECT time, diff, node_name, sender, outcome, outcome_reason AS reason, outcome_time
FROM (
    SELECT t.*, lead(action) OVER w AS outcome, lead(reason) OVER w AS outcome_reason, lead(time) OVER w AS outcome_time
    FROM tx_traces t
    WINDOW w AS (PARTITION BY diff, node_name, sender ORDER BY block_trace_checkpoint_id)
) AS paired
WHERE action = 'received';

CREATE VIEW received_txs AS
SELECT d.node_name, d.time, d.sender, d.outcome_time, d.outcome, d.reason, tx ->> 0 AS type, tx ->> 1 AS hash, tx ->> 2 AS memo
FROM tx_diffs d CROSS JOIN jsonb_array_elements(d.diff) AS tx;

CREATE VIEW txs AS
SELECT hash, deployment_id, coalesce(b.type, u.type) AS type, coalesce(b.memo, u.memo) AS memo, u.time, b.block_received,
    b.block_received - u.time AS latency, b.result
FROM unique_txs u FULL JOIN block_txs b USING (hash, deployment_id);

CREATE VIEW experiments AS
WITH parts AS MATERIALIZED (
    SELECT m[1] AS exp, m[2]::int AS round, deployment_id, type, time, latency, block_received, result
    FROM (SELECT txs.*, regexp_match(memo, '^(.*)-(\d+)-(\d+)-(\d+)$') AS m FROM txs OFFSET 0) AS matched
    WHERE m IS NOT NULL
), summary AS (
    SELECT exp, round, deployment_id, count(*) AS total, count(*) FILTER (WHERE type <> 'payment') AS zkapps,
        min(time) AS start, max(time) AS last_time, max(latency) AS max_latency,
        nullif(extract(epoch FROM max(time) - min(time))::int, 0) AS seconds
    FROM parts
    GROUP BY exp, round, deployment_id
)
SELECT exp, round, deployment_id,
    round(total * 60.0 / seconds, 2) AS rate_min,
    round(zkapps * 60.0 / seconds, 2) AS zkapp_rate_min,
    round((total - zkapps) * 60.0 / seconds, 2) AS payment_rate_min,
    date_trunc('seconds', last_time - start) AS duration,
    max_latency,
    round((SELECT count(*) FROM parts p WHERE p.exp = s.exp AND p.round = s.round AND p.block_received IS NULL) * 1.0 / total, 2) AS missed,
    round((SELECT count(*) FROM parts p WHERE p.exp = s.exp AND p.round = s.round AND p.result = 'Failed') * 1.0 / total, 2) AS failed,
    round((SELECT count(*) FROM parts p WHERE p.exp = s.exp AND p.round = s.round AND p.result = 'Applied') * 1.0 / total, 2) AS successful,
    start, total, zkapps
FROM summary s
ORDER BY start;

CREATE VIEW sw_experiments AS
SELECT f[1] AS exp, f[2]::int AS round, deployment_id, fst_work_type AS fst_tx_type, snd_work_type AS snd_tx_type, count(*) AS total_sws,
    min(extract(epoch FROM time_received - time_scheduled)) AS min_received_scheduled_sec,
    avg(extract(epoch FROM time_received - time_scheduled)) AS avg_received_scheduled_sec,
    max(extract(epoch FROM time_received - time_scheduled)) AS max_received_scheduled_sec,
    min(extract(epoch FROM time_received - time_added)) AS min_received_added_sec,
    avg(extract(epoch FROM time_received - time_added)) AS avg_received_added_sec,
    max(extract(epoch FROM time_received - time_added)) AS max_received_added_sec
FROM (
    SELECT u.*, regexp_match(fst_work_tx_memo, '^(.*)-(\d+)-(\d+)-(\d+)$') AS f, regexp_match(snd_work_tx_memo, '^(.*)-(\d+)-(\d+)-(\d+)$') AS s
    FROM uniq_sws u
) AS works
WHERE f[1:2] = s[1:2]
GROUP BY f[1], f[2], deployment_id, fst_work_type, snd_work_type;
