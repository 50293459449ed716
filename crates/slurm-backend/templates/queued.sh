#!/bin/bash
# {{ id }}, carried out in the server's job.
set -u
umask 077
unset HF_TOKEN
{{ mark -}}
cd {{ directory }} || exit 1
exec > benchmarker.log 2>&1
work={{ work }}
reason='the script of the run'
program=

finish() {
  local code=$?
  trap - EXIT
  printf '%s %s\n' "$code" "$reason" > ended.txt.new && mv -f ended.txt.new ended.txt
  rm -rf -- "$work"
  exit "$code"
}
trap finish EXIT
trap 'reason="a signal"; [ -z "$program" ] || kill -TERM "$program" 2>/dev/null' TERM INT

mkdir -p "$work" || exit 1
{% include "unpack.sh" %}
{{ command.program }} --config {{ command.directory }}/run_config.json --directory {{ command.directory }} \
  --work "$work" --end-at "$SLURM_JOB_END_TIME" --rank 0 --of 1{{ command.server }} < /dev/null &
program=$!
wait "$program"
code=$?
while kill -0 "$program" 2>/dev/null; do
  wait "$program"
  code=$?
done
[ "$reason" = 'a signal' ] || reason='the load generator'
exit "$code"
# end of the run
