-- +goose Up
-- +goose StatementBegin

-- Deployments, the partitions that hold their data, and the entries of the nodes' internal logs.

CREATE TABLE deployment (
    deployment_id serial PRIMARY KEY,
    metadata_json jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE deployment IS 'One life of a test network. Rows are made by create_deployment, which also makes the partitions.';
COMMENT ON COLUMN deployment.metadata_json IS 'Whatever its maker says about it.';
COMMENT ON COLUMN deployment.created_at IS 'When the row was made.';

CREATE FUNCTION get_max_deployment_id() RETURNS int LANGUAGE sql STABLE AS
$$ SELECT max(deployment_id) FROM deployment $$;
COMMENT ON FUNCTION get_max_deployment_id IS 'The newest deployment: only a default for requests that name none, never for data that belongs to a deployment.';

-- Partitions. A registered table is partitioned by list of deployment_id. One "by day" is, inside each deployment, partitioned again
-- by range of loaded_on, the UTC day on which the fetcher received the entry: the times of a node may be absurd, this one is not.
CREATE TABLE partitioned_table (
    name text PRIMARY KEY,
    by_day boolean NOT NULL
);
COMMENT ON TABLE partitioned_table IS 'Tables of which every deployment has its own partition.';
COMMENT ON COLUMN partitioned_table.by_day IS 'Whether the partition of a deployment has one partition per day (loaded_on).';

CREATE TABLE partition_day (
    deployment_id int NOT NULL REFERENCES deployment,
    day date NOT NULL,
    PRIMARY KEY (deployment_id, day)
);
COMMENT ON TABLE partition_day IS 'Days for which partitions exist.';
COMMENT ON COLUMN partition_day.day IS 'UTC day of loaded_on.';

-- The lock under which partitions are made and dropped; two makers of the same partition would otherwise fail one another.
CREATE FUNCTION lock_partitions() RETURNS void LANGUAGE sql AS
$$ SELECT pg_advisory_xact_lock(hashtextextended('provingground partitions', 0)) $$;

-- A new partition is attached rather than created in place: that does not wait for those who read or write its siblings.
CREATE FUNCTION ensure_deployment(a_deployment int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    t partitioned_table;
    part text;
BEGIN
    PERFORM lock_partitions();
    FOR t IN SELECT * FROM partitioned_table ORDER BY name LOOP
        part := t.name || '_' || a_deployment;
        CONTINUE WHEN to_regclass(quote_ident(part)) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING GENERATED) %s', part, t.name,
            CASE WHEN t.by_day THEN 'PARTITION BY RANGE (loaded_on)' ELSE '' END);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES IN (%s)', t.name, part, a_deployment);
    END LOOP;
END $$;
COMMENT ON FUNCTION ensure_deployment IS 'Makes the partitions of a deployment that are missing.';

