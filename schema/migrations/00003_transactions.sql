-- +goose Up
-- +goose StatementBegin

-- Transactions, blocks and SNARK work per deployment, and the summaries of experiments. Everything here is derived from the traces and
-- maintained set-wise: the loader calls store_received_txs, store_block, settle_chain and store_sws once per batch. A "hash" is the
-- fee payer's signature, as in the nodes' logs.
--
-- A partition holds one deployment, so its indexes begin with what tells rows apart inside it. The functions join from the
-- batch to the table by index, and say so by LATERAL with OFFSET 0 and their settings: without statistics yet, PostgreSQL would
-- otherwise read the whole table for each batch (measured: the time per batch grew with the table).
--
-- A memo of an experiment is <exp>-<round>-<batch>-<ix>; the parts are computed once, when the row is stored.

CREATE FUNCTION is_experiment(memo text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT length(memo) <= 255 AND memo ~ '-[0-9]{1,9}-[0-9]{1,9}-[0-9]{1,9}$' $$;
COMMENT ON FUNCTION is_experiment IS 'Whether a memo has the form <exp>-<round>-<batch>-<ix>, with numbers of at most nine digits.';

CREATE FUNCTION memo_number(memo text, part int) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT CASE WHEN is_experiment(memo) THEN split_part(memo, '-', part)::int END $$;
COMMENT ON FUNCTION memo_number IS 'Round (-3), batch (-2) or index (-1) of an experiment''s memo; null for other memos.';

CREATE FUNCTION memo_exp(memo text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT CASE WHEN is_experiment(memo) THEN left(memo, -3 - length(split_part(memo, '-', -3))
    - length(split_part(memo, '-', -2)) - length(split_part(memo, '-', -1))) END $$;
COMMENT ON FUNCTION memo_exp IS 'Name of the experiment in a memo; null for other memos.';

CREATE TABLE unique_txs (
    hash varchar(128) NOT NULL,
    deployment_id int NOT NULL,
    type varchar(64) NOT NULL,
    memo text COLLATE "C",
    time timestamptz NOT NULL,
    sent_at timestamptz,
    outcome text,
    exp text GENERATED ALWAYS AS (memo_exp(memo)) STORED,
    round int GENERATED ALWAYS AS (memo_number(memo, -3)) STORED,
    batch int GENERATED ALWAYS AS (memo_number(memo, -2)) STORED,
    ix int GENERATED ALWAYS AS (memo_number(memo, -1)) STORED,
    part int GENERATED ALWAYS AS (memo_number(memo, -1) / 256) STORED,
    PRIMARY KEY (hash, deployment_id)
) PARTITION BY LIST (deployment_id);
CREATE INDEX ON unique_txs (memo);
CREATE INDEX ON unique_txs (exp, round, batch, part);
COMMENT ON TABLE unique_txs IS 'Transactions that some node received. Writers: store_received_txs, store_own_txs.';
COMMENT ON COLUMN unique_txs.time IS 'When the first node received it, by that node''s clock.';
COMMENT ON COLUMN unique_txs.sent_at IS 'When a node received it that is itself the source of it: its sender; null when no log showed that.';
COMMENT ON COLUMN unique_txs.outcome IS 'accepted or rejected, by the pool of the node that sent it; accepted when it said both; null when no log showed either.';
COMMENT ON COLUMN unique_txs.memo IS 'Compared byte by byte, so that the memos of one batch are one range of the index.';
COMMENT ON COLUMN unique_txs.type IS 'payment, or zkapp:<updates>:<proofs>.';
COMMENT ON COLUMN unique_txs.exp IS 'Experiment by the memo; null when the memo is not that of an experiment. So are round, batch and ix.';
COMMENT ON COLUMN unique_txs.batch IS 'Batch within the round: one schedule of one node.';
COMMENT ON COLUMN unique_txs.ix IS 'Index within the batch.';
SELECT register_partitioned('unique_txs', false);

CREATE TABLE block (
    deployment_id int NOT NULL REFERENCES deployment,
    state_hash varchar(128) NOT NULL,
    previous_state_hash varchar(128),
    blockchain_length int NOT NULL,
    global_slot int NOT NULL,
    first_received timestamptz NOT NULL,
    canonical boolean NOT NULL DEFAULT false,
    settled boolean NOT NULL DEFAULT false,
    PRIMARY KEY (state_hash, deployment_id)
);
CREATE INDEX ON block (deployment_id, blockchain_length);
CREATE INDEX ON block (deployment_id) WHERE NOT settled;
COMMENT ON TABLE block IS 'Blocks that some node processed. Writers: store_block, settle_chain.';
COMMENT ON COLUMN block.first_received IS 'When the first node started on it, by that node''s clock.';
COMMENT ON COLUMN block.canonical IS 'Whether it is on the best chain: the longest; among equals the one received first. A block that is not is orphaned.';
COMMENT ON COLUMN block.settled IS 'Whether settle_chain has seen it.';

CREATE TABLE block_tx (
    deployment_id int NOT NULL,
    state_hash varchar(128) NOT NULL,
    hash varchar(128) NOT NULL,
    type varchar(64) NOT NULL,
    memo text COLLATE "C",
    result varchar(64) NOT NULL,
    exp text GENERATED ALWAYS AS (memo_exp(memo)) STORED,
    round int GENERATED ALWAYS AS (memo_number(memo, -3)) STORED,
    batch int GENERATED ALWAYS AS (memo_number(memo, -2)) STORED,
    part int GENERATED ALWAYS AS (memo_number(memo, -1) / 256) STORED,
    PRIMARY KEY (state_hash, hash, deployment_id)
) PARTITION BY LIST (deployment_id);
CREATE INDEX ON block_tx (hash);
COMMENT ON TABLE block_tx IS 'User transactions of every block, orphaned ones included. Writer: store_block.';
COMMENT ON COLUMN block_tx.result IS 'Applied or Failed, in this block.';
SELECT register_partitioned('block_tx', false);

CREATE TABLE block_txs (
    hash varchar(128) NOT NULL,
    deployment_id int NOT NULL,
    type varchar(64) NOT NULL,
    memo text COLLATE "C",
    block_received timestamptz NOT NULL,
    result varchar(64) NOT NULL,
    state_hash varchar(128) NOT NULL,
    blockchain_length int NOT NULL,
    global_slot int NOT NULL,
    exp text,
    round int,
    batch int,
    part int,
    PRIMARY KEY (hash, deployment_id)
) PARTITION BY LIST (deployment_id);
CREATE INDEX ON block_txs (exp, round, batch, part);
CREATE INDEX ON block_txs (memo);
COMMENT ON TABLE block_txs IS 'Transactions included in the best chain, with the result there. Writer: settle_chain.';
COMMENT ON COLUMN block_txs.block_received IS 'When the first node started on that block, by that node''s clock.';
COMMENT ON COLUMN block_txs.result IS 'Applied or Failed.';
SELECT register_partitioned('block_txs', false);

CREATE VIEW txs AS
SELECT hash, deployment_id, coalesce(b.type, u.type) AS type, coalesce(b.memo, u.memo) AS memo, u.time, b.block_received,
    b.block_received - u.time AS latency, b.result,
    coalesce(u.exp, b.exp) AS exp, coalesce(u.round, b.round) AS round, coalesce(u.batch, b.batch) AS batch, u.ix, b.global_slot
FROM unique_txs u FULL JOIN block_txs b USING (deployment_id, hash);
COMMENT ON VIEW txs IS 'Transactions of each deployment: received at time, included in the best chain at block_received; latency is the difference. No block_received means not included.';

CREATE TABLE experiment_batch (
    deployment_id int NOT NULL REFERENCES deployment,
    exp text NOT NULL,
    round int NOT NULL,
    batch int NOT NULL,
    part int NOT NULL,
    total bigint NOT NULL,
    zkapps bigint NOT NULL,
    missed bigint NOT NULL,
    failed bigint NOT NULL,
    successful bigint NOT NULL,
    first_time timestamptz,
    last_time timestamptz,
    max_latency interval,
    PRIMARY KEY (deployment_id, exp, round, batch, part)
);
COMMENT ON TABLE experiment_batch IS 'Summary of 256 transactions of one batch, so that a new one costs the same however large its batch is; the view experiments adds them up. Writer: refresh_experiments.';
COMMENT ON COLUMN experiment_batch.missed IS 'Transactions received but not in the best chain.';
COMMENT ON COLUMN experiment_batch.zkapps IS 'Transactions whose type is not payment.';

CREATE FUNCTION refresh_experiments(a_deployment int, a_exps text[], a_rounds int[], a_batches int[], a_parts int[]) RETURNS void LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    DELETE FROM experiment_batch e USING unnest(a_exps, a_rounds, a_batches, a_parts) AS k(exp, round, batch, part)
    WHERE e.deployment_id = a_deployment AND (e.exp, e.round, e.batch, e.part) = (k.exp, k.round, k.batch, k.part);
    INSERT INTO experiment_batch
    SELECT a_deployment, exp, round, batch, part, count(*), count(*) FILTER (WHERE type <> 'payment'),
        count(*) FILTER (WHERE result IS NULL), count(*) FILTER (WHERE result = 'Failed'), count(*) FILTER (WHERE result = 'Applied'),
        min(time), max(time), max(block_received - time)
    FROM (
        SELECT k.*, coalesce(b.type, u.type) AS type, u.time, b.block_received, b.result
        FROM unnest(a_exps, a_rounds, a_batches, a_parts) AS k(exp, round, batch, part)
        CROSS JOIN LATERAL (SELECT * FROM unique_txs
            WHERE deployment_id = a_deployment AND (exp, round, batch, part) = (k.exp, k.round, k.batch, k.part) OFFSET 0) AS u
        LEFT JOIN LATERAL (SELECT * FROM block_txs WHERE deployment_id = a_deployment AND hash = u.hash OFFSET 0) AS b ON true
        UNION ALL -- included without any node having told of its reception
        SELECT k.*, b.type, NULL, b.block_received, b.result
        FROM unnest(a_exps, a_rounds, a_batches, a_parts) AS k(exp, round, batch, part)
        CROSS JOIN LATERAL (SELECT * FROM block_txs
            WHERE deployment_id = a_deployment AND (exp, round, batch, part) = (k.exp, k.round, k.batch, k.part) OFFSET 0) AS b
        LEFT JOIN LATERAL (SELECT hash FROM unique_txs WHERE deployment_id = a_deployment AND hash = b.hash OFFSET 0) AS u ON true
        WHERE u.hash IS NULL
    ) AS tx
    GROUP BY exp, round, batch, part;
END $$;
COMMENT ON FUNCTION refresh_experiments IS 'Computes the summaries of these batches, each named once, anew from their transactions. The functions below call it; the loader need not.';

-- One loader at a time changes what is derived for a deployment; the lock lasts to the end of the transaction.
CREATE FUNCTION lock_derived(a_deployment int) RETURNS void LANGUAGE sql AS
$$ SELECT pg_advisory_xact_lock(hashtextextended('provingground derived', a_deployment)) $$;

CREATE FUNCTION store_received_txs(a_deployment int, a_hashes text[], a_types text[], a_memos text[], a_times timestamptz[])
RETURNS void LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    exps text[];
    rounds int[];
    batches int[];
    parts int[];
BEGIN
    PERFORM lock_derived(a_deployment);
    WITH changed AS (
        INSERT INTO unique_txs AS old (hash, deployment_id, type, memo, time)
        SELECT DISTINCT ON (hash) hash, a_deployment, type, memo, time
        FROM unnest(a_hashes, a_types, a_memos, a_times) AS t(hash, type, memo, time)
        ORDER BY hash, time
        ON CONFLICT (hash, deployment_id) DO UPDATE SET time = excluded.time WHERE excluded.time < old.time
        RETURNING exp, round, batch, part
    ), keys AS (SELECT DISTINCT exp, round, batch, part FROM changed WHERE exp IS NOT NULL)
    SELECT array_agg(exp), array_agg(round), array_agg(batch), array_agg(part) INTO exps, rounds, batches, parts FROM keys;
    IF exps IS NOT NULL THEN
        PERFORM refresh_experiments(a_deployment, exps, rounds, batches, parts);
    END IF;
END $$;
COMMENT ON FUNCTION store_received_txs IS 'Takes the transactions of one batch''s received diffs, in any order, repeats allowed; the earliest time of each is kept.';

CREATE FUNCTION store_own_txs(a_deployment int, a_hashes text[], a_types text[], a_memos text[], a_times timestamptz[], a_outcomes text[])
RETURNS void LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    exps text[];
    rounds int[];
    batches int[];
    parts int[];
BEGIN
    PERFORM lock_derived(a_deployment);
    WITH added AS (
        INSERT INTO unique_txs (hash, deployment_id, type, memo, time, sent_at, outcome)
        SELECT hash, a_deployment, min(type), min(memo), min(time), min(time) FILTER (WHERE outcome IS NULL), min(outcome)
        FROM unnest(a_hashes, a_types, a_memos, a_times, a_outcomes) AS t(hash, type, memo, time, outcome)
        GROUP BY hash
        ORDER BY hash
        ON CONFLICT DO NOTHING
        RETURNING exp, round, batch, part
    ), changed AS ( -- whoever judges a transaction has received it
        UPDATE unique_txs u SET time = least(u.time, own.time), sent_at = least(u.sent_at, own.sent_at), outcome = least(u.outcome, own.outcome)
        FROM (
            SELECT hash, min(time) AS time, min(time) FILTER (WHERE outcome IS NULL) AS sent_at, min(outcome) AS outcome
            FROM unnest(a_hashes, a_times, a_outcomes) AS t(hash, time, outcome)
            GROUP BY hash
        ) AS own JOIN unique_txs old ON old.deployment_id = a_deployment AND old.hash = own.hash
        WHERE u.deployment_id = a_deployment AND u.hash = own.hash
            AND (u.time, u.sent_at, u.outcome) IS DISTINCT FROM (least(u.time, own.time), least(u.sent_at, own.sent_at), least(u.outcome, own.outcome))
        RETURNING u.exp, u.round, u.batch, u.part, own.time < old.time AS earlier
    ), keys AS (
        SELECT exp, round, batch, part FROM added WHERE exp IS NOT NULL
        UNION SELECT exp, round, batch, part FROM changed WHERE exp IS NOT NULL AND earlier
    )
    SELECT array_agg(exp), array_agg(round), array_agg(batch), array_agg(part) INTO exps, rounds, batches, parts FROM keys;
    IF exps IS NOT NULL THEN
        PERFORM refresh_experiments(a_deployment, exps, rounds, batches, parts);
    END IF;
END $$;
COMMENT ON FUNCTION store_own_txs IS 'Takes the transactions of one batch''s events that have no sender, the node being the source itself: outcome is null for received, else accepted or rejected. After store_received_txs with the received ones; in any order, repeats allowed. Whoever judges a transaction has received it: its time is not later.';

CREATE FUNCTION store_block(a_deployment int, a_state_hash text, a_previous text, a_length int, a_slot int, a_received timestamptz,
    a_hashes text[], a_types text[], a_memos text[], a_results text[]) RETURNS void LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    PERFORM lock_derived(a_deployment);
    INSERT INTO block AS old (deployment_id, state_hash, previous_state_hash, blockchain_length, global_slot, first_received)
    VALUES (a_deployment, a_state_hash, a_previous, a_length, a_slot, a_received)
    ON CONFLICT (state_hash, deployment_id) DO UPDATE
    SET first_received = least(old.first_received, excluded.first_received),
        previous_state_hash = coalesce(old.previous_state_hash, excluded.previous_state_hash), settled = false
    WHERE excluded.first_received < old.first_received
        OR old.previous_state_hash IS NULL AND excluded.previous_state_hash IS NOT NULL;
    WITH added AS (
        INSERT INTO block_tx (deployment_id, state_hash, hash, type, memo, result)
        SELECT DISTINCT ON (hash) a_deployment, a_state_hash, hash, type, memo, result
        FROM unnest(a_hashes, a_types, a_memos, a_results) AS t(hash, type, memo, result)
        WHERE type NOT IN ('coinbase', 'fee_transfer')
        ORDER BY hash
        ON CONFLICT DO NOTHING
        RETURNING 1
    )
    UPDATE block SET settled = false
    WHERE deployment_id = a_deployment AND state_hash = a_state_hash AND EXISTS (SELECT FROM added);
END $$;
COMMENT ON FUNCTION store_block IS 'Takes a block as one node saw it; again for other nodes changes only what is earlier or was unknown. settle_chain makes it count.';

CREATE FUNCTION settle_chain(a_deployment int) RETURNS void LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    low int;
    lowest int;
    cur block;
    parent block;
    path text[] := '{}';
    changed text[];
    affected text[];
    exps text[];
    rounds int[];
    batches int[];
    parts int[];
BEGIN
    PERFORM lock_derived(a_deployment);
    SELECT min(blockchain_length) INTO low FROM block WHERE deployment_id = a_deployment AND NOT settled;
    IF low IS NULL THEN
        RETURN;
    END IF;
    SELECT * INTO cur FROM block WHERE deployment_id = a_deployment ORDER BY blockchain_length DESC, first_received, state_hash LIMIT 1;
    -- Down the best chain, until everything above is known to be right. Where a parent was never seen, the best block below goes on.
    LOOP
        path := path || cur.state_hash::text;
        lowest := cur.blockchain_length;
        EXIT WHEN cur.canonical AND cur.settled AND cur.blockchain_length <= low;
        SELECT * INTO parent FROM block
        WHERE deployment_id = a_deployment AND state_hash = cur.previous_state_hash AND blockchain_length < cur.blockchain_length;
        IF NOT FOUND THEN
            SELECT * INTO parent FROM block
            WHERE deployment_id = a_deployment AND blockchain_length < cur.blockchain_length
            ORDER BY blockchain_length DESC, first_received, state_hash LIMIT 1;
            EXIT WHEN NOT FOUND;
        END IF;
        cur := parent;
    END LOOP;
    WITH done AS (
        UPDATE block SET canonical = (state_hash = ANY (path)), settled = true
        WHERE deployment_id = a_deployment AND blockchain_length >= lowest
            AND (NOT settled OR canonical <> (state_hash = ANY (path)))
        RETURNING state_hash
    )
    SELECT array_agg(state_hash) INTO changed FROM done;
    SELECT array_agg(DISTINCT hash) INTO affected FROM block_tx WHERE deployment_id = a_deployment AND state_hash = ANY (changed);
    IF affected IS NULL THEN
        RETURN;
    END IF;
    DELETE FROM block_txs WHERE deployment_id = a_deployment AND hash = ANY (affected);
    INSERT INTO block_txs
    SELECT DISTINCT ON (t.hash) t.hash, t.deployment_id, t.type, t.memo, b.first_received, t.result, b.state_hash, b.blockchain_length,
        b.global_slot, t.exp, t.round, t.batch, t.part
    FROM unnest(affected) AS a(hash)
    CROSS JOIN LATERAL (SELECT * FROM block_tx WHERE deployment_id = a_deployment AND hash = a.hash OFFSET 0) AS t
    CROSS JOIN LATERAL (SELECT * FROM block WHERE deployment_id = a_deployment AND state_hash = t.state_hash OFFSET 0) AS b
    WHERE b.canonical
    ORDER BY t.hash, b.blockchain_length;
    WITH keys AS (
        SELECT DISTINCT exp, round, batch, part FROM block_tx
        WHERE deployment_id = a_deployment AND hash = ANY (affected) AND exp IS NOT NULL
    )
    SELECT array_agg(exp), array_agg(round), array_agg(batch), array_agg(part) INTO exps, rounds, batches, parts FROM keys;
    IF exps IS NOT NULL THEN
        PERFORM refresh_experiments(a_deployment, exps, rounds, batches, parts);
    END IF;
END $$;
COMMENT ON FUNCTION settle_chain IS 'Decides anew which blocks are on the best chain, after store_block, and brings block_txs and the experiments in line. Once per batch; costs little when no block is new.';

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
    time_scheduled timestamptz,
    exp text GENERATED ALWAYS AS (coalesce(memo_exp(fst_work_tx_memo), memo_exp(snd_work_tx_memo))) STORED,
    round int GENERATED ALWAYS AS (CASE WHEN memo_exp(fst_work_tx_memo) IS NULL THEN memo_number(snd_work_tx_memo, -3)
        ELSE memo_number(fst_work_tx_memo, -3) END) STORED,
    UNIQUE NULLS NOT DISTINCT (fst_work_id, snd_work_id, deployment_id)
) PARTITION BY LIST (deployment_id);
COMMENT ON TABLE uniq_sws IS 'SNARK works, one or two transactions each. Writer: store_sws.';
COMMENT ON COLUMN uniq_sws.time_added IS 'Earliest by any node''s clock; so are time_received and time_scheduled.';
COMMENT ON COLUMN uniq_sws.exp IS 'Experiment of the first transaction that belongs to one; so is round.';
SELECT register_partitioned('uniq_sws', false);

CREATE FUNCTION store_sws(a_deployment int, a_loaded_on date, a_ids bigint[]) RETURNS void LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    PERFORM lock_derived(a_deployment);
    INSERT INTO uniq_sws AS old (deployment_id, fst_work_id, snd_work_id, fee, prover, sender, fst_work_type, snd_work_type,
        fst_work_tx_hash, snd_work_tx_hash, fst_work_tx_memo, snd_work_tx_memo, time_added, time_received, time_scheduled)
    SELECT a_deployment, fst_work_id, snd_work_id,
        (array_agg(fee ORDER BY block_trace_checkpoint_id) FILTER (WHERE fee IS NOT NULL))[1],
        (array_agg(prover ORDER BY block_trace_checkpoint_id) FILTER (WHERE prover IS NOT NULL))[1],
        (array_agg(sender ORDER BY block_trace_checkpoint_id) FILTER (WHERE sender IS NOT NULL))[1],
        max(fst_work_type), max(snd_work_type), max(fst_work_tx_hash), max(snd_work_tx_hash), max(fst_work_tx_memo), max(snd_work_tx_memo),
        min(time) FILTER (WHERE action = 'added'), min(time) FILTER (WHERE action = 'received'), min(time) FILTER (WHERE action = 'scheduled')
    FROM unnest(a_ids) AS k(id)
    CROSS JOIN LATERAL (SELECT * FROM sw_traces
        WHERE deployment_id = a_deployment AND loaded_on = a_loaded_on AND block_trace_checkpoint_id = k.id OFFSET 0) AS t
    GROUP BY fst_work_id, snd_work_id
    ON CONFLICT (fst_work_id, snd_work_id, deployment_id) DO UPDATE SET
        fee = coalesce(old.fee, excluded.fee), prover = coalesce(old.prover, excluded.prover), sender = coalesce(old.sender, excluded.sender),
        fst_work_type = coalesce(old.fst_work_type, excluded.fst_work_type), snd_work_type = coalesce(old.snd_work_type, excluded.snd_work_type),
        fst_work_tx_hash = coalesce(old.fst_work_tx_hash, excluded.fst_work_tx_hash),
        snd_work_tx_hash = coalesce(old.snd_work_tx_hash, excluded.snd_work_tx_hash),
        fst_work_tx_memo = coalesce(old.fst_work_tx_memo, excluded.fst_work_tx_memo),
        snd_work_tx_memo = coalesce(old.snd_work_tx_memo, excluded.snd_work_tx_memo),
        time_added = least(old.time_added, excluded.time_added), time_received = least(old.time_received, excluded.time_received),
        time_scheduled = least(old.time_scheduled, excluded.time_scheduled)
    WHERE excluded.time_added < coalesce(old.time_added, 'infinity') OR excluded.time_received < coalesce(old.time_received, 'infinity')
        OR excluded.time_scheduled < coalesce(old.time_scheduled, 'infinity')
        OR old.fee IS NULL AND excluded.fee IS NOT NULL OR old.prover IS NULL AND excluded.prover IS NOT NULL OR old.sender IS NULL AND excluded.sender IS NOT NULL
        OR old.fst_work_type IS NULL AND excluded.fst_work_type IS NOT NULL OR old.snd_work_type IS NULL AND excluded.snd_work_type IS NOT NULL
        OR old.fst_work_tx_hash IS NULL AND excluded.fst_work_tx_hash IS NOT NULL OR old.snd_work_tx_hash IS NULL AND excluded.snd_work_tx_hash IS NOT NULL;
END $$;
COMMENT ON FUNCTION store_sws IS 'Takes over SNARK pool events that the same transaction has put into sw_traces, by their ids. The loader may leave out those that say nothing new.';

CREATE VIEW experiments AS
SELECT exp, round, deployment_id,
    round(total * 60.0 / seconds, 2) AS rate_min,
    round(zkapps * 60.0 / seconds, 2) AS zkapp_rate_min,
    round((total - zkapps) * 60.0 / seconds, 2) AS payment_rate_min,
    date_trunc('seconds', last_time - start) AS duration,
    max_latency,
    round(missed * 1.0 / total, 2) AS missed,
    round(failed * 1.0 / total, 2) AS failed,
    round(successful * 1.0 / total, 2) AS successful,
    start, total, zkapps
FROM (
    SELECT exp, round, deployment_id, sum(total)::bigint AS total, sum(zkapps)::bigint AS zkapps, sum(missed) AS missed, sum(failed) AS failed,
        sum(successful) AS successful, min(first_time) AS start, max(last_time) AS last_time, max(max_latency) AS max_latency,
        nullif(extract(epoch FROM max(last_time) - min(first_time))::int, 0) AS seconds
    FROM experiment_batch
    GROUP BY exp, round, deployment_id
) AS summary
ORDER BY start;
COMMENT ON VIEW experiments IS 'Rounds of experiments per deployment. Rates are per minute between first and last reception, null when that is no time; shares are of this round and deployment, from 0 to 1.';

CREATE VIEW sw_experiments AS
SELECT exp, round, deployment_id, fst_work_type AS fst_tx_type, snd_work_type AS snd_tx_type, count(*) AS total_sws,
    min(extract(epoch FROM time_received - time_scheduled)) AS min_received_scheduled_sec,
    avg(extract(epoch FROM time_received - time_scheduled)) AS avg_received_scheduled_sec,
    max(extract(epoch FROM time_received - time_scheduled)) AS max_received_scheduled_sec,
    min(extract(epoch FROM time_received - time_added)) AS min_received_added_sec,
    avg(extract(epoch FROM time_received - time_added)) AS avg_received_added_sec,
    max(extract(epoch FROM time_received - time_added)) AS max_received_added_sec
FROM uniq_sws
WHERE exp IS NOT NULL
GROUP BY exp, round, deployment_id, fst_work_type, snd_work_type
ORDER BY deployment_id, exp, round, fst_work_type, snd_work_type;
COMMENT ON VIEW sw_experiments IS 'SNARK works per round and transaction types. A work counts once: for the round of its first transaction that belongs to an experiment, also when it has one transaction or two of different rounds.';

-- +goose StatementEnd
