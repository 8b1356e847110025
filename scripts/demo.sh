#!/usr/bin/env bash
# make demo: an experiment on a simulated network, whose nodes report to the uptime service and are found there, and whose nodes' logs are kept and decide
# its verdicts; what came of it; and what happens to a run that is killed. Under two minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
dir=$root/demo
run="$root/bin/orchestrator"

port=${FETCHER_PORT:-4000}
uptime_port=${UPTIME_PORT:-8080}
coordinator_port=${COORDINATOR_PORT:-8302}

if [ -t 1 ]; then bold=$'\033[1m' plain=$'\033[0m'; else bold='' plain=''; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

# online_nodes says how many nodes the uptime service lists.
online_nodes() {
  (exec 3<>"/dev/tcp/127.0.0.1/$uptime_port" && printf 'GET /v1/online HTTP/1.0\r\n\r\n' >&3 && grep -o '"submitter"' <&3) 2>/dev/null | wc -l
}
taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
if taken "$port"; then
  echo "port $port is taken, by another log fetcher perhaps: end it, or choose another port with  make demo FETCHER_PORT=4001"
  exit 1
fi
if taken "$uptime_port"; then
  echo "port $uptime_port is taken, by another uptime service perhaps: end it, or choose another port with  make demo UPTIME_PORT=8082"
  exit 1
fi

if taken "$coordinator_port"; then
  echo "port $coordinator_port is taken, by another simulated network perhaps: end it, or choose another port with  make demo COORDINATOR_PORT=8303"
  exit 1
fi

rm -rf "$dir"
mkdir "$dir"
: >"$dir/simnet.out"
: >"$dir/uptime.out"
: >"$dir/fetcher.out"
say "A simulated network: 12 nodes, 5 of them producers, a minute of network time each second"
# A minute a second means that logs, too, fill sixty times as fast: the nodes' queues are that much larger than Mina's 500.
# The account is the script's receiver: a payment of less than the creation fee to one that does not exist fails.
"$root/bin/simnet" -dir "$dir/network" -nodes 12 -producers 5 -clock-scale 60 -max-logs 30000 -seed 1 \
  -uptime-url "http://127.0.0.1:$uptime_port/v1/submit" -coordinator 127.0.0.1:$coordinator_port \
  -account B62qiy32p8kAKnny8ZFwoMhYpBppM1DWVCqAPBYNcXnsAHhnfAAuXgg >"$dir/simnet.out" 2>&1 &
simnet=$!
uptime=
fetcher=
pool=
stop_all() {
  if [ -n "$pool" ]; then "$root/bin/snarkpool" stop all -now -socket "$dir/pool/control.sock" >/dev/null 2>&1 || true; fi # workers outlive their agent
  for pid in $pool $fetcher $simnet $uptime; do # the fetcher before its network: it stores what it has, and stops its PostgreSQL, which the pool uses
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
}
trap stop_all EXIT
for ((i = 0; i < 300; i++)); do
  grep -q '^ready' "$dir/simnet.out" && break
  kill -0 $simnet 2>/dev/null || { cat "$dir/simnet.out"; exit 1; }
  sleep 0.1
done
grep -q '^ready' "$dir/simnet.out" || { echo "the simulated network did not come up:"; cat "$dir/simnet.out"; exit 1; }
cd "$dir/network" # the script's paths are relative to it

say "The uptime service, which takes the nodes' signed reports:  NETWORK=testnet CONFIG_FILE=uptime.json uptime"
NETWORK=testnet CONFIG_FILE=uptime.json "$root/bin/uptime" -listen "127.0.0.1:$uptime_port" >"$dir/uptime.out" 2>&1 &
uptime=$!
for ((i = 0; i < 300; i++)); do
  grep -q serving "$dir/uptime.out" && break
  kill -0 $uptime 2>/dev/null || { cat "$dir/uptime.out"; exit 1; }
  sleep 0.1
done
grep -q serving "$dir/uptime.out" || { echo "the uptime service did not come up:"; cat "$dir/uptime.out"; exit 1; }
online=$(sed -n 's/^online list //p' "$dir/simnet.out") # which simnet's config.json names, too
echo "the list: $online   health, metrics: http://127.0.0.1:$uptime_port/"

say "While the nodes report for the first time, a rehearsal, with nothing but the script:  orchestrator rehearse < scripts/demo.script"
"$run" rehearse -nodes 12 -producers 5 -seed 1 <"$root/scripts/demo.script" >"$dir/rehearsal.out"

for ((i = 0; i < 300; i++)); do # a node reports every five slots, which are 15 s here
  nodes=$(online_nodes || true)
  [ "$nodes" -ge 12 ] && break
  kill -0 $uptime 2>/dev/null || { cat "$dir/uptime.out"; exit 1; }
  sleep 0.1
done
[ "$nodes" -ge 12 ] || { echo "only $nodes of 12 nodes are online:"; cat "$dir/uptime.out"; exit 1; }
echo "$nodes nodes are online"

say "The log fetcher, with a PostgreSQL of its own:  fetcher -k fetcher-key -o … discovery"
ONLINE_URL=$online FETCH_INTERVAL_MS=1000 \
  "$root/bin/fetcher" -k fetcher-key -o "$dir/fetcher" --listen 127.0.0.1:$port discovery >"$dir/fetcher.out" 2>&1 &
fetcher=$!
for ((i = 0; i < 300; i++)); do
  [ -s "$dir/fetcher/db-uri" ] && grep -q collecting "$dir/fetcher.out" && break
  kill -0 $fetcher 2>/dev/null || { cat "$dir/fetcher.out"; exit 1; }
  sleep 0.1