CREATE FUNCTION ensure_day(a_deployment int, a_day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    t partitioned_table;
    parent text;
    part text;
BEGIN
    PERFORM lock_partitions();
    INSERT INTO partition_day VALUES (a_deployment, a_day) ON CONFLICT DO NOTHING;
    FOR t IN SELECT * FROM partitioned_table WHERE by_day ORDER BY name LOOP
        parent := t.name || '_' || a_deployment;
        part := parent || '_' || to_char(a_day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(quote_ident(part)) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING GENERATED)', part, parent);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, part, a_day, a_day + 1);
    END LOOP;
END $$;
COMMENT ON FUNCTION ensure_day IS 'Makes the partitions of one deployment and UTC day that are missing. The loader calls it before it writes that day''s first entry; it commits at once, apart from the data.';

CREATE FUNCTION create_deployment(metadata jsonb) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    id int;
BEGIN
    INSERT INTO deployment (metadata_json) VALUES (metadata) RETURNING deployment_id INTO id;
    PERFORM ensure_deployment(id);
    RETURN id;
END $$;
COMMENT ON FUNCTION create_deployment IS 'Makes a deployment with its partitions and returns its id.';

-- For migrations: registers a table and gives it the partitions of what is there already.
CREATE FUNCTION register_partitioned(a_name text, a_by_day boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO partitioned_table VALUES (a_name, a_by_day);
    PERFORM ensure_deployment(deployment_id) FROM deployment;
    PERFORM ensure_day(deployment_id, day) FROM partition_day;
END $$;

CREATE TABLE log_node (
    node_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    deployment_id int NOT NULL REFERENCES deployment,
    node_name varchar NOT NULL,
    host text,
    port int,
    submitter text,
    display_name text,
    is_block_producer boolean,
    first_seen timestamptz NOT NULL DEFAULT now(),
    last_seen timestamptz NOT NULL DEFAULT now(),
    state text,
    listed boolean,
    read_at timestamptz,
    last_error text,
    UNIQUE (deployment_id, node_name)
);
CREATE INDEX ON log_node (node_name);
COMMENT ON TABLE log_node IS 'A node of a deployment. Writer: fetcher.';
COMMENT ON COLUMN log_node.node_name IS 'Last eight characters of the submitter, host and port, joined by hyphens; the same as in block_trace.';
COMMENT ON COLUMN log_node.host IS 'Where its ITN port is; null for a node known only from files.';
COMMENT ON COLUMN log_node.port IS 'Its ITN port.';
COMMENT ON COLUMN log_node.submitter IS 'Public key with which it reports its uptime.';
COMMENT ON COLUMN log_node.display_name IS 'Name from the names file.';
COMMENT ON COLUMN log_node.is_block_producer IS 'By its own answer; null while it has not answered.';
COMMENT ON COLUMN log_node.first_seen IS 'When it was first discovered.';
COMMENT ON COLUMN log_node.last_seen IS 'When it was last discovered or answered.';
COMMENT ON COLUMN log_node.state IS 'connecting, running, backoff or stopped; null for a node known only from files.';
COMMENT ON COLUMN log_node.listed IS 'Whether it is in the latest list of nodes; null for a node known only from files.';
COMMENT ON COLUMN log_node.read_at IS 'When its log was last read to its end and stored, wall time; null before the first time.';
COMMENT ON COLUMN log_node.last_error IS 'What keeps it from being read; null while all is well.';

CREATE TABLE log_cursor (
    deployment_id int NOT NULL REFERENCES deployment,
    node_id int NOT NULL REFERENCES log_node,
    server_uuid uuid NOT NULL,
    next_id bigint NOT NULL CHECK (next_id >= 0),
    entries bigint NOT NULL DEFAULT 0,
    lost bigint NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    last_time timestamptz,
    server_text text,
    carried_from int,
    PRIMARY KEY (deployment_id, node_id, server_uuid)
);
COMMENT ON TABLE log_cursor IS 'How far the log of one life of a node''s daemon has been stored. Moved in the transaction that stores the entries, by UPDATE … WHERE next_id = what was read, so that two fetchers cannot store the same entries. Writer: fetcher.';
COMMENT ON COLUMN log_cursor.server_uuid IS 'The daemon''s life; ids start anew with each.';
COMMENT ON COLUMN log_cursor.next_id IS 'The id to ask for next: one more than the last stored or lost.';
COMMENT ON COLUMN log_cursor.entries IS 'Entries stored.';
COMMENT ON COLUMN log_cursor.lost IS 'Entries known to be lost: the sum of the gaps of known length.';
COMMENT ON COLUMN log_cursor.started_at IS 'When this life was first met. Which one is the present is in log_reader.';
COMMENT ON COLUMN log_cursor.updated_at IS 'When the cursor last moved.';
COMMENT ON COLUMN log_cursor.last_time IS 'The node''s time of the last stored entry; null when there is none, or it was no time that can be.';
COMMENT ON COLUMN log_cursor.server_text IS 'The daemon''s life as the daemon names it, where that is not how server_uuid is written: an unusual spelling, or no UUID, of which server_uuid is then the UUID of version 5.';

COMMENT ON COLUMN log_cursor.carried_from IS 'The deployment that has this life''s last entries, as long as none was stored in this one; null otherwise.';

CREATE TABLE log_reader (
    deployment_id int NOT NULL REFERENCES deployment,
    node_id int NOT NULL REFERENCES log_node,
    server_uuid uuid,
    version bigint NOT NULL DEFAULT 0,
    state text,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (deployment_id, node_id)
);
COMMENT ON TABLE log_reader IS 'Where the reconstruction of a node''s traces stands. Its row is locked while entries of the node are stored. Writer: fetcher, in the transaction that moves the cursor.';
COMMENT ON COLUMN log_reader.server_uuid IS 'The present life of the node''s daemon; null before the first entry.';
COMMENT ON COLUMN log_reader.version IS 'Grows with every change, so that a fetcher knows whether what it remembers still holds.';
ALTER TABLE log_reader ALTER COLUMN state SET STORAGE EXTERNAL; -- written with every batch: compressing it would cost more than it saves
COMMENT ON COLUMN log_reader.state IS 'JSON for the fetcher alone; null when nothing was read.';
COMMENT ON COLUMN log_reader.updated_at IS 'When entries were last stored.';

CREATE FUNCTION deployment_of_end(a_deployment int, a_node int, a_server uuid) RETURNS int LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT c.carried_from FROM log_cursor c JOIN log_node n ON n.node_id = c.node_id JOIN deployment d ON d.deployment_id = c.deployment_id
        WHERE c.deployment_id = a_deployment AND c.node_id = a_node AND c.server_uuid = a_server
            AND (n.read_at IS NULL OR n.read_at < d.created_at)), a_deployment)
$$;
COMMENT ON FUNCTION deployment_of_end IS 'The deployment that lacks the end of a daemon''s life which a fetcher of this one finds over: the one that it was carried over from, if its log was never read in this one, as after a network was made anew; else this one.';

