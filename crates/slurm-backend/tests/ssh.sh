#!/bin/bash
# Stands for ssh in a test: the last argument is what the host's login shell is given. Masters write their numbers down.
folder=FOLDER
line=${!#}
if [ -e "$folder/refuse" ]; then cat "$folder/refuse" >&2; exit 255; fi
case " $* " in
  *" ControlMaster=yes "*) echo "$$" >>"$folder/masters" ;;
  *" ControlMaster=no "*)
    echo "$*" >>"$folder/lines"
    if [ -e "$folder/cut" ]; then rm "$folder/cut"; bash -c "$line" | head -c 20; exit 255; fi
    ;;
  *) echo "no order about the master: $*" >&2; exit 255 ;;
esac
echo 'Welcome to the cluster'
exec bash -c "$line"
