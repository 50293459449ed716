# The load generator comes packed; the first job that needs it unpacks it for all.
load_generator={{ load_generator }}
if [ ! -x "$load_generator" ]; then
  unpacked=$load_generator.$SLURM_JOB_ID
  if ! { gzip -dc "$load_generator.gz" > "$unpacked" && chmod 700 "$unpacked" && mv -f "$unpacked" "$load_generator"; }; then
    reason='the load generator, which cannot be unpacked'
    exit 1
  fi
fi