CREATE TABLE log_gap (
    gap_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    deployment_id int NOT NULL REFERENCES deployment,
    node_id int NOT NULL REFERENCES log_node,
    server_uuid uuid NOT NULL,
    from_id bigint NOT NULL,
    to_id bigint,
    lost bigint GENERATED ALWAYS AS (to_id - from_id + 1) STORED,
    time_before timestamptz,
    time_after timestamptz,
    found_at timestamptz NOT NULL DEFAULT now(),
    reason text,
    UNIQUE (deployment_id, node_id, server_uuid, from_id),
    CHECK (to_id >= from_id)
);
COMMENT ON TABLE log_gap IS 'Entries that a node dropped before they were fetched. Narrowed when another fetcher has some of them. Writer: fetcher, in the transaction that moves the cursor over them.';
COMMENT ON COLUMN log_gap.from_id IS 'First lost id.';
COMMENT ON COLUMN log_gap.to_id IS 'Last lost id; null when the daemon ended and nobody knows how many entries it had.';
COMMENT ON COLUMN log_gap.lost IS 'Number of lost entries; null when unknown.';
COMMENT ON COLUMN log_gap.time_before IS 'The node''s time of the last entry before the gap; null when there is none.';
COMMENT ON COLUMN log_gap.time_after IS 'The node''s time of the first entry after the gap; null when there is none.';
COMMENT ON COLUMN log_gap.found_at IS 'When the fetcher noticed.';
COMMENT ON COLUMN log_gap.reason IS 'before-first-fetch, dropped, restart or too-large; null when unknown.';

CREATE TABLE log_malformed (
    deployment_id int NOT NULL REFERENCES deployment,
    node_id int NOT NULL REFERENCES log_node,
    server_uuid uuid NOT NULL,
    log_id bigint NOT NULL,
    reason text NOT NULL,
    raw text NOT NULL,
    found_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX ON log_malformed (deployment_id, node_id, server_uuid, log_id, md5(reason || raw));
COMMENT ON TABLE log_malformed IS 'Entries that a node answered but that are not what an entry should be; they are not in log_entry. Writer: fetcher, in the transaction that moves the cursor over them.';
COMMENT ON COLUMN log_malformed.log_id IS 'The daemon''s number of the entry; 0 when it could not be read, negative when the daemon said so.';
COMMENT ON COLUMN log_malformed.reason IS 'What is wrong with it.';
COMMENT ON COLUMN log_malformed.raw IS 'The beginning of its JSON, or of the line of a file; empty when it was not at hand.';
COMMENT ON COLUMN log_malformed.found_at IS 'When it was fetched.';

CREATE TABLE log_problem (
    deployment_id int NOT NULL REFERENCES deployment,
    node_id int NOT NULL REFERENCES log_node,
    server_uuid uuid NOT NULL,
    from_id bigint NOT NULL,
    to_id bigint NOT NULL,
    problem text NOT NULL,
    found_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (deployment_id, node_id, server_uuid, from_id)
);
COMMENT ON TABLE log_problem IS 'Entries that are in log_entry but of which nothing was derived, because the database refused it or they came after those behind them; and malformed ones that log_malformed refused. Writer: fetcher.';
COMMENT ON COLUMN log_problem.from_id IS 'First entry.';
COMMENT ON COLUMN log_problem.to_id IS 'Last entry.';
COMMENT ON COLUMN log_problem.problem IS 'What the database said, or why else.';

CREATE TABLE log_entry (
    deployment_id int NOT NULL,
    node_id int NOT NULL,
    server_uuid uuid NOT NULL,
    log_id bigint NOT NULL,
    loaded_on date NOT NULL,
    fetched_at timestamptz NOT NULL,
    logged_at timestamptz,
    process text,
    message text NOT NULL,
    metadata jsonb,
    damaged boolean NOT NULL DEFAULT false,
    PRIMARY KEY (deployment_id, node_id, server_uuid, log_id, loaded_on)
) PARTITION BY LIST (deployment_id);
COMMENT ON TABLE log_entry IS 'Each entry of each node''s internal log, once, as the node gave it. The key holds within a day; across days the cursor sees to it. Writer: fetcher, by COPY.';
COMMENT ON COLUMN log_entry.log_id IS 'The daemon''s number of the entry.';
COMMENT ON COLUMN log_entry.loaded_on IS 'UTC day of fetched_at: the partition.';
COMMENT ON COLUMN log_entry.fetched_at IS 'When the fetcher received it.';
COMMENT ON COLUMN log_entry.logged_at IS 'The node''s time; null when it was not a time, or not one that can be.';
COMMENT ON COLUMN log_entry.process IS 'prover, verifier, or null for the daemon itself.';
COMMENT ON COLUMN log_entry.message IS 'Name of the checkpoint, or @control.';
COMMENT ON COLUMN log_entry.metadata IS 'Items and values as one object; null when there are none.';
COMMENT ON COLUMN log_entry.damaged IS 'Whether something that PostgreSQL cannot hold, such as a NUL character or invalid UTF-8, was replaced by U+FFFD.';
SELECT register_partitioned('log_entry', true);

-- +goose StatementEnd
