SELECT create_deployment('{}');
UPDATE deployment SET created_at = '2024-05-01 09:00Z';
SELECT ensure_day(1, '2024-05-01');
INSERT INTO log_node (deployment_id, node_name, host, port, read_at) VALUES
    (1, '-10.0.0.1-3086', '10.0.0.1', 3086, '2024-05-01 11:00Z'), (1, '-10.0.0.2-3086', '10.0.0.2', 3086, '2024-05-01 11:00Z');
INSERT INTO log_cursor (deployment_id, node_id, server_uuid, next_id, started_at) SELECT 1, node_id, '00000000-0000-0000-0000-000000000001', 9, '2024-05-01 09:00Z' FROM log_node;
INSERT INTO block_trace (deployment_id, node_name, block_id, source, status, blockchain_length, trace_completed_at)
    SELECT 1, node_name, '3NB', 'External', 'Success', 11, extract(epoch FROM '2024-05-01 10:06:00.3Z'::timestamptz) FROM log_node;
INSERT INTO tx_traces (block_trace_checkpoint_id, node_name, action, time, diff, sender, reason, deployment_id, loaded_on) VALUES
    (1, '-10.0.0.1-3086', 'received', '2024-05-01 10:00:00Z', '[["payment", "7mX0", "churn-0-0-0"]]', NULL, NULL, 1, '2024-05-01'),
    (2, '-10.0.0.1-3086', 'accepted', '2024-05-01 10:00:01Z', '[["payment", "7mX0", "churn-0-0-0"]]', NULL, NULL, 1, '2024-05-01'),
    (3, '-10.0.0.2-3086', 'received', '2024-05-01 10:00:02Z', '[["payment", "7mX0", "churn-0-0-0"]]', 'peer', NULL, 1, '2024-05-01'),
    (4, '-10.0.0.1-3086', 'received', '2024-05-01 10:00:10Z', '[["payment", "7mX1", "churn-0-0-1"]]', NULL, NULL, 1, '2024-05-01'),
    (5, '-10.0.0.1-3086', 'rejected', '2024-05-01 10:00:10Z', '[["payment", "7mX1", "churn-0-0-1"]]', NULL, 'Insufficient_fee', 1, '2024-05-01'),
    (6, '-10.0.0.1-3086', 'received', '2024-05-01 10:00:20.5Z', '[["payment", "7mX2", "churn-0-0-2"]]', NULL, NULL, 1, '2024-05-01');
SELECT store_received_txs(1, '{7mX0,7mX1,7mX2}', '{payment,payment,payment}', '{churn-0-0-0,churn-0-0-1,churn-0-0-2}',
    '{2024-05-01 10:00:00Z,2024-05-01 10:00:10Z,2024-05-01 10:00:20.5Z}');
SELECT store_block(1, '3NA', NULL, 10, 20, '2024-05-01 10:03:00Z', '{7mX0}', '{payment}', '{churn-0-0-0}', '{Applied}');
SELECT settle_chain(1);
SELECT store_received_txs(1, array_agg('7mZ' || r || i), array_agg(CASE WHEN r % 2 = 0 THEN 'zkapp:1:0' ELSE 'payment' END), array_agg(format('churn-%s-%s', prefix, i)),
    array_agg('2024-05-01 10:00:00Z'::timestamptz + i * interval '10 s'))
FROM (VALUES (2, '0-2'), (3, '1-0'), (4, '1-1'), (5, '2-0'), (6, '2-1')) AS b(r, prefix), generate_series(0, 5) AS i WHERE i < 9 - r;
SELECT store_block(1, '3NB', '3NA', 11, 21, '2024-05-01 10:06:00.25Z', array_agg(hash), array_agg(type::text), array_agg(memo), array_agg(CASE WHEN ix = 2 THEN 'Failed' ELSE 'Applied' END))
FROM unique_txs WHERE hash LIKE '7mZ%' AND hash <> '7mZ30';
SELECT settle_chain(1);
