-- +goose Up
-- +goose StatementBegin

-- What the uptime service knows: reports that it accepted, the list of online nodes, and who may report. Several services may share
-- these tables. They belong to no deployment: the service hears nodes before and after one is made.

CREATE TABLE submissions (
    submitted_at_date date NOT NULL GENERATED ALWAYS AS ((submitted_at AT TIME ZONE 'UTC')::date) STORED,
    submitted_at timestamptz NOT NULL,
    submitter text NOT NULL,
    created_at timestamptz NOT NULL,
    block_hash text NOT NULL,
    remote_addr text NOT NULL,
    peer_id text NOT NULL,
    graphql_control_port int CHECK (graphql_control_port BETWEEN 1 AND 65535),
    built_with_commit_sha text,
    digest bytea NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (submitter, digest)
);
CREATE INDEX ON submissions (submitter, submitted_at);
CREATE INDEX ON submissions (submitted_at);
COMMENT ON TABLE submissions IS 'Reports of nodes that were accepted: signed by a key that may report, and new. They are the history, what a repeated report is known by, and what the hourly limit of a key counts. Columns of the same name mean the same as in the existing service''s table; blocks and SNARK work are not stored. Old rows are removed. Writer: uptime service.';
COMMENT ON COLUMN submissions.submitted_at_date IS 'UTC day of submitted_at.';
COMMENT ON COLUMN submissions.submitted_at IS 'When the service received it, by the service''s clock.';
COMMENT ON COLUMN submissions.submitter IS 'Public key that signed it.';
COMMENT ON COLUMN submissions.created_at IS 'When the node made it, by the node''s clock; whole seconds.';
COMMENT ON COLUMN submissions.block_hash IS 'Hash of the block''s bytes, by which object storage names it. It is not the state hash.';
COMMENT ON COLUMN submissions.remote_addr IS 'IP address from which it came, in canonical form, without port.';
COMMENT ON COLUMN submissions.peer_id IS 'The node''s libp2p peer ID, as it says.';
COMMENT ON COLUMN submissions.graphql_control_port IS 'Port of the node''s ITN GraphQL, as it says; null when it names none.';
COMMENT ON COLUMN submissions.built_with_commit_sha IS 'Commit that the node was built from, as it says; null when it does not.';
COMMENT ON COLUMN submissions.digest IS 'BLAKE2b-256 of the signed text. Another submitter may sign the same text.';

CREATE TABLE uptime_node (
    submitter text NOT NULL,
    peer_id text NOT NULL,
    remote_addr text NOT NULL,
    graphql_control_port int CHECK (graphql_control_port BETWEEN 1 AND 65535),
    built_with_commit_sha text,
    created_at timestamptz NOT NULL,
    last_seen timestamptz NOT NULL,
    PRIMARY KEY (submitter, peer_id)
);
COMMENT ON TABLE uptime_node IS 'Nodes that reported lately, one row for each peer of a submitter: what its report with the newest created_at says. A node is online until the service''s retention has passed since last_seen; its row goes a little later. Writer: uptime service, in the transaction that stores the report.';
COMMENT ON COLUMN uptime_node.submitter IS 'Public key that signs its reports.';
COMMENT ON COLUMN uptime_node.peer_id IS 'Its libp2p peer ID, as it says.';
COMMENT ON COLUMN uptime_node.remote_addr IS 'IP address from which it reported, in canonical form, without port.';
COMMENT ON COLUMN uptime_node.graphql_control_port IS 'Port of its ITN GraphQL, as it says; null when it names none.';
COMMENT ON COLUMN uptime_node.built_with_commit_sha IS 'Commit that it was built from, as it says; null when it does not.';
COMMENT ON COLUMN uptime_node.created_at IS 'When it made that report, by its own clock.';
COMMENT ON COLUMN uptime_node.last_seen IS 'When the service received that report, by the service''s clock.';

CREATE TABLE uptime_whitelist (
    submitter text PRIMARY KEY,
    note text,
    added_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE uptime_whitelist IS 'Who may report to an uptime service that takes its whitelist from the database; it looks every few seconds. Writer: operators, with INSERT and DELETE.';
COMMENT ON COLUMN uptime_whitelist.submitter IS 'Public key, B62…; the service ignores other texts, and says so.';
COMMENT ON COLUMN uptime_whitelist.note IS 'Whatever its maker says about it.';
COMMENT ON COLUMN uptime_whitelist.added_at IS 'When the row was made.';

-- +goose StatementEnd
