package main

const usage = `usage: uptime [-config FILE] [-listen ADDRESS] [-db-uri URI] [-whitelist-file FILE] [-retention D] [-per-hour N] [-trusted-proxy NET]…
       uptime version | help
`

const help = `
Takes the signed reports of Mina nodes (POST /v1/submit) and says which nodes are online (GET /v1/online). docs/uptime.md says more.

Options, each of which counts in place of the configuration's key
  -config FILE           configuration, in place of the variable CONFIG_FILE
  -listen ADDRESS        default :8080
  -db-uri URI            postgresql://…: list, limits and replay protection survive restarts, and several services can share them. Without it they
                         are in memory. The password is better in PGPASSWORD or ~/.pgpass than here
  -whitelist-file FILE   public keys whose reports are taken, one on each line or a JSON list; read again whenever it changes
  -retention D           how long after its last report a node is online; default 20m
  -per-hour N            reports taken of one key in an hour; default 120
  -trusted-proxy NET     network (10.0.0.0/8) or address of proxies whose X-Forwarded-For is believed; may be repeated. Default none
  -log-level LEVEL       debug, info, warn or error; default info

Environment
  CONFIG_FILE            configuration
  NETWORK                empty or mainnet: the main network; any other name: a test network. Signatures count in one of them only
  CONFIG_AWS_REGION, CONFIG_AWS_ACCOUNT_ID, CONFIG_AWS_PREFIX   without a configuration: where in S3 submissions are kept
  AWS_CREDENTIALS_FILE   JSON object of access_key_id and secret_access_key; otherwise the usual variables of AWS
  PGPASSWORD, PGSSLMODE, …   as for psql

Keys of the configuration, a JSON object
  in_memory              true: the list is in memory, as it is without a database
  aws                    {"region", "account_id", "prefix"}: keep submissions and blocks in S3, too
  db_uri                 as -db-uri
  whitelist              list of public keys; exactly one of it and the two below
  whitelist_file         as -whitelist-file
  whitelist_database     true: the keys are in table uptime_whitelist
  trusted_proxies        list, as -trusted-proxy
  retention              as -retention: "20m"
  requests_per_pk_hourly as -per-hour

Exit codes: 0 ended by a signal; 1 command line, configuration, or a port in use; 3 failure; 128+n a second signal
`
