package main

const usage = `usage: fetcher -k KEYFILE -o DIR [--db-uri URI] [--host-overrides TEMPLATE…] [-n names.json] discovery
       fetcher -k KEYFILE -o DIR [--db-uri URI] node-address-port ADDRESS -p PORT
       fetcher process -o DIR | --db-uri URI [--deployment N|new] [--name NODE] FILE…
       fetcher migrate --db-uri URI
       fetcher version | help
`

const help = `
Stores each entry of each node's internal log once, in PostgreSQL, and shows what is missing. docs/fetcher.md says more.

Commands
  discovery           read all nodes that report to the uptime service
  node-address-port   read one node
  process             load trace files that a node wrote: internal-trace.jsonl, prover-… and verifier-…, rotated ones (.0, .1, …) too
  migrate             bring a database to this version; the others do so with their own

Collecting
  -k, --secret-key-path FILE   base64 of the 32-byte seed of an ITN key. No other program may use it: sequence numbers belong to the key
  -o, --output-dir-path DIR    what belongs to this fetcher; two cannot have one DIR
  -n, --node-names-map FILE    JSON object: public key of a submitter → name to show
  --db-uri URI                 postgresql://…; without it a private PostgreSQL is started in DIR/postgres, and DIR/db-uri says how to connect.
                               The password is better in PGPASSWORD or ~/.pgpass than here
  --host-overrides T…          templates for port-forwarded networks: control port 10007 is the first with {} as 7, 20007 the second
  --listen ADDRESS             of REST, GraphQL and metrics; default :4000, may be repeated
  --allow-origin SITE          web site (https://dashboard.example.org) whose pages may freeze, unfreeze, reset and so on; may be repeated. Every
                               site's pages may read, and programs that are no browser may do everything
  --queue-size N               entries that a node holds (its --itn-max-logs); default 500
  --flush                      have nodes forget what is committed. Off by default: it takes the entries from every other reader of the node, and
                               gains nothing but the node's memory, for what is stored is never asked for again
  --keep-lines SIZE            keep raw lines, too, in DIR/NODE/*-trace.jsonl, at most about SIZE for each node (200MiB); default none
  --retain-days N              drop what is older than N days, once a day; default: keep everything
  --deployment N|new           the deployment that entries belong to; default the newest, made where there is none
  --genesis T, --clock-scale X for simulated networks, whose time runs X times as fast as the wall's since T (genesisTimestamp and
                               clockScale of their config.json)
  --log-level LEVEL            debug, info, warn or error; default info

Environment
  ONLINE_URL                   the uptime service's list of nodes; where it is empty:
  AWS_PREFIX, AWS_BUCKET       where it stores submissions in S3, with the usual variables of AWS, or AWS_CREDENTIALS_FILE
  FETCH_INTERVAL_MS            longest time between two requests to a node, default 10000; a busy node is asked more often
  PGPASSWORD, PGSSLMODE, …     as for psql
  HANDLE_STATUS_CHANGE, INTERNAL_TRACE_CONSUMER_EXE   are accepted, and mean nothing any more

Loading files
  --name NODE                  the node that wrote them (also MINA_NODE_NAME); default: the name of the folder in which a file is
  --deployment N|new           new, unless the files are of the network that the newest deployment is about; what is printed says where they went

Exit codes: 0 done, or ended by a signal with everything committed; 1 command line, key file, or DIR is in use; 3 failure; 128+n a second signal
`
