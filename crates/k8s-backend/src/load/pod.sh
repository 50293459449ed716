# One process of a run's load generator, in a pod of its own.
set -u
umask 077
results=$GIPFEL_RESULTS
rank=${JOB_COMPLETION_INDEX:-0}
work=$GIPFEL_WORK/$rank
program=$GIPFEL_WORK/gipfel-loadgen-$rank
attempt=$results/attempt-$GIPFEL_ATTEMPT
fail() {
  echo "$2" >&2
  exit "$1"
}
mkdir -p "$results" "$work" || fail 1 "the results cannot be written into $results"

# What an earlier attempt has said of itself is taken away, once for all processes.
if mkdir "$attempt" 2> /dev/null; then
  rm -f "$results/stop" "$results/progress.json" "$results/fetched" "$results"/ended*.txt
  : > "$attempt/begun"
fi
seconds=0
until [ -e "$attempt/begun" ]; do
  [ "$seconds" -lt 120 ] || fail 1 "the first process has not begun within 2 minutes"
  seconds=$((seconds + 1))
  sleep 1
done

cat "$GIPFEL_PROGRAM"/piece-* | gzip -dc > "$program" && chmod 700 "$program" || fail 126 "the load generator cannot be unpacked"
if ! said=$("$program" --version 2>&1); then
  fail 126 "the load generator does not run on this node: it is for $GIPFEL_ARCHITECTURE and the processor is $(uname -m): $said"
fi

# What an earlier attempt has published, from the machine that has kept it.
if [ "${GIPFEL_RESTORED:-}" = awaited ]; then
  seconds=0
  until [ -e "$attempt/restored" ]; do
    [ ! -e "$results/stop" ] || fail 1 "it was stopped before it could go on"
    [ "$seconds" -lt 3600 ] || fail 1 "what an earlier attempt has measured was not brought within an hour"
    seconds=$((seconds + 1))
    sleep 1
  done
fi

signal='' child=''
trap 'signal=1; [ -z "$child" ] || kill -TERM "$child" 2> /dev/null' TERM INT
"$program" --config "$GIPFEL_CONFIG" --directory "$results" --work "$work" &
child=$!
[ -z "$signal" ] || kill -TERM "$child" 2> /dev/null
wait "$child"
code=$?
# A signal ends the wait and not the load generator, which publishes what it has.
while kill -0 "$child" 2> /dev/null; do
  wait "$child"
  code=$?
done
child=''

name=ended.txt
[ "$rank" = 0 ] || name=ended-$rank.txt
reason='the load generator'
[ -z "$signal" ] || reason='a signal'
printf '%s %s\n' "$code" "$reason" > "$results/$name.new" && mv -f "$results/$name.new" "$results/$name"

# Results are read from the first pod.
[ "$rank" = 0 ] || exit 0
until=$(($(date +%s) + 86400))
while [ -z "$signal" ] && [ ! -e "$results/fetched" ] && [ "$(date +%s)" -lt "$until" ]; do
  sleep 1 &
  wait "$!"
done
exit 0