done
grep -q collecting "$dir/fetcher.out" || { echo "the fetcher did not come up:"; cat "$dir/fetcher.out"; exit 1; }
database=$(cat "$dir/fetcher/db-uri")
# The orchestrator learns where the evidence is by one more key of its configuration.
{ printf '{\n  "dbUri": "%s",\n' "$database"; tail -n +2 config.json; } >with-evidence.json
mv with-evidence.json config.json
echo "nodes, gaps, health, metrics: http://127.0.0.1:$port/   database: psql \"$database\""

say "A pool of two SNARK workers, which prove what one of the network's coordinators has to be proven:  snarkpool agent pool.json -coordinator …"
# Groth16 proofs of a short chain of hashes by gnark, real ones, though not Mina's; the other coordinators' proofs are simulated.
mkdir "$dir/pool"
cat >"$dir/pool.json" <<POOL
{ "version": 1, "name": "demo",
  "hosts": [ {"match": {}, "reserve": {"cores": 0, "memory": "128MiB"}, "pools": {"gnark": {"workers": 2}}} ],
  "pools": { "gnark": {"kind": "fed", "command": ["$root/bin/snarkpool", "prove", "gnark", "-keys", "$dir/pool/gnark-keys", "-links", "4"],
                       "threads": 1, "smt": "share", "memory": {"max": "512MiB"}, "env": {"GOMAXPROCS": "\${threads}"}} } }
POOL
coordinator=$(sed -n 's/^coordinator //p' "$dir/simnet.out")
"$root/bin/snarkpool" agent "$dir/pool.json" -state "$dir/pool" -db-uri "$database" -coordinator "simnet=$coordinator" -keys "$dir/pool/gnark-keys" -links 4 >"$dir/pool.out" 2>&1 &
pool=$!
for ((i = 0; i < 300; i++)); do
  "$root/bin/snarkpool" status -socket "$dir/pool/control.sock" >"$dir/pool.status" 2>/dev/null && break
  kill -0 $pool 2>/dev/null || { cat "$dir/pool.out"; exit 1; }
  sleep 0.1
done
"$root/bin/snarkpool" status -socket "$dir/pool/control.sock"

say "What the script would do and cost:  orchestrator plan config.json < scripts/demo.script"
"$run" plan -nodes 6 config.json <"$root/scripts/demo.script"

say "The run:  orchestrator config.json < scripts/demo.script > run.out"
code=0
"$run" -record "$dir/run.record" -seed 1 config.json <"$root/scripts/demo.script" >"$dir/run.out" || code=$?
echo "exit code $code"
[ $code -eq 0 ] || exit $code

say "What really happened, by the network's own journal:  simnet show journal.jsonl"
"$root/bin/simnet" show journal.jsonl
sleep 3 # three minutes of the network's: until the fetcher has read all nodes' logs beyond the end of the load
say "What the nodes' logs say of each batch:  orchestrator transactions run.record config.json"
"$run" transactions "$dir/run.record" config.json
say "What the pool proved, drained without losing a proof:  snarkpool drain all"
"$root/bin/snarkpool" status -socket "$dir/pool/control.sock"
"$root/bin/snarkpool" drain all -socket "$dir/pool/control.sock"
say "And of the rounds, in SQL (docs/queries.md):"
psql -X "$database" -c "SELECT exp, round, total, zkapps, successful, failed, missed, duration, max_latency FROM experiments" \
  -c "SELECT sum(entries) AS entries_stored, sum(lost) AS entries_lost FROM log_cursor"
say "Outputs and record of the run: demo/run.out, demo/run.record. Its load was stopped by the script:  orchestrator stop run.record config.json"
"$run" stop "$dir/run.record" config.json

say "A run that is killed (kill -9) leaves its load running"
cat >"$dir/killed.script" <<'SCRIPT'
{"action":"load-keys","params":{"dir":"./demo-keys/payments"}}
{"action":"discovery","params":{"noBPs":true}}
{"action":"payments","params":{"experimentName":"killed","tps":0.2,"minTps":0.01,"durationMin":60,"minFee":100000000,"maxFee":100000000,"amount":1000,"receiver":"B62qiy32p8kAKnny8ZFwoMhYpBppM1DWVCqAPBYNcXnsAHhnfAAuXgg","feePayers":{"type":"output","step":-2,"name":"key"},"nodes":{"type":"output","step":-1,"name":"participant"}}}
{"action":"wait","params":{"min":60}}
SCRIPT
"$run" -quiet -record "$dir/killed.record" -seed 1 config.json <"$dir/killed.script" >"$dir/killed.out" &
killed=$!
for ((i = 0; i < 100; i++)); do
  grep -q '"_until"' "$dir/killed.out" 2>/dev/null && break
  sleep 0.1
done
kill -9 $killed
wait $killed 2>/dev/null || true
"$root/bin/simnet" show journal.jsonl | grep schedules
say "stop undoes what its record says:  orchestrator stop killed.out config.json"
"$run" stop "$dir/killed.out" config.json >/dev/null
"$root/bin/simnet" show journal.jsonl | grep schedules
say "resume would have gone on where it was killed, with the wait, and scheduled nothing twice:"
echo "  orchestrator resume killed.out config.json < killed.script"
say "Done. Everything is under demo/; network, uptime service, fetcher, pool of provers and database are stopped."
echo "The evidence stays: bin/fetcher -k demo/network/fetcher-key -o demo/fetcher node-address-port 127.0.0.2 -p 3086 starts its database again."
